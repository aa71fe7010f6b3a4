from __future__ import annotations

from datetime import UTC, date, datetime

from engine.dicom.dictionary import tag_of
from engine.jobs.poll_times import next_poll
from engine.sources._query import Match
from engine.store.polls import Seen
from tests.api.site import Site

SOURCE = {"name": "archive", "kind": "dicomweb", "url": "http://127.0.0.1:9/dicom-web", "poll_seconds": 600}


def _study(number: int, instances: int | None = 2) -> Match:
    values = {"StudyInstanceUID": f"1.2.{number}", "PatientName": "Doe^Jane", "NumberOfStudyRelatedInstances": instances}
    return Match("study", {f"{tag_of(k):08X}": {"vr": "", "Value": [v]} for k, v in values.items()})


def _site(site: Site, **more: object) -> None:
    document = {"sources": [SOURCE | more, {"name": "ct", "kind": "dimse_listener"}]}
    assert site.signed_in().post("/config/apply", json={"document": document, "reason": "test"}).status_code == 200


def test_pollers_tell_what_they_saw_and_what_they_could_not_fetch(site: Site) -> None:
    _site(site)
    client = site.signed_in()
    [one] = client.get("/pollers").json()
    assert (one["name"], one["state"], one["waiting"], one["fetched"]) == ("archive", "waiting", 0, 0)
    polls, now = site.store.polls, datetime.now(UTC)
    seen = polls.see("archive", [_study(n) for n in range(1, 6)], now)
    assert seen == Seen(5, 5, 0, 0)
    assert polls.see("archive", [_study(1), _study(2, 3)], now) == Seen(2, 1, 0, 0), "one has grown"
    polls.asked("archive", seen, now, now)
    targets = polls.due("archive", now, 10)
    assert len(targets) == 5
    polls.fetched("archive", targets[0], 2, now)
    polls.not_fetched("archive", targets[1], "500: no", counts=True, next_at=None)
    polls.not_fetched("archive", targets[2], "503: away", counts=True, next_at=now)
    [told] = client.get("/status").json()["pollers"]
    assert (told["name"], told["found"], told["retrying"]) == ("archive", 5, 1)
    [one] = client.get("/pollers").json()
    assert {k: one[k] for k in ("found", "waiting", "fetched", "failed", "retrying")} == {
        "found": 5, "waiting": 3, "fetched": 1, "failed": 1, "retrying": 1,
    }  # fmt: skip
    troubles = client.get("/pollers/archive/troubles").json()
    assert [(t["state"], t["words"], t["attempts"]) for t in troubles] == [("failed", "500: no", 1), ("retrying", "503: away", 1)]
    assert "Doe^Jane" in str(troubles)
    assert "Doe" not in site.signed_in("guest", "User").get("/pollers/archive/troubles").text, "not for everybody"
    answer = client.post("/pollers/archive/retry", json={"studies": [targets[1].key.study]})
    assert (answer.status_code, answer.json()["again"]) == (202, 1)
    assert client.post("/pollers/archive/retry", json={"studies": []}).json()["again"] == 1
    assert client.post("/pollers/archive/retry", json={"studies": []}).status_code == 404
    assert {t.attempts for t in polls.due("archive", datetime.now(UTC), 10)} == {0}


def test_a_person_has_a_source_asked_now(site: Site) -> None:
    _site(site)
    client = site.signed_in()
    source = site.store.live().configuration.source("archive")
    later = datetime(2099, 1, 1, tzinfo=UTC)
    site.store.polls.asked("archive", Seen(0, 0, 0, 0), later, later)
    assert next_poll(source, site.store.polls.poller("archive")) == later
    assert client.post("/pollers/archive/poll").status_code == 202
    assert next_poll(source, site.store.polls.poller("archive")) <= datetime.now(UTC)
    assert client.post("/pollers/ct/poll").status_code == 404, "a listener is not asked"
    assert site.signed_in("machine", "Sender").post("/pollers/archive/poll").status_code == 403
    _site(site, enabled=False)
    assert client.post("/pollers/archive/poll").status_code == 409
    assert "poll" in client.get("/audit").text


def test_back_fills_are_made_paused_resumed_and_cancelled(site: Site) -> None:
    _site(site)
    client = site.signed_in()
    body = {"source": "archive", "from": "2026-01-01", "to": "2026-01-04"}
    assert client.post("/backfills", json=body | {"from": "2026-02-01"}).status_code == 422
    answer = client.post("/backfills", json=body)
    assert answer.status_code == 201, answer.text
    one = answer.json()
    assert (one["state"], one["progress"], one["next_day"]) == ("running", 0.0, "2026-01-01")
    assert client.post("/backfills", json=body).status_code == 409, "one at a time"
    assert client.post(f"/backfills/{one['id']}/resume").status_code == 409
    assert client.post(f"/backfills/{one['id']}/pause").json()["state"] == "paused"
    known = site.store.backfills.get(one["id"])
    site.store.backfills.day_asked(known, date(2026, 1, 1), [_study(1), _study(2)], datetime.now(UTC))
    assert site.store.polls.due("archive", datetime.now(UTC), 10, paused=[known.id]) == []
    assert client.post(f"/backfills/{one['id']}/resume").json()["waiting"] == 2
    [target, _] = site.store.polls.due("archive", datetime.now(UTC), 10)
    site.store.polls.fetched("archive", target, 2, datetime.now(UTC))
    told = client.get(f"/backfills/{one['id']}").json()
    assert (told["found"], told["fetched"], told["waiting"], told["progress"]) == (2, 1, 1, 0.125)
    assert client.post(f"/backfills/{one['id']}/cancel").json()["state"] == "cancelled"
    [told] = client.get("/backfills", params={"source": "archive"}).json()
    assert (told["state"], told["fetched"], told["waiting"]) == ("cancelled", 1, 0)
    assert client.get("/backfills/none").status_code == 404
    assert site.store.polls.counts()["archive"] == {"waiting": 0, "fetched": 1, "failed": 0, "retrying": 0}
