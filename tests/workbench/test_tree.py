"""Conditions through the editor's tree and back: what is saved says the same as what was read, in the same shape."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rules.ops import OPS, operator_names
from workbench import tree

LEAVES = st.one_of(
    st.builds(lambda t, v: {"tag": t, "op": "eq", "value": v}, st.sampled_from(["Modality", "PatientID"]), st.text(max_size=5)),
    st.builds(lambda t: {"tag": t, "op": "exists"}, st.sampled_from(["StudyDate"])),
    st.builds(lambda v: {"tag": "Modality", "op": "in", "value": v}, st.lists(st.text(max_size=3), min_size=1, max_size=3)),
    st.just({"tag": "Modality", "op": "contains", "value": "c", "ignore_case": True}),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda k, items: {k: items}, st.sampled_from(["all", "any"]), st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda one: {"not": one}, inner),
    ),
    max_leaves=12,
)


@given(TREES)
def test_what_is_saved_is_what_was_read(condition: dict[str, Any]) -> None:
    assert tree.save(tree.load(condition)) == condition


@given(TREES)
def test_the_place_of_each_line_leads_to_it(condition: dict[str, Any]) -> None:
    root = tree.load(condition)
    saved = tree.save(root)
    for node_id, where in tree.place(root).items():
        found: Any = saved
        for step in where:
            found = found[step]
        node = find(root, node_id)
        assert node is not None
        if "group" not in node:
            assert found["tag"] == node["what"]


def find(node: tree.Node, node_id: int) -> tree.Node | None:
    inner = (find(item, node_id) for item in node.get("items", []))
    return node if node["id"] == node_id else next((found for found in inner if found), None)


@pytest.mark.parametrize(
    "condition",
    [
        {"any": [{"calling_ae": {"op": "eq", "value": "CT01"}}, {"source_ip": {"op": "ip_in_subnet", "value": "10.1.0.0/16"}}]},
        {"calling_ae": {"op": "startswith", "value": "CT", "ignore_case": True}},
        {"not": {"called_ae": {"op": "in", "value": ["A", "B"]}}},
    ],
)
def test_a_sender_is_saved_as_it_was_read(condition: dict[str, Any]) -> None:
    assert tree.save(tree.load(condition), association=True) == condition


def test_nothing_is_every_image() -> None:
    assert tree.save(tree.load(None)) is None
    assert tree.words(None) == ""


def test_a_line_that_was_only_begun_says_nothing() -> None:
    assert tree.save(tree.group("all", [tree.leaf(), tree.leaf("Modality", "eq", "CT")])) == {
        "tag": "Modality",
        "op": "eq",
        "value": "CT",
    }


def test_a_condition_in_words() -> None:
    station = {"tag": "StationName", "op": "eq", "value": "X"}
    condition = {
        "all": [
            {"tag": "Modality", "op": "in", "value": ["CT", "PT"]},
            {"any": [{"tag": "StudyID", "op": "exists"}, {"tag": "Rows", "op": "gt", "value": "512"}]},
            {"not": {"any": [{"tag": "PatientID", "op": "startswith", "value": "TEST"}, station]}},
        ]
    }
    assert tree.words(condition) == (
        "Modality is one of CT, PT and (StudyID is there or Rows is more than 512) "
        "and not (PatientID begins with TEST or StationName is X)"
    )


def test_the_words_are_those_of_the_engine() -> None:
    """The workbench may not import the engine; the tests see that both say the same."""
    assert tree.ops_for("source_ip") == {word: OPS[word].reads for word in operator_names(address=True)}
    assert tree.ops_for("PatientID") == {word: OPS[word].reads for word in operator_names()}
    assert {word for word, op in OPS.items() if op.takes == "many"} == tree.MANY_VALUES
    assert {word for word, op in OPS.items() if op.takes == "nothing"} == tree.NO_VALUE
    assert {word for word, op in OPS.items() if not op.can_ignore_case} == tree.NO_CASE
