"""The data browser's page: asked by form, drilled down, chosen and routed; a peer's failure in its own words."""

from __future__ import annotations

from typing import Any

from tests.workbench.fake_api import FakeApi
from tests.workbench.test_pages import Open, button, choose, said


def field(at: Any, label: str) -> Any:
    return next(w for w in at.text_input if w.label == label)


def test_a_patient_is_sought_by_the_form_and_shown_in_every_script(open_page: Open, api: FakeApi) -> None:
    at = open_page("browser")
    field(at, "Patient ID").set_value("J1").run()
    button(at, "Ask").click().run()
    assert not at.exception
    assert api.did[-1] == ("browse", "archive", "study", {"PatientID": "J1"})
    shown = at.dataframe[0].value
    assert shown["Patient"].tolist() == ["Yamada Tarou · 山田 太郎 · やまだ たろう"]
    assert shown["Date"].tolist() == ["2026-01-02"]


def test_the_way_goes_down_to_series_and_back_up(open_page: Open, api: FakeApi) -> None:
    at = open_page("browser")
    button(at, "Ask").click().run()
    choose(at, "browse-1", [0])
    button(at, "Show its series").click().run()
    assert not at.exception
    assert api.did[-1] == ("browse", "archive", "series", {"StudyInstanceUID": "1.2.1"})
    assert at.dataframe[0].value["Modality"].tolist() == ["CT"]
    up = next(b for b in at.button if b.label.startswith("Studies ›"))
    assert "<b>" not in said(at)
    up.click().run()
    assert len(at.dataframe[0].value) == 2


def test_what_is_chosen_is_routed_and_its_progress_shown(open_page: Open, api: FakeApi) -> None:
    at = open_page("browser")
    button(at, "Ask").click().run()
    choose(at, "browse-1", [0, 1])
    button(at, "Fetch and route").click().run()
    assert not at.exception
    assert ("route", "archive", ["1.2.1", "1.2.2"]) in api.did
    assert "On their way through the rules" in said(at)
    assert "0 of 2" in said(at)


def test_a_peer_that_is_away_is_told_in_words(open_page: Open) -> None:
    at = open_page("browser")
    at.selectbox(key="browse-source").set_value("away").run()
    button(at, "Ask").click().run()
    assert not at.exception
    assert "Nothing listens on pacs.example.org port 104" in said(at).replace("\\", "")
