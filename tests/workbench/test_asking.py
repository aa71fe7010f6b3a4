"""Pages that ask before something is done: what if, analysis, when a schedule is on, what a destination still waits for."""

from __future__ import annotations

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from tests.workbench.fake_api import FakeApi
from tests.workbench.test_pages import button, rule, said

Open = Callable[..., AppTest]


def test_a_rule_is_asked_of_the_history_as_it_stands_in_its_editor(open_page: Open, api: FakeApi) -> None:
    at = open_page("rules", show="main/mr-to-pacs")
    next(t for t in at.text_input if t.label == "Value").set_value("US").run()
    button(at, "What would this have done?").click().run()
    at.switch_page("workbench/pages/whatif.py").run()
    button(at, "Ask the history").click().run()
    assert not at.exception
    name, days, configuration = api.did[-1]
    assert (name, days) == ("rules/whatif", 30)
    asked = next(r for r in configuration["rulesets"][0]["rules"] if r["name"] == "mr-to-pacs")
    assert asked["when"]["value"] == "US"
    words = said(at)
    for expected in ("main/mr-to-pacs, as edited, the last 30 days", "18,402", "1,020", "Only the draft takes these"):
        assert expected in words
    assert ["Rule", "main/mr-to-pacs", 3800, 4820, 1020, 0] in at.dataframe[0].value.values.tolist()
    assert rule(api, "mr-to-pacs")["when"]["value"] == "MR"  # nothing was saved


def test_a_live_rule_is_asked_about_as_if_it_were_off(open_page: Open, api: FakeApi) -> None:
    at = open_page("whatif")
    button(at, "Ask the history").click().run()
    configuration = api.did[-1][2]
    assert configuration["rulesets"][0]["rules"][0]["state"] == "off"
    assert "main/ct-to-pacs off (it is live), the last 30 days" in said(at)
    at.button_group(key="whatif-period").set_value("7 days").run()
    assert "Ask again" in said(at)  # what is shown no longer answers what is asked


def test_rules_as_yaml_are_asked_and_what_is_wrong_with_them_is_said(open_page: Open, api: FakeApi) -> None:
    at = open_page("whatif")
    at.button_group[0].set_value("YAML").run()
    at.text_area[0].set_value("rulesets: [").run()
    assert "This is not YAML" in at.error[0].value
    at.text_area[0].set_value("rulesets: [{name: x, priority: high}]").run()
    button(at, "Ask the history").click().run()
    assert "priority" in at.error[0].value
    assert not [did for did in api.did if did[0] == "rules/whatif"]


def test_a_sample_leads_to_its_story(open_page: Open) -> None:
    at = open_page("whatif")
    button(at, "Ask the history").click().run()
    at.session_state["whatif-gained"] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    at.run()
    assert at.title[0].value == "Doe Jane"


def test_what_is_odd_about_rules_is_told_worst_first_and_leads_to_the_rule(open_page: Open) -> None:
    at = open_page("analysis")
    words = said(at)
    assert words.index("never reached") < words.index("matched nothing")
    assert "comes first and ends the ruleset" in words
    button(at, "Open the rule").click().run()
    assert at.title[0].value == "mr-to-pacs"


def test_a_schedule_tells_when_it_is_next_on_and_draws_its_days(open_page: Open) -> None:
    words = said(open_page("schedules"))
    assert "on now" in words or "off now" in words
    at = open_page("schedules", show="office")
    assert len(at.get("vega_lite_chart") or at.get("arrow_vega_lite_chart")) == 1
    next(t for t in at.text_input if t.label == "End").set_value("soon").run()
    assert "when the fields above hold together" in said(at)


def test_deleting_a_destination_tells_what_still_waits_for_it(open_page: Open, api: FakeApi) -> None:
    api.deliveries[0]["destination"] = "nowhere"
    at = open_page("destinations", show="nowhere")
    assert "1 delivery is not over" in said(at)
    button(at, "Delete it all the same").click().run()
    assert "nowhere" not in [d["name"] for d in api.document["destinations"]]


def test_a_file_is_tried_once_however_often_the_page_is_drawn(open_page: Open, api: FakeApi) -> None:
    at = open_page("rules")
    button(at, "Try a file").click().run()
    at.file_uploader[0].set_value(("a.dcm", bytes(128) + b"DICM", "application/dicom")).run()
    at.run()
    at.run()
    assert len([did for did in api.did if did[0] == "rules/test"]) == 1
    at.text_input(key="trial-calling").set_value("CT01").run()
    api.revision += 1
    at.run()
    assert len([did for did in api.did if did[0] == "rules/test"]) == 3
