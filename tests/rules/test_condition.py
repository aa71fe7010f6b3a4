"""What may be saved: every mistake is told in words, beside the field that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from engine.configuration import load_configuration
from engine.errors import Invalid
from engine.rules.condition import AssociationCondition, Condition
from engine.rules.model import Rule

TAGS: TypeAdapter[Any] = TypeAdapter(Condition)
SENDERS: TypeAdapter[Any] = TypeAdapter(AssociationCondition)


def problems(adapter: TypeAdapter[Any], data: Any) -> list[tuple[tuple[Any, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(data)
    return [(e["loc"], e["msg"].removeprefix("Value error, ")) for e in caught.value.errors()]


def leaf(tag: str, op: str, value: Any = None, **more: Any) -> dict[str, Any]:
    return {"tag": tag, "op": op, "value": value, **more}


@pytest.mark.parametrize(
    ("data", "loc", "words"),
    [
        (leaf("PatientNme", "eq", "x"), ("tag",), "did you mean PatientName?"),
        (leaf("Modality", "regex", "(a"), ("value",), "missing ): (a"),
        (leaf("Modality", "regex", "a(?!b)"), ("value",), "RE2 syntax"),
        (leaf("Modality", "regex", "(?<n>a)"), ("value",), "(?P<name>...)"),
        (leaf("Modality", "equals", "x"), ("op",), "Input should be 'eq'"),
        (leaf("Rows", "gt", "many"), ("value",), '"many" is not a number'),
        (leaf("Rows", "in", [1, "x"]), ("value",), '"x" is not a number'),
        (leaf("SliceThickness", "eq", "1,5"), ("value",), '"1,5" is not a number'),
        (leaf("StudyDate", "eq", "2024-01-31"), ("value",), "write it like 20240131"),
        (leaf("StudyDate", "eq", "20240231"), ("value",), "there is no such day"),
        (leaf("StudyDate", "eq", "20240201-20240101"), ("value",), "ends before it begins"),
        (leaf("StudyDate", "gt", "20240101-20240201"), ("value",), "needs a moment, not a range"),
        (leaf("StudyTime", "eq", "25"), ("value",), "is not a time"),
        (leaf("PatientAge", "gt", "45"), ("value",), "write it like 045Y"),
        (leaf("SOPClassUID", "eq", "CT image"), ("value",), "is not a UID"),
        (leaf("SOPClassUID", "gt", "1.2"), ("op",), "neither more nor less"),
        (leaf("FrameIncrementPointer", "eq", "Nonsense"), ("value",), "is not a tag"),
        (leaf("DiffusionBValue", "contains", "1"), ("op",), "holds binary numbers"),
        (leaf("RecommendedDisplayFrameRateInFloat", "eq", "1e39"), ("value",), "more than a value of VR FL can be"),
        (leaf("PixelData", "eq", "x"), ("op",), "only `exists` and `not_exists`"),
        (leaf("RequestAttributesSequence", "contains", "x"), ("op",), "is a sequence"),
        (leaf("Modality", "in", "CT"), ("value",), "needs a list of values"),
        (leaf("Modality", "eq", ["CT", "MR"]), ("value",), "for several use `in`"),
        (leaf("Modality", "in", []), ("value",), "at least 1 item"),
        (leaf("Modality", "in", ["CT", True]), ("value", 1), "YAML reads this as true"),
        (leaf("Modality", "eq"), ("value",), "`eq` needs a value"),
        (leaf("Modality", "exists", "x"), ("value",), "`exists` takes no value"),
        (leaf("Modality", "contains", ""), ("value",), "an empty text would always do"),
        (leaf("Modality", "gt", "A", ignore_case=True), ("ignore_case",), "cannot ignore their case"),
        (leaf("Modality", "eq", "a\0b"), ("value",), "a character that no text can hold"),
        (leaf("Modality", "eq", "CT", values=1), ("values",), "Extra inputs"),
        (
            {"all": [leaf("Modality", "eq", "CT"), {"not": leaf("Rows", "eq", "x")}]},
            ("all", 1, "not", "value"),
            "is not a number",
        ),
        ({"any": []}, ("any",), "at least 1 item"),
        ({"any": [], "all": []}, (), "stands alone"),
        ({}, (), "A condition is {tag: .."),
        ("Modality", (), "A condition is {tag: .."),
    ],
)
def test_a_mistake_is_told_beside_its_field(data: Any, loc: tuple[Any, ...], words: str) -> None:
    found = problems(TAGS, data)
    assert [place for place, _ in found] == [loc]
    assert words.lower() in found[0][1].lower()


@pytest.mark.parametrize(
    ("data", "loc", "words"),
    [
        (
            {"source_ip": {"op": "ip_in_subnet", "value": "10.1.0.1/16"}},
            ("source_ip", "value"),
            "the subnet is 10.1.0.0/16",
        ),
        ({"source_ip": {"op": "ip_eq", "value": "10.1"}}, ("source_ip", "value"), "is not an IP address"),
        ({"calling_ae": {"op": "ip_eq", "value": "10.1.2.3"}}, ("calling_ae", "op"), "is for source_ip"),
        ({"calling_ae": {"op": "eq"}}, ("calling_ae", "value"), "needs a value"),
        ({"calling": {"op": "eq", "value": "x"}}, ("calling",), "Extra inputs"),
        ({"calling_ae": {"op": "eq", "value": "x"}, "user": {"op": "exists"}}, (), "put them into `all` or `any`"),
        ({"any": [{"called_ae": {"op": "regex", "value": "["}}]}, ("any", 0, "called_ae", "value"), "missing ]"),
    ],
)
def test_a_mistake_about_the_sender_too(data: Any, loc: tuple[Any, ...], words: str) -> None:
    found = problems(SENDERS, data)
    assert [place for place, _ in found] == [loc]
    assert words.lower() in found[0][1].lower()


def test_the_whole_configuration_names_ruleset_rule_and_field() -> None:
    rule = {"name": "ct", "priority": 1, "when": {"all": [leaf("Modality", "regex", "(a")]}}
    with pytest.raises(Invalid) as caught:
        load_configuration({"rulesets": [{"name": "main", "priority": 1, "rules": [rule]}]})
    (problem,) = caught.value.problems
    assert problem.loc == ("rulesets", "main", "rules", "ct", "when", "all", 0, "value")
    assert problem.words == "The regular expression is not valid: missing ): (a (RE2 syntax)."


def test_trees_are_dumped_in_the_shape_in_which_they_are_written() -> None:
    when = {
        "all": [
            {"tag": "Modality", "op": "eq", "value": "CT"},
            {"not": {"tag": "PatientID", "op": "startswith", "value": "TEST"}},
        ]
    }
    association = {
        "any": [
            {"calling_ae": {"op": "eq", "value": "CT01"}},
            {"source_ip": {"op": "ip_in_subnet", "value": "10.1.0.0/16"}},
        ]
    }
    rule = Rule.model_validate({"name": "r", "priority": 1, "when": when, "association": association})
    assert rule.model_dump(mode="json", exclude_defaults=True) == {
        "name": "r",
        "priority": 1,
        "when": when,
        "association": association,
    }
    assert Rule.model_validate(rule.model_dump()) == rule


def test_numbers_and_dates_of_yaml_are_the_texts_that_were_meant() -> None:
    import yaml

    data = yaml.safe_load(
        "{any: [{tag: Rows, op: in, value: [512, 1024]}, {tag: StudyDate, op: ge, value: 2024-01-31}, "
        "{tag: SliceThickness, op: lt, value: 0.5}]}"
    )
    assert [node.value for node in TAGS.validate_python(data).any] == [["512", "1024"], "20240131", "0.5"]


def test_a_tree_too_deep_to_read_is_refused_without_a_stack_overflow() -> None:
    tree: Any = leaf("Modality", "exists")
    for _ in range(5000):
        tree = {"not": tree}
    assert "at most 20 levels" in problems(TAGS, tree)[0][1]


def test_the_schema_shows_every_shape_with_an_example() -> None:
    schema = Rule.model_json_schema()
    shapes = {ref["$ref"].rpartition("/")[2] for ref in schema["properties"]["when"]["anyOf"] if "$ref" in ref}
    assert shapes == {"TagLeaf", "AllOf", "AnyOf", "NoneOf"}
    assert schema["$defs"]["TagLeaf"]["examples"] == [{"tag": "Modality", "op": "eq", "value": "CT"}]
    assert "not" in schema["$defs"]["NoneOf"]["properties"]
    for example in schema["properties"]["when"]["examples"]:
        TAGS.validate_python(example)
    for example in schema["properties"]["association"]["examples"]:
        SENDERS.validate_python(example)
