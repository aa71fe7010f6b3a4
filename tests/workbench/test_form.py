"""Generated forms: each type of field, what is left out, secrets that stay, problems beside their field; the flow picture."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from xml.etree import ElementTree

import pytest
from pydantic import BaseModel, Field, SecretStr
from streamlit.testing.v1 import AppTest

from engine.fields import describe
from tests.workbench.fake_api import FakeApi
from tests.workbench.test_pages import button
from workbench.client import Client, Problem
from workbench.flow import flow_svg
from workbench.parts import md


class Range(BaseModel):
    days: list[Literal["mon", "tue"]] = []
    start: str = "00:00"


class Thing(BaseModel):
    name: str
    port: int = Field(104, ge=1, le=65535)
    rate: Annotated[float, Field(gt=0)] | None = None
    token: SecretStr | None = None
    tls: bool = False
    record: bool | None = None
    level: Literal["low", "high"] = "low"
    words: list[str] = []
    headers: dict[str, str] = {}
    tag: Annotated[str, Field(json_schema_extra={"format": "tag-path"})] = "PatientID"
    destinations: list[str] = []
    ranges: list[Range] = []
    cover: Range = Range()
    anything: Any = None


def draw() -> None:
    """The script that AppTest runs: the form over what the test put into the session."""
    import streamlit as st

    from workbench.form import Form

    form = Form(st.session_state["client"], later=())
    st.session_state["out"] = form.ask(
        st.session_state["fields"], st.session_state["item"], "f", st.session_state.get("problems", ())
    )


@pytest.fixture
def page(client: Client) -> AppTest:
    at = AppTest.from_function(draw, default_timeout=120)
    at.session_state["client"] = client
    at.session_state["fields"] = [f.model_dump(mode="json") for f in describe(Thing)]
    at.session_state["item"] = {"name": "one"}
    return at


def out(at: AppTest) -> dict[str, Any]:
    assert not at.exception, at.exception
    return dict(at.session_state["out"])


def test_what_is_left_at_its_default_is_left_out(page: AppTest) -> None:
    assert out(page.run()) == {"name": "one"}


def test_every_type_of_field_gives_back_what_was_put_in(page: AppTest) -> None:
    item = {
        "name": "two", "port": 11112, "rate": 2.5, "tls": True, "record": False, "level": "high", "words": ["a", "b"],
        "headers": {"X": "1"}, "tag": "Modality", "destinations": ["pacs"], "ranges": [{"days": ["mon"], "start": "07:00"}],
        "anything": {"deep": [1]},
    }  # fmt: skip
    page.session_state["item"] = item
    assert out(page.run()) == item
    Thing.model_validate(out(page))


def test_what_a_person_changes_comes_out(page: AppTest) -> None:
    page.run()
    page.text_input(key="f.name").set_value("three")
    page.number_input(key="f.port").set_value(4242)
    page.toggle(key="f.tls").set_value(True)
    page.multiselect(key="f.destinations").set_value(["archive"])
    page.text_area(key="f.anything").set_value('{"a": 1}')
    button(page, "Add").click().run()
    page.text_input(key="f.ranges.0.start").set_value("08:00").run()
    assert out(page) == {
        "name": "three", "port": 4242, "tls": True, "destinations": ["archive"], "ranges": [{"start": "08:00"}],
        "anything": {"a": 1},
    }  # fmt: skip


def test_a_stored_secret_stays_when_left_blank_and_is_not_shown(page: AppTest, api: FakeApi) -> None:
    page.session_state["item"] = {"name": "one", "token": "**********"}
    page.run()
    assert page.text_input(key="f.token").value == ""
    assert out(page)["token"] == "**********"
    page.text_input(key="f.token").set_value("env:TOKEN").run()
    assert out(page)["token"] == "env:TOKEN"
    page.text_input(key="f.token").set_value("new").run()
    page.run()
    assert out(page)["token"] == f"stored:{1:032x}", "the API keeps it; the item holds where it is"
    assert api.did == [("secret", "new")], "once"


def test_a_problem_stands_under_its_field_and_a_stray_one_above(page: AppTest) -> None:
    page.session_state["problems"] = [Problem(("port",), "It is taken."), Problem((), "It is [odd](x).")]
    page.run()
    said = [m.value for m in page.markdown if m.value.startswith(":red[")]
    assert said == [f":red[{md('It is [odd](x).')}]", ":red[It is taken.]"]
    columns = page.columns
    with_port = next(c for c in columns if any(n.key == "f.port" for n in c.number_input))
    assert [m.value for m in with_port.markdown] == [":red[It is taken.]"]


def test_what_is_no_json_is_said_and_not_taken(page: AppTest) -> None:
    page.run()
    page.text_area(key="f.anything").set_value("{").run()
    assert any("not JSON" in m.value for m in page.markdown)
    assert "anything" not in out(page)


def test_a_group_is_closed_until_something_in_it_is_set(page: AppTest) -> None:
    def opened() -> bool:
        return next(e.proto.expanded for e in page.expander if e.label == "Cover")

    page.run()
    assert not opened()
    page.session_state["item"] = {"name": "one", "cover": {"start": "08:00"}}
    page.run()
    assert opened()


# the flow picture


def flow(**more: Any) -> dict[str, Any]:
    nodes = [
        {"id": "source:a", "type": "source", "name": "a", "count": 9},
        {"id": "rule:m/r", "type": "rule", "name": "r", "count": 9},
        {"id": "destination:p", "type": "destination", "name": "<script>p", "count": 4, "state": "bad", "note": "2 dead"},
    ]
    edges = [
        {"from": "source:a", "to": "rule:m/r", "count": 9},
        {"from": "rule:m/r", "to": "destination:p", "count": 4},
        {"from": "rule:m/r", "to": "destination:gone", "count": 4},
    ]
    return {"nodes": nodes, "edges": edges} | more


def widths(svg: str) -> list[float]:
    root = ElementTree.fromstring(svg)
    return [float(p.get("stroke-width", 0)) for p in root.iter("{http://www.w3.org/2000/svg}path")]


def test_bands_are_as_wide_as_what_flows() -> None:
    wide, narrow = widths(flow_svg(flow()))
    assert wide > narrow > 1.4


def test_boxes_can_be_reached_by_keyboard_and_names_are_no_markup() -> None:
    svg = flow_svg(flow())
    assert svg.count('tabindex="0"') == 3
    assert 'data-id="destination:p"' in svg
    assert "<script>" not in svg
    assert "2 dead" in svg


def test_very_many_boxes_become_the_busiest_and_the_rest() -> None:
    nodes = [{"id": f"rule:m/{i}", "type": "rule", "name": f"r{i}", "count": i} for i in range(60)]
    svg = flow_svg({"nodes": nodes, "edges": []})
    assert "49 more" in svg
    assert "r59" in svg
    assert ">r3<" not in svg


def test_nothing_at_all_is_still_a_picture() -> None:
    ElementTree.fromstring(flow_svg({"nodes": [], "edges": []}))
