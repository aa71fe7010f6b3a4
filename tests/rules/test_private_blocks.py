"""Private elements by their creator: whichever block it has, matching, morphs and SQL find the same one."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from engine.dicom.header import Header
from engine.dicom.paths import TagPath
from engine.morphs.work import Work
from engine.rules.model import Rule
from engine.rules.to_sql import rule_sql
from tests.rules.headers import SENDER, data_set, file, header
from tests.rules.test_agreement import WHEN, python_says, sql_says

PATH = '(0029,"ACME",10)'
ACME = ("LO", "ACME")
CASES: dict[str, tuple[dict[int, tuple[str, Any]], str | None]] = {
    "the first block": ({0x00290010: ACME, 0x00291010: ("LO", "v")}, "v"),
    "another block": ({0x00290020: ACME, 0x00292010: ("LO", "v")}, "v"),
    "the last block": ({0x002900FF: ACME, 0x0029FF10: ("LO", "v")}, "v"),
    "the second of two": ({0x00290010: ACME, 0x00290011: ACME, 0x00291110: ("LO", "v")}, "v"),
    "the second of two, far away": ({0x00290010: ACME, 0x00290030: ACME, 0x00293010: ("LO", "v")}, "v"),
    "the first of two that hold it": (
        {0x00290010: ACME, 0x00290030: ACME, 0x00291010: ("LO", "v"), 0x00293010: ("LO", "w")}, "v"
    ),
    "of another creator": ({0x00290010: ("LO", "ACME 2"), 0x00291010: ("LO", "v")}, None),
    "of a block that others use too": ({0x00290010: ("LO", "B"), 0x00290011: ACME, 0x00291010: ("LO", "v")}, None),
    "a creator that came through a node that did not know it": ({0x00290010: ("UN", b"ACME"), 0x00291010: ("LO", "v")}, "v"),
    "a creator written as short text": ({0x00290010: ("SH", "ACME"), 0x00291010: ("LO", "v")}, "v"),
    "a creator written as bytes": ({0x00290010: ("OB", b"ACME"), 0x00291010: ("LO", "v")}, None),
    "a creator written as numbers": ({0x00290010: ("US", b"ACME"), 0x00291010: ("LO", "v")}, None),
    "a creator of one text with a backslash": ({0x00290010: ("ST", "ACME\\B"), 0x00291010: ("LO", "v")}, None),
    "a creator that is a sequence": ({0x00290010: ("SQ", [{}]), 0x00291010: ("LO", "v")}, None),
    "none": ({0x00291010: ("LO", "v")}, None),
}  # fmt: skip


def _all_find(one: Header, path: str, expected: str | None) -> None:
    found = {}
    for op, more in {"exists": {}, "not_exists": {}, "eq": {"value": "v"}, "ne": {"value": "v"}}.items():
        rule = Rule.model_validate({"name": "r", "priority": 1, "when": {"tag": path, "op": op, **more}})
        seen = (one, SENDER, WHEN)
        found[op] = python_says(rule, [], seen)
        assert sql_says(rule_sql(rule), [seen]) == [found[op]], op
    there = expected is not None
    assert found == {"exists": there, "not_exists": not there, "eq": expected == "v", "ne": there and expected != "v"}
    work = Work(one)
    assert [value for place in work.places(TagPath.parse(path)) for value in work.values(place)] == ([expected] if there else [])


@pytest.mark.parametrize("case", CASES)
def test_the_same_is_found_by_all(case: str) -> None:
    elements, expected = CASES[case]
    _all_find(header(elements), PATH, expected)


@pytest.mark.parametrize("index", ["*", "0"])
@pytest.mark.parametrize("case", CASES)
def test_inside_a_sequence_too(case: str, index: str) -> None:
    elements, expected = CASES[case]
    _all_find(header({0x00400275: ("SQ", [elements])}), f"RequestAttributesSequence[{index}].{PATH}", expected)


def test_blocks_are_asked_in_the_order_of_their_numbers_whatever_the_order_of_the_bytes() -> None:
    path = file({0x00290010: ACME})
    late = data_set({0x00290030: ACME, 0x00293010: ("LO", "w")}), data_set({0x00290020: ACME, 0x00292010: ("LO", "v")})
    path.write_bytes(path.read_bytes() + b"".join(late))
    assert struct.pack("<HH", 0x0029, 0x0020) in path.read_bytes()
    _all_find(Header.read(path), PATH, "v")
