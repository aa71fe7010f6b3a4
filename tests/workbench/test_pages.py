"""Every page, as a signed-in person sees it, without a browser: what it shows, and what its buttons ask of the API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.workbench.fake_api import FakeApi
from workbench import parts
from workbench.client import Client

Open = Callable[..., AppTest]
PAGES = sorted(p.stem for p in (Path(__file__).parents[2] / "workbench" / "pages").glob("*.py"))
HEADS = {
    "instance": "Find an image", "whatif": "What if", "browser": "Data browser", "keys": "API keys",
    "crosswalk_sources": "Crosswalk sources", "crosswalk_maps": "Crosswalk maps", "secrets": "Stored secrets",
}  # fmt: skip


def said(at: AppTest) -> str:
    """All words on the page, HTML among them."""
    kinds = (at.title, at.markdown, at.caption, at.error, at.warning, at.info, at.success)
    html = [e.proto.body for e in at.get("html")]
    return "\n".join([e.value for kind in kinds for e in kind] + html)


def button(at: AppTest, label: str, nth: int = 0) -> Any:
    found = [b for b in at.button if b.label == label]
    assert len(found) > nth, f"no button {label!r} among {[b.label for b in at.button]}"
    return found[nth]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_with_its_heading(page: str, open_page: Open) -> None:
    at = open_page(page)
    assert at.title[0].value == HEADS.get(page, page.capitalize())
    assert not at.error


@pytest.mark.parametrize("page", PAGES)
def test_a_page_stays_calm_while_the_api_is_away(page: str, open_page: Open, api: FakeApi) -> None:
    api.status_code = 502
    at = open_page(page)
    assert "not answering just now" in said(at)
    api.status_code = 0
    button(at, "Try again").click().run()
    assert not at.exception
    assert "not answering just now" not in said(at)


@pytest.mark.parametrize("page", [p for p in PAGES if p != "people"])  # there is always somebody
def test_an_empty_site_says_what_comes_here(page: str, open_page: Open, api: FakeApi) -> None:
    api.empty()
    at = open_page(page)
    assert "ax-empty" in said(at)


@pytest.mark.parametrize(
    ("page", "words"),
    [("browser", "To the sources"), ("whatif", "To the rules"), ("alerts", "To the channels"),
     ("crosswalk_maps", "To the crosswalk sources")],
)  # fmt: skip
def test_an_empty_page_that_names_another_has_a_button_to_it(page: str, words: str, open_page: Open, api: FakeApi) -> None:
    api.empty()
    assert button(open_page(page), words)


@pytest.mark.parametrize("page", ["destinations", "sources", "schedules", "rules"])
def test_who_may_not_edit_is_offered_to_look(page: str, open_page: Open, client: Client) -> None:
    client.user["permissions"] = ["browse", "operate", "view"]
    at = open_page(page)
    labels = {b.label for b in at.button}
    assert not [one for one in labels if one.startswith(("Add", "Edit", "Pause"))]
    button(at, "Look").click().run()
    assert parts.LOOK_ONLY in said(at)
    assert not {"Save", "Delete"} & {b.label for b in at.button}


def test_an_address_of_a_rule_that_is_not_there_leads_to_the_list(open_page: Open) -> None:
    for place in ("nowhere/rule", "main/nothing", "main"):
        at = open_page("rules", show=place)
        assert at.title[0].value == "Rules"
        assert f"There is no rule {place} any more." in said(at)


def test_a_sign_in_that_ended_leads_to_the_door(open_page: Open, api: FakeApi) -> None:
    api.expire()
    api.refreshes.clear()
    at = open_page("rules")
    assert "Your sign-in has ended" in said(at)
    assert [t.label for t in at.text_input] == ["Username", "Password"]


# today


def test_today_shows_what_needs_a_person_and_leads_there(open_page: Open) -> None:
    at = open_page("today")
    assert "1,8" in said(at) or "1,9" in said(at)
    labels = [b.label for b in at.button]
    assert any("4 images held" in label for label in labels)
    assert any("Port 11119 is taken" in label for label in labels)
    given_up = next(b for b in at.button if "2 deliveries given up" in b.label)
    given_up.click().run()
    assert at.title[0].value == "Deliveries"


def test_an_empty_home_gives_a_ready_line_to_send_with(open_page: Open, api: FakeApi) -> None:
    api.empty()
    api.document["sources"] = [{"name": "modalities", "kind": "dimse_listener", "ae_title": "AXIOM", "port": 11112}]
    at = open_page("today")
    assert at.code[0].value == "storescu -v -aec AXIOM 127.0.0.1 11112 image.dcm"


# images


def test_an_image_is_found_and_its_story_told(open_page: Open) -> None:
    at = open_page("instance")
    at.text_input[0].set_value("roe").run()
    assert "Found: 1 image" in said(at)
    at.query_params["uid"] = "1.2.826.0.1.3680043.8.498.1001.2"
    at.run()
    words = said(at)
    sent = ("pacs not now: tried again", "pacs has it")
    for expected in ("Received, and safe on disk", "Modality eq CT: is CT", "H1-P-1001", *sent):
        assert expected in words


def test_the_whole_header_is_there_with_its_sequences(open_page: Open) -> None:
    at = open_page("instance", uid="1.2.826.0.1.3680043.8.498.1001.2")
    rows = at.dataframe[0].value.values.tolist()
    assert rows == [
        ["(0008,0060)", "Modality", "CS", "CT"],
        ["(0008,1110)", "ReferencedStudySequence", "SQ", "1 item"],
        ["    (0008,1155)", "ReferencedSOPInstanceUID", "UI", "1.2.3"],
        ["(0009,1001)", "", "UN", "12 bytes"],
    ]


def test_values_of_tags_are_never_taken_for_markup(open_page: Open) -> None:
    at = open_page("instance", uid="1.2.826.0.1.3680043.8.498.1001.2")
    words = said(at)
    assert "&lt;b&gt;call back&lt;/b&gt;" in words
    assert "<b>call back</b>" not in words


def test_an_unknown_image_is_said_in_words(open_page: Open) -> None:
    assert "This image is not known here" in said(open_page("instance", uid="9.9"))


# deliveries and held


def test_gatherings_are_seen_and_sent_before_their_time(open_page: Open, api: FakeApi) -> None:
    at = open_page("deliveries", view="gathering")
    shown = at.dataframe[0].value
    assert list(shown["Images"]) == ["212 of 640", "4"]
    assert list(shown["Late"]) == ["", "late: the rest went before"]
    choose(at, "deliveries-gathering", [0])
    next(b for b in at.button if b.label == "Send now").click()
    at.run()
    assert api.did[-1] == ("gatherings/send-now", "a" * 32)


def test_deliveries_are_sent_again_and_discarded_with_a_reason(open_page: Open, api: FakeApi) -> None:
    at = open_page("deliveries", view="dead")
    choose(at, "deliveries-dead", [0, 1])
    words = said(at)
    assert "2 deliveries chosen" in words
    assert "no such SOP class" in words
    button(at, "Send again now").click().run()
    assert api.did[-1][:3] == ("deliveries/retry", "d4", "d5")


def test_why_images_are_held_is_read_without_a_click(open_page: Open) -> None:
    words = said(open_page("held"))
    assert "is not a date (VR DA)." in words
    assert "The data set ends in the middle of (7FE0,0010)." in words


def test_what_was_given_up_is_told_by_what_gave_it_up(open_page: Open) -> None:
    """Not by what the peer said later of the other images, which may be waiting for their next attempt."""
    at = open_page("deliveries", view="dead")
    told = list(at.dataframe[0].value["What the peer said"])
    assert any("no such SOP class" in words for words in told), told


def test_discarding_needs_a_reason(open_page: Open, api: FakeApi) -> None:
    at = open_page("held")
    choose(at, "held-held", [1])
    assert button(at, "Discard them").disabled
    at.text_input(key="held-why").set_value("broken file").run()
    button(at, "Discard them").click().run()
    assert api.did[-1] == ("held/discard", "h2", "broken file")


def test_unmatched_images_are_replayed(open_page: Open, api: FakeApi) -> None:
    at = open_page("held", view="unmatched")
    choose(at, "held-unmatched", [0])
    button(at, "Send through the rules again").click().run()
    assert api.did[-1] == ("unmatched/replay", "u1")


def choose(at: AppTest, key: str, rows: list[int]) -> None:
    """Tick rows of a table. (AppTest has no click for that: the widget's state is what a click sets.)"""
    at.session_state[key] = {"selection": {"rows": rows, "columns": [], "cells": []}}
    at.run()
    assert not at.exception, at.exception


# history and revisions


def test_history_answers_a_question_and_says_what_is_wrong_with_sql(open_page: Open) -> None:
    at = open_page("history")
    assert {"modality", "images"} == set(at.dataframe[0].value.columns)
    at.text_area[0].set_value("select nonsense from instances").run()
    assert "nonsense" in at.error[0].value
    assert not at.exception


def test_a_chart_says_none_where_a_row_has_no_word(open_page: Open) -> None:
    at = open_page("history")
    at.text_area[0].set_value("select * from (values (null, 3), ('CT', 2), ('', 1)) as found(modality, images)").run()
    [chart] = at.get("vega_lite_chart") or at.get("arrow_vega_lite_chart")
    told = str(chart.proto)
    assert told.count("(none)") == 2


def test_a_revision_is_shown_and_gone_back_to(open_page: Open, api: FakeApi) -> None:
    at = open_page("revisions")
    assert "rules/ct-to-pacs/state" in said(at)
    at.radio(key="revision").set_value(at.radio(key="revision").options[1]).run()
    button(at, "Go back").click().run()
    assert api.did[-1] == ("rollback", 6)


# sources and destinations


def test_a_destination_is_added_by_its_form(open_page: Open, api: FakeApi) -> None:
    at = open_page("destinations")
    button(at, "Nothing").click().run()
    at.text_input[0].set_value("void").run()
    button(at, "Save").click().run()
    assert {"kind": "nothing", "name": "void"} in api.document["destinations"]
    assert at.title[0].value == "Destinations"


def test_what_is_wrong_stands_beside_its_field(open_page: Open, api: FakeApi) -> None:
    at = open_page("sources", show="modalities")
    at.text_input[0].set_value("not a name!").run()
    button(at, "Save").click().run()
    assert any(":red[" in m.value and "begins and ends with a letter or digit" in m.value for m in at.markdown)
    assert api.revision == 7


def test_a_tick_that_fails_asks_for_a_second_click(open_page: Open, api: FakeApi) -> None:
    at = open_page("destinations", show="pacs")
    next(t for t in at.text_input if t.label.startswith("Host")).set_value("away.example").run()
    button(at, "Save").click().run()
    assert "connection refused" in said(at)
    assert api.revision == 7
    button(at, "Save anyway").click().run()
    assert api.revision == 8
    assert next(d for d in api.document["destinations"] if d["name"] == "pacs")["host"] == "away.example"


def test_what_is_in_use_is_not_deleted(open_page: Open) -> None:
    at = open_page("destinations", show="pacs")
    assert "rulesets/main/rules/ct\\-to\\-pacs" in said(at) or "ct-to-pacs" in said(at)
    assert not [b for b in at.button if b.label == "Yes, delete it"]


def test_what_is_unused_is_deleted_by_a_second_click(open_page: Open, api: FakeApi) -> None:
    at = open_page("destinations", show="nowhere")
    button(at, "Yes, delete it").click().run()
    assert "nowhere" not in [d["name"] for d in api.document["destinations"]]


def test_somebody_else_saved_meanwhile(open_page: Open, api: FakeApi) -> None:
    at = open_page("destinations", show="nowhere")
    api.revision += 1
    button(at, "Save").click().run()
    assert "Somebody saved a change" in said(at)


def test_pausing_keeps_everything_else(open_page: Open, api: FakeApi) -> None:
    at = open_page("sources")
    button(at, "Pause").click().run()
    found = next(s for s in api.document["sources"] if s["name"] == "modalities")
    assert found == {"name": "modalities", "kind": "dimse_listener", "ae_title": "AXIOM", "port": 11112, "enabled": False}


def test_a_schedule_reads_as_a_sentence_and_is_edited(open_page: Open, api: FakeApi) -> None:
    assert "mon to fri 07:00 to 18:00 (Europe/Berlin)" in said(open_page("schedules"))
    at = open_page("schedules", show="office")
    next(t for t in at.text_input if t.label == "End").set_value("19:30").run()
    button(at, "Save").click().run()
    assert api.document["schedules"][0]["ranges"][0]["end"] == "19:30"
    assert "kind" not in api.document["schedules"][0]


# rules


def rule(api: FakeApi, name: str) -> dict[str, Any]:
    return next(r for r in api.document["rulesets"][0]["rules"] if r["name"] == name)


def test_rules_are_listed_in_order_and_in_words(open_page: Open) -> None:
    words = said(open_page("rules"))
    assert "Modality is CT and not PatientID begins with TEST" in words
    assert "then set InstitutionName, prepend PatientID" in words
    assert words.index("ct-to-pacs") < words.index("mr-to-pacs") < words.index("old-ultrasound")


def test_a_rule_saved_without_a_change_stays_the_same(open_page: Open, api: FakeApi) -> None:
    before = dict(rule(api, "ct-to-pacs"))
    at = open_page("rules", show="main/ct-to-pacs")
    button(at, "Save").click().run()
    assert api.revision == 8
    assert rule(api, "ct-to-pacs") == before


def test_one_click_promotes_a_rule(open_page: Open, api: FakeApi) -> None:
    at = open_page("rules")
    at.button_group(key="state-main/research-ct-shadow").set_value("live").run()
    assert rule(api, "research-ct")["state"] == "live"


def test_rules_change_places(open_page: Open, api: FakeApi) -> None:
    at = open_page("rules")
    at.button(key="down-main/ct-to-pacs").click().run()
    assert (rule(api, "ct-to-pacs")["priority"], rule(api, "mr-to-pacs")["priority"]) == (20, 10)


def test_a_rule_is_made_from_nothing(open_page: Open, api: FakeApi) -> None:
    at = open_page("rules")
    at.button(key="add-main").click().run()
    at.text_input[0].set_value("us-to-archive").run()
    button(at, "Add a condition").click().run()
    next(s for s in at.selectbox if s.label == "Tag").set_value("Modality").run()
    next(t for t in at.text_input if t.label == "Value").set_value("US").run()
    next(m for m in at.multiselect if m.label == "Destinations").set_value(["archive"]).run()
    button(at, "Save").click().run()
    assert rule(api, "us-to-archive") == {
        "name": "us-to-archive",
        "state": "shadow",
        "when": {"tag": "Modality", "op": "eq", "value": "US"},
        "destinations": ["archive"],
        "priority": 60,
    }


def test_a_regex_that_does_not_hold_is_refused_in_its_line(open_page: Open, api: FakeApi) -> None:
    at = open_page("rules", show="main/mr-to-pacs")
    next(s for s in at.selectbox if s.label == "Operator").set_value("regex").run()
    next(t for t in at.text_input if t.label == "Value").set_value("(").run()
    button(at, "Save").click().run()
    assert api.revision == 7
    assert any(m.value.startswith(":red[") for m in at.markdown)


def test_a_rule_is_deleted_by_a_second_click(open_page: Open, api: FakeApi) -> None:
    at = open_page("rules", show="main/old-ultrasound")
    at.button(key="gone-yes").click().run()
    assert "old-ultrasound" not in [r["name"] for r in api.document["rulesets"][0]["rules"]]


def test_what_is_typed_as_a_tag_brings_those_it_could_mean(open_page: Open, api: FakeApi) -> None:
    rule(api, "mr-to-pacs")["when"]["tag"] = "Slice"  # as if typed: AppTest chooses only among what is offered
    at = open_page("rules", show="main/mr-to-pacs")
    next(b for b in at.button if "SliceThickness" in b.label).click().run()
    assert next(s for s in at.selectbox if s.label == "Tag").value == "SliceThickness"


def test_crosswalks_say_what_they_look_up_and_how_far_their_copies_are(open_page: Open) -> None:
    assert "research · patients" in said(open_page("crosswalk_sources"))
    words = said(open_page("crosswalk_maps"))
    for expected in ("PatientID = mrn in mrn-db, replaces PatientID", "copying: 1000 of 4000 rows", "2 batches wait"):
        assert expected in words


def test_a_crosswalk_map_is_edited_by_its_form(open_page: Open, api: FakeApi) -> None:
    at = open_page("crosswalk_maps", show="pseudonyms")
    assert next(b for b in at.selectbox if b.label.startswith("Source")).value == "mrn-db"
    next(n for n in at.number_input if n.label == "Cache seconds").set_value(60.0).run()
    button(at, "Save").click().run()
    assert api.document["crosswalk_maps"][0]["cache_seconds"] == 60.0
    assert api.document["crosswalk_maps"][0]["match"] == {"PatientID": "mrn"}
