"""Peers at fault: what they do is said in words, nothing is marked fetched that is not whole, and all of it comes in the end."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from engine.jobs import poll_turn
from engine.jobs.polling import due_sources
from engine.sources._query import Query
from engine.sources.dicomweb import DicomWeb
from tests.doubles.server import Answer
from tests.polling.support import Faulty, Site, dicomweb, instance, put, study_uid, sums

RETRIEVE = r"/studies/[0-9.]+$"


def test_half_a_multipart_is_not_a_study(site: Site, faulty: Faulty, pacs: str, impatient: None) -> None:
    sent = put(pacs, [instance(1, n, size=600) for n in (1, 2, 3)])
    faulty.fault(RETRIEVE, Answer(cut=len(sent[0]) * 5 // 2))
    site.configure(dicomweb(faulty.url, attempts=1))
    site.poll()
    assert site.counts()["failed"] == 1
    [trouble] = site.polls.troubled("pacs")
    assert "broke off" in trouble["words"] or "not whole" in trouble["words"], trouble
    assert 1 <= len(site.files()) <= 2, "whole parts are kept, the half one is not"
    assert site.polls.retry("pacs", [study_uid(1)], datetime.now(UTC)) == 1
    site.poll()
    assert site.counts() == {"waiting": 0, "fetched": 1, "failed": 0, "retrying": 0}
    assert set(sums(site.files())) == set(sums(sent))
    assert site.polls.troubled("pacs") == []


def test_too_few_instances_are_not_a_study(site: Site, faulty: Faulty, pacs: str, impatient: None) -> None:
    put(pacs, [instance(1, n) for n in (1, 2)])
    boundary = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + instance(1, 1) + b"\r\n--b--\r\n"
    faulty.fault(RETRIEVE, Answer(200, body, boundary))
    faulty.fault(RETRIEVE, Answer(200, body.replace(instance(1, 1), b"<html>sign in</html>" * 20), boundary))
    site.configure(dicomweb(faulty.url, attempts=1))
    site.poll()
    assert site.polls.troubled("pacs")[0]["words"] == "The peer sent 1 of the 2 instances that it counted."
    site.polls.retry("pacs", [], datetime.now(UTC))
    site.poll()
    assert "no DICOM file" in site.polls.troubled("pacs")[0]["words"]
    assert len(site.files()) == 1


def test_429_is_obeyed(site: Site, faulty: Faulty, pacs: str) -> None:
    put(pacs, [instance(1)])
    faulty.fault("/studies$", Answer(429, b"slow down", {"Retry-After": "1800", "Content-Type": "text/plain"}))
    site.configure(dicomweb(faulty.url))
    site.poll()
    state = site.polls.poller("pacs")
    assert state.error == "429 Too Many Requests: slow down"
    assert state.not_before is not None
    assert due_sources(site.context) == []
    assert due_sources(site.context, datetime.now(UTC) + timedelta(seconds=1700)) == []
    assert due_sources(site.context, datetime.now(UTC) + timedelta(seconds=1801)) == ["pacs"]
    assert faulty.searches() == 1
    site.poll("pacs")
    assert site.counts()["fetched"] == 1, "a person may be quicker"
    assert site.polls.poller("pacs").error == ""


def test_a_silent_peer_is_given_up(site: Site, faulty: Faulty, pacs: str, impatient: None) -> None:
    put(pacs, [instance(1)])
    faulty.fault("/studies$", Answer(silent=True))
    faulty.fault(RETRIEVE, Answer(silent=True))
    site.configure(dicomweb(faulty.url, http={"silence_seconds": 0.5}))
    with site.polling():
        site.until(fetched=1)
    rows = [r for f in site.context.settings.history.rglob("queries/*.jsonl") for r in f.read_text().splitlines()]
    assert any("fell silent" in row for row in rows), rows
    assert len(site.files()) == 1


def test_a_study_that_always_fails_waits_for_a_person(site: Site, faulty: Faulty, pacs: str, impatient: None) -> None:
    put(pacs, [instance(study) for study in range(1, 6)])
    faulty.fault(f"/studies/{study_uid(3)}$", Answer(500, b'{"Message": "disk on fire"}'), 1000)
    faulty.fault(f"/studies/{study_uid(4)}$", Answer(404, b'{"Message": "deleted"}'), 1000)
    site.configure(dicomweb(faulty.url, attempts=3, poll_seconds=1))
    with site.polling():
        site.until(fetched=3, failed=2, waiting=0)
    words = {t["study_instance_uid"]: (t["state"], t["words"]) for t in site.polls.troubled("pacs")}
    assert words[study_uid(3)][0] == "failed"
    assert "disk on fire" in words[study_uid(3)][1]
    assert "404" in words[study_uid(4)][1]
    faulty.faults.clear()
    site.polls.retry("pacs", [study_uid(3)], datetime.now(UTC))
    site.poll()
    assert site.counts()["fetched"] == 4


def test_while_the_peer_is_away_no_study_is_given_up(site: Site, faulty: Faulty, pacs: str, impatient: None) -> None:
    sent = put(pacs, [instance(study) for study in range(1, 6)])
    site.configure(dicomweb(faulty.url, attempts=2, parallel=2))
    faulty.fault(RETRIEVE, Answer(503, b"", {}), 15)
    with site.polling():
        site.until(fetched=5, failed=0)
    assert sums(site.files()) == sums(sent)


def test_a_study_with_nothing_beside_it_is_not_tried_for_ever(
    site: Site, faulty: Faulty, pacs: str, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other fetch and no other query says that the peer is well: each so many failures in a row count all the same."""
    monkeypatch.setattr(poll_turn, "ALONE", 4)
    put(pacs, [instance(1)])
    faulty.fault(RETRIEVE, Answer(500, b'{"Message": "disk on fire"}'), 1000)
    site.configure(dicomweb(faulty.url, attempts=3, poll_seconds=0))
    site.polls.poll_now("pacs", datetime.now(UTC))
    with site.polling():
        site.until(failed=1, waiting=0)
    tried = sum(1 for asked in faulty.asked if not asked.path.endswith("/studies"))
    assert tried == 9, "the first failure, the fifth and the ninth count"
    [trouble] = site.polls.troubled("pacs")
    assert (trouble["state"], trouble["attempts"]) == ("failed", 3)
    faulty.faults.clear()
    site.polls.retry("pacs", [], datetime.now(UTC))
    site.poll()
    assert site.counts() == {"waiting": 0, "fetched": 1, "failed": 0, "retrying": 0}


@pytest.mark.parametrize("unknown", [{"limit"}, {"offset"}, {"limit", "offset"}])
def test_servers_that_do_not_page_give_each_study_once(faulty: Faulty, pacs: str, unknown: set[str]) -> None:


    put(pacs, [instance(study) for study in range(1, 8)])
    faulty.without = unknown
    source = DicomWeb.model_validate(dicomweb(faulty.url, page_size=7))
    found = [m.study_instance_uid for m in source.query(Query(), threading.Event())]
    assert sorted(found) == sorted(map(study_uid, range(1, 8)))
    assert faulty.searches() == 2


def test_an_empty_answer_is_no_match_and_a_page_of_html_is_no_answer(site: Site, faulty: Faulty) -> None:
    faulty.fault("/studies$", Answer(204))
    site.configure(dicomweb(faulty.url))
    site.poll()
    assert site.polls.poller("pacs").asked_at is not None
    faulty.fault("/studies$", Answer(200, b"<html>Sign in</html>", {"Content-Type": "text/html"}))
    site.poll("pacs")
    assert "no DICOM JSON, but text/html" in site.polls.poller("pacs").error


def test_too_many_matches_end_the_poll_and_say_so(site: Site, pacs: str) -> None:
    put(pacs, [instance(study) for study in range(1, 6)])
    site.configure(dicomweb(pacs, most_matches=3, page_size=2))
    site.poll()
    assert site.counts()["fetched"] == 3
    assert "narrow the filters" in site.polls.poller("pacs").error


def test_retrieves_keep_to_their_number_a_minute(site: Site, faulty: Faulty, pacs: str) -> None:
    put(pacs, [instance(study) for study in range(1, 6)])
    site.configure(dicomweb(faulty.url, per_minute=600, parallel=4))
    begun = time.monotonic()
    site.poll()
    assert site.counts()["fetched"] == 5
    assert time.monotonic() - begun >= 0.4, "five of ten a second"


def test_off_peak_only(site: Site, pacs: str) -> None:
    put(pacs, [instance(1)])
    today = datetime.now(UTC)
    never = {"name": "nights", "exceptions": [f"{today + timedelta(days=d):%Y-%m-%d}" for d in (-1, 0, 1)]}
    site.configure(dicomweb(pacs, schedule="nights"), schedules=[never])
    site.poll()
    assert not site.counts()
    site.configure(dicomweb(pacs, schedule="nights"), schedules=[{"name": "nights"}])
    site.poll()
    assert site.counts()["fetched"] == 1


def test_the_watermark_stops_fetching(site: Site, pacs: str, home: object) -> None:
    from engine.jobs.context import Context

    put(pacs, [instance(1)])
    site.configure(dicomweb(pacs))
    full = Context(site.context.settings.model_copy(update={"min_free_mb": 1 << 40}))
    site.context, room = full, site.context
    site.poll()
    assert "watermark" in site.polls.poller("pacs").error
    assert site.counts() == {"waiting": 1, "fetched": 0, "failed": 0, "retrying": 0}
    site.context = room
    site.poll("pacs")
    assert site.counts()["fetched"] == 1


def test_odd_answers_harm_no_other_study(site: Site, faulty: Faulty, pacs: str) -> None:
    """Half characters, counts that are none, UIDs that cannot be asked for, elements without sense."""
    put(pacs, [instance(1)])
    odd = [
        {"0020000D": {"vr": "UI", "Value": [study_uid(1)]}, "00100010": {"vr": "PN", "Value": ["Half\ud800"]}},
        {"0020000D": {"vr": "UI", "Value": ["1.2/../../other"]}},
        {"0020000D": {"vr": "UI", "Value": [study_uid(1) + "\0"]}, "00201208": {"vr": "IS", "Value": ["²"]}},
        {"0020000D": {"vr": "UI"}, "00080061": None, "x": {}},
        {"00201208": {"vr": "IS", "Value": [10**30]}, "00400275": {"vr": "SQ", "Value": [None, {"00400007": {}}]}},
    ]
    faulty.fault("/studies$", Answer(200, json.dumps(odd).encode(), {"Content-Type": "application/dicom+json"}))
    faulty.fault("/studies$", Answer(200, b"[]", {"Content-Type": "application/dicom+json"}))
    site.configure(dicomweb(faulty.url))
    site.poll()
    assert site.counts() == {"waiting": 0, "fetched": 1, "failed": 0, "retrying": 0}
    assert "no UID that can be asked for" in site.polls.poller("pacs").error
