"""When a schedule is next on, asked of a saved one and of a draft."""

from __future__ import annotations

from typing import Any

from tests.api.site import Site

OFFICE: dict[str, Any] = {
    "name": "office", "time_zone": "Europe/Berlin", "exceptions": ["2026-11-26"],
    "ranges": [{"days": ["mon", "tue", "wed", "thu", "fri"], "start": "07:00", "end": "18:00"}],
}  # fmt: skip
AT = {"at": "2026-11-25T18:30:00Z"}


def test_when_a_schedule_is_next_on(site: Site) -> None:
    client = site.signed_in()
    made = client.post("/schedules", json=OFFICE)
    assert made.status_code == 201, made.text
    answer = client.get("/schedules/office/next-on", params={**AT, "days": 2})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["on"], told["next_on"], told["next_off"]) == (False, "2026-11-27T07:00:00+01:00", "2026-11-27T18:00:00+01:00")
    assert [(d["date"], d["exception"], d["on"]) for d in told["days"]] == [
        ("2026-11-25", False, [{"start": "07:00", "end": "18:00"}]), ("2026-11-26", True, []),
    ]  # fmt: skip
    assert client.post("/schedules/next-on", json=OFFICE, params={**AT, "days": 2}).json() == told


def test_what_cannot_be_said_is_told(site: Site) -> None:
    client = site.signed_in()
    assert client.get("/schedules/nope/next-on").status_code == 404
    wrong = client.post("/schedules/next-on", json={**OFFICE, "time_zone": "Berlin"})
    assert (wrong.status_code, wrong.json()["problems"][0]["loc"]) == (422, ["time_zone"])
    for at in ("2026-11-25T18:30:00", "0.5", "1764095400", "today"):
        assert client.post("/schedules/next-on", json=OFFICE, params={"at": at}).status_code == 422, at
    for path, body in (
        ("/schedules/next-on", {**OFFICE, "exceptions": [86400]}), ("/activations", {"revision": 1, "at": 4_000_000_000}),
        ("/keys", {"name": "k", "expires_at": 4_000_000_000}), ("/backfills", {"source": "x", "from": 86400, "to": "86400"}),
    ):  # fmt: skip
        answer = client.post(path, json=body)
        assert (answer.status_code, "2026-01-31" in answer.text) == (422, True), answer.text
