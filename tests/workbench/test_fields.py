"""engine.fields: what a form is told of every kind of field, and of every component there is."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, SecretStr

import engine.configuration  # noqa: F401  (makes the kinds known)
from engine.component import kinds
from engine.fields import FieldSpec, describe
from engine.rules.model import Rule, Ruleset, Schedule

KNOWN = {
    "text", "secret", "number", "integer", "switch", "choice", "tag", "list", "tags", "mapping", "model", "json",
    "condition", "association", "morphs",
}  # fmt: skip


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    a: int = Field(3, ge=1, le=9)
    again: list[Inner] = []


class Everything(BaseModel):
    kind: Literal["everything"] = "everything"
    text: str = Field(description="Some\n  words.", examples=["x"], pattern="^x", min_length=1, max_length=4)
    password: SecretStr = SecretStr("hidden")
    token: str = Field("t", json_schema_extra={"form": "secret"})
    count: Annotated[int, Field(gt=0, lt=10)] | None = None
    part: float = 0.5
    on: bool = True
    colour: Colour = Colour.RED
    days: list[Literal["mon", "tue"]] = []
    words: list[str] = ["a"]
    headers: dict[str, str] = {}
    inner: Inner = Inner()
    path: Annotated[str, Field(json_schema_extra={"form": "tag"})] = "PatientID"
    paths: list[Annotated[str, Field(json_schema_extra={"form": "tag"})]] = []
    destinations: list[str] = []
    schedule: str | None = None
    anything: Any = None
    value: str | int | float | None = None
    peer_ae_title: str = "AXIOM"


def spec(name: str) -> FieldSpec:
    return next(f for f in describe(Everything) if f.name == name)


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("text", "text"), ("password", "secret"), ("token", "secret"), ("count", "integer"), ("part", "number"),
        ("on", "switch"), ("colour", "choice"), ("days", "list"), ("words", "tags"), ("headers", "mapping"),
        ("inner", "model"), ("path", "tag"), ("paths", "list"), ("destinations", "names:destinations"),
        ("schedule", "name:schedules"), ("anything", "json"), ("value", "text"),
    ],
)  # fmt: skip
def test_the_type_of_each_field(name: str, type_: str) -> None:
    assert spec(name).type == type_


def test_a_constant_is_not_asked_for() -> None:
    assert "kind" not in [f.name for f in describe(Everything)]


def test_limits_examples_and_words_are_told() -> None:
    text = spec("text")
    assert (text.help, text.examples, text.pattern, text.required) == ("Some words.", ("x",), "^x", True)
    assert (text.min_length, text.max_length) == (1, 4)
    count = spec("count")
    assert (count.above, count.below, count.optional, count.default) == (0, 10, True, None)
    assert spec("colour").choices == ("red", "blue")
    assert spec("colour").default == "red"
    assert spec("peer_ae_title").label == "Peer AE title"


def test_a_secret_has_no_default_to_show() -> None:
    assert spec("password").default is None
    assert spec("token").default is None


def test_a_nested_model_brings_its_fields_and_a_tree_of_itself_ends() -> None:
    fields = {f.name: f for f in spec("inner").fields}
    assert (fields["a"].minimum, fields["a"].maximum, fields["a"].default) == (1, 9, 3)
    assert fields["again"].item is not None
    assert fields["again"].item.type == "json"


def test_the_items_of_lists_are_described() -> None:
    days, paths = spec("days").item, spec("paths").item
    assert days is not None
    assert days.choices == ("mon", "tue")
    assert paths is not None
    assert paths.type == "tag"


def test_a_rule_asks_for_its_parts_by_their_own_editors() -> None:
    types = {f.name: f.type for f in describe(Rule)}
    assert types["when"] == "condition"
    assert types["association"] == "association"
    assert types["morphs"] == "morphs"
    assert types["destinations"] == "names:destinations"
    assert types["sources"] == "names:sources"
    assert types["schedule"] == "name:schedules"


@pytest.mark.parametrize(
    "model",
    [cls for family in ("source", "destination", "morph") for cls in kinds(family).values()]
    + [Rule, Ruleset, Schedule],
    ids=lambda m: m.__name__,
)
def test_every_model_of_the_configuration_can_be_asked_for(model: type[BaseModel]) -> None:
    def walk(fields: list[FieldSpec] | tuple[FieldSpec, ...]) -> None:
        for one in fields:
            known = one.type in KNOWN or one.type.partition(":")[0] in ("names", "name", "member")
            assert known, f"{one.name} has the unknown type {one.type}"
            assert one.label
            walk(one.fields)
            walk((one.item,) if one.item else ())

    fields = describe(model)
    walk(fields)
    assert FieldSpec.model_validate_json(fields[0].model_dump_json()) == fields[0]
