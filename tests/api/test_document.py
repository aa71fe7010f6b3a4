"""What the OpenAPI document promises by its types, the API keeps: on every route, also on those to come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant

from engine.api.access import routes_of
from engine.api.problems import PROBLEM_JSON
from engine.configuration import load_configuration
from engine.errors import Invalid
from tests.api.site import Site

NOT_PROBLEMS = {("/health/ready", "503")}
"""Says which part is away, as the answer that all is well does."""
LOOSE = {"int": ("true", "1.0", "1_0", "+1", " 1", "0x1"), "bool": ("1", "on", "yes", "True")}
"""What Python would take for it, and no schema does."""


def _types(schema: Any) -> Iterator[dict[str, Any]]:
    """The schemas of numbers and switches inside a core schema of pydantic."""
    if isinstance(schema, dict):
        if schema.get("type") in ("int", "float", "bool"):
            yield schema
        for key, inner in schema.items():
            if key not in ("metadata", "serialization"):
                yield from _types(inner)
    elif isinstance(schema, list | tuple):
        for inner in schema:
            yield from _types(inner)


def _dependants(app: FastAPI) -> Iterator[tuple[str, Dependant]]:
    for route in routes_of(app):
        waiting = [route.dependant]
        while waiting:
            yield route.path, (one := waiting.pop())
            waiting += one.dependencies


def test_a_switch_is_no_number_and_a_text_neither_in_any_body(site: Site) -> None:
    lax = [
        (path, body.name, found)
        for path, one in _dependants(site.app) for body in one.body_params
        for found in _types(body._type_adapter.core_schema) if not found.get("strict")
    ]  # fmt: skip
    assert lax == []


def test_numbers_and_switches_in_addresses_are_written_as_the_document_says(site: Site) -> None:
    tried = 0
    for path, one in _dependants(site.app):
        for place in (*one.query_params, *one.path_params):
            for found in _types(place._type_adapter.core_schema):
                for text in LOOSE.get(found["type"], ()):
                    tried += 1
                    assert place.validate(text, {}, loc=("query", place.name))[1], f"{path} takes {place.name}={text!r}"
    assert tried > 100
    client = site.signed_in()
    assert client.get("/revisions", params={"limit": "1_0"}).status_code == 422
    assert client.delete("/sources/none", params={"force": "yes"}).status_code == 422
    assert client.delete("/sources/none", params={"force": "true"}).status_code == 404


def test_every_error_in_the_document_is_a_problem(site: Site) -> None:
    with site.anonymous() as client:
        document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                if status >= "400" and (path, status) not in NOT_PROBLEMS:
                    types = set(answer["content"])
                    assert PROBLEM_JSON in types or types <= {"application/dicom+json", "application/dicom+xml"}, (
                        f"{method} {path}: {status} is {types}"
                    )


def _with(rule: dict[str, Any]) -> dict[str, Any]:
    return {"rulesets": [{"name": "a", "priority": 1, "rules": [{"name": "b", "priority": 1, **rule}]}]}


def test_a_number_is_a_text_where_the_document_says_so(site: Site) -> None:
    with site.anonymous() as client:
        schemas = client.get("/openapi.json").json()["components"]["schemas"]
    leaf, change = schemas["TagLeaf"]["properties"]["value"], schemas["Set"]["properties"]["value"]
    assert {"type": "number"} in leaf["anyOf"]
    assert {"type": "number"} in next(one["items"]["anyOf"] for one in leaf["anyOf"] if one.get("type") == "array")
    assert change["anyOf"] == [{"type": "string"}, {"type": "number"}]
    found = load_configuration(
        _with({
            "when": {"tag": "SeriesNumber", "op": "in", "value": [1, "2"]},
            "morphs": [{"kind": "set", "tag": "SeriesNumber", "value": 7}],
        })
    )  # fmt: skip
    [rule] = found.rulesets[0].rules
    assert rule.morphs[0].value == "7"
    assert rule.when.values == ("1", "2")  # type: ignore[union-attr]


@pytest.mark.parametrize("word", ["yes", 1, "true"])
def test_a_condition_takes_no_other_word_for_true(word: Any) -> None:
    with pytest.raises(Invalid, match="ignore_case"):
        load_configuration(_with({"when": {"tag": "Modality", "op": "eq", "value": "CT", "ignore_case": word}}))
