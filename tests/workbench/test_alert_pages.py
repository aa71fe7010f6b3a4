"""Alerts and channels in the workbench: what fires is on Today, forms are made, what is secret is not shown."""

from __future__ import annotations

from tests.workbench.conftest import Open
from tests.workbench.fake_api import FakeApi
from tests.workbench.test_pages import said


def test_today_says_what_fires_and_what_to_do(open_page: Open) -> None:
    at = open_page("today")
    text = said(at)
    assert "pacs has taken nothing since" in text
    assert "tried again by itself" in text
    assert at.button(key="alert-0").label == "Look"


def test_the_list_says_what_each_tells_and_finds(open_page: Open) -> None:
    text = said(open_page("alerts"))
    assert "tells on-call, pacs-team" in text
    assert "study delivered" in text
    assert "firing" in text


def test_an_alert_is_changed_by_its_form(open_page: Open, api: FakeApi) -> None:
    at = open_page("alerts", show="pacs-away")
    labels = [w.label for w in (*at.multiselect, *at.number_input)]
    assert {"Channels", "Destinations", "Failing for (minutes)", "Again after (minutes)"} <= set(labels)
    next(w for w in at.number_input if w.label == "Failing for (minutes)").set_value(30.0)
    next(b for b in at.button if b.label == "Save").click().run()
    saved = next(a for a in api.document["alerts"] if a["name"] == "pacs-away")
    assert (saved["minutes"], saved["channels"], saved["kind"]) == (30.0, ["on-call", "pacs-team"], "destination_failing")


def test_channels_say_what_they_said_and_hide_what_may_be_a_key(open_page: Open) -> None:
    text = said(open_page("channels"))
    assert "answered 451" in text
    assert "hooks.hospital.example" in text
    assert "s3cret-path" not in text
