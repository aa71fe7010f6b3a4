"""Sources that are asked, on their page: how far they are, what could not be fetched, back-fills and their buttons."""

from __future__ import annotations

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from tests.workbench.fake_api import FakeApi
from tests.workbench.test_pages import button, said

Open = Callable[..., AppTest]
POLLER = {
    "name": "archive", "kind": "dicomweb", "level": "study", "enabled": True, "state": "fetching", "node": "node-1",
    "next_at": "2026-01-01T10:00:00+00:00", "asked_at": "2026-01-01T09:55:00+00:00", "found": 2400, "queued": 12, "error": "",
    "asking": None, "fetching": [{"study_instance_uid": "1.2", "received": 40, "expected": 300}],
    "waiting": 11, "fetched": 2388, "failed": 1, "retrying": 2,
}  # fmt: skip
BACKFILL = {
    "id": "b1", "source": "archive", "first_day": "2026-01-01", "last_day": "2026-01-31", "next_day": "2026-01-11",
    "state": "running", "found": 320, "already": 20, "fetched": 290, "failed": 1, "waiting": 9, "retrying": 0, "error": "",
    "created_by": "ada", "created_at": "2026-01-31T10:00:00+00:00", "ended_at": None, "again": False, "progress": 0.32,
}  # fmt: skip
TROUBLE = {
    "study_instance_uid": "1.2.3", "series_instance_uid": "", "sop_instance_uid": "", "state": "failed", "attempts": 10,
    "words": "500 Internal Server Error: disk on fire", "next_at": None, "instances": 3,
    "attributes": {"00100020": {"vr": "LO", "Value": ["P-1"]}},
}  # fmt: skip


def _site(api: FakeApi) -> None:
    archive = {"name": "archive", "kind": "dicomweb", "url": "http://archive/dicom-web", "poll_seconds": 300}
    api.document["sources"].append(archive)
    api.pollers, api.backfills, api.troubles = [POLLER], [BACKFILL], [TROUBLE]


def test_a_poller_shows_what_it_does_and_did(open_page: Open, api: FakeApi) -> None:
    _site(api)
    words = said(open_page("sources"))
    for part in ("fetching", "9 to fetch", "2 tried again", "1 not fetched", "2,388 fetched", "40 of 300 images"):
        assert part in words
    api.pollers = [POLLER | {"state": "away", "error": "archive cannot be reached: Connection refused."}]
    assert "archive cannot be reached" in said(open_page("sources"))


def test_days_are_fetched_and_a_back_fill_is_paused(open_page: Open, api: FakeApi) -> None:
    _site(api)
    at = open_page("sources")
    button(at, "Fetch these days").click().run()
    assert not at.exception
    name, body = api.did[-1]
    assert (name, body["source"], body["again"]) == ("backfill", "archive", False)
    assert body["from"] < body["to"]
    button(at, "Pause", -1).click().run()
    assert api.did[-1] == ("pause", "b1")
    button(at, "Cancel it").click().run()
    assert api.did[-1] == ("cancel", "b1")


def test_what_could_not_be_fetched_is_tried_again(open_page: Open, api: FakeApi) -> None:
    _site(api)
    at = open_page("sources")
    shown = next(d.value for d in at.dataframe if "Why" in d.value.columns)
    assert list(shown["Why"]) == ["500 Internal Server Error: disk on fire"]
    assert list(shown["Patient"]) == ["P-1"]
    button(at, "Try all again").click().run()
    assert api.did[-1] == ("retry", "archive", {"studies": []})
