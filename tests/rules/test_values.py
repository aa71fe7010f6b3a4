"""How values compare: decimals, spans of time, names."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rules.model import Rule
from engine.rules.numbers import sort_key
from tests.rules.headers import header
from tests.rules.test_decide import NOW, SENDER, matched, ruleset, unchanged


def holds(tag: str, op: str, value: Any, seen: Any, **more: Any) -> bool:
    from engine.rules.decide import Rulebook

    leaf = {"tag": tag, "op": op, "value": value, **more}
    rule = Rule.model_validate({"name": "r", "priority": 1, "when": leaf}).model_dump()
    return matched(Rulebook([ruleset(rule)], []).decide(header(**{tag: seen}), SENDER, NOW, unchanged)) == ["r"]


@settings(max_examples=300)
@given(st.decimals(allow_nan=False, allow_infinity=False), st.decimals(allow_nan=False, allow_infinity=False))
def test_sort_keys_are_in_the_order_of_the_numbers(a: Decimal, b: Decimal) -> None:
    assert (sort_key(a) < sort_key(b), sort_key(a) == sort_key(b)) == (a < b, a == b)


@pytest.mark.parametrize(
    ("op", "value", "seen", "expected"),
    [
        ("eq", "0.1", "0.10", True),
        ("eq", "0.3", "0.30000000000000004", False),
        ("gt", "9007199254740992", "9007199254740993", True),
        ("eq", 1, "1e0", True),
        ("eq", 100, "1E2", True),
        ("lt", 0, "-0.0", False),
        ("eq", 0, "-0", True),
        ("gt", 9, "10", True),
        ("ne", 1, "abc", True),
        ("eq", 1, "abc", False),
        ("gt", 1, "", False),
        ("in", [1, 2], "3\\2.0", True),
        ("not_in", [1, 2], "3\\2.0", False),
    ],
)
def test_decimals(op: str, value: Any, seen: str, expected: bool) -> None:
    assert holds("SliceThickness", op, value, seen) is expected


@pytest.mark.parametrize(
    ("tag", "op", "value", "seen", "expected"),
    [
        ("StudyDate", "eq", "202402", "20240229", True),
        ("StudyDate", "eq", "2024", "20240229", True),
        ("StudyDate", "gt", "2024", "20241231", False),
        ("StudyDate", "gt", "2023", "20240101", True),
        ("StudyDate", "ge", "202402", "20240201", True),
        ("StudyDate", "le", "202402", "20240229", True),
        ("StudyDate", "lt", "202402", "20240131", True),
        ("StudyDate", "eq", "20240101-20240131", "20240131", True),
        ("StudyDate", "eq", "-20240131", "19991231", True),
        ("StudyDate", "eq", "20240131-", "20240130", False),
        ("StudyDate", "in", ["2023", "202402-202403"], "20240331", True),
        ("StudyDate", "eq", "20240131", "2024.01.31", True),
        ("StudyDate", "ne", "2024", "unknown", True),
        ("StudyDate", "eq", "2024", "unknown", False),
        ("StudyDate", "lt", "2024", "", False),
        ("StudyTime", "eq", "10", "103000", True),
        ("StudyTime", "eq", "1030", "10:30:15", True),
        ("StudyTime", "eq", "103000", "103000.000000", True),
        ("StudyTime", "eq", "103000.00", "103000", True),
        ("StudyTime", "gt", "1030", "103059.999999", False),
        ("StudyTime", "gt", "1030", "103100", True),
        ("StudyTime", "eq", "1030", "10", False),
        ("StudyTime", "eq", "10-12", "1259", True),
        ("StudyTime", "lt", "10", "10", False),
        ("AcquisitionDateTime", "eq", "20240229103000+0100", "20240229093000+0000", True),
        ("AcquisitionDateTime", "eq", "20240229103000+0100", "20240229103000+0000", False),
        (
            "AcquisitionDateTime",
            "eq",
            "20240229103000+0100",
            "20240229103000",
            True,
        ),  # the written time: nobody says which zone
        ("AcquisitionDateTime", "lt", "20240301000000+0000", "20240301003000+0100", True),
        ("AcquisitionDateTime", "eq", "202402", "20240229235959.999999", True),
        ("AcquisitionDateTime", "eq", "20240229", "202402", False),
        ("AcquisitionDateTime", "eq", "202401-202402", "202402", True),
        ("AcquisitionDateTime", "le", "20240229", "202402", True),
        ("PatientAge", "eq", "012M", "001Y", True),
        ("PatientAge", "gt", "017Y", "216M", True),
        ("PatientAge", "lt", "001M", "004W", True),
        ("PatientName", "eq", "Doe^John", "Doe^John^^", True),
        ("PatientName", "eq", "Doe^John", "Doe^John=ド^ジ", True),
        ("PatientName", "eq", "ド^ジ", "Doe^John=ド^ジ", True),
        ("PatientName", "ne", "ド^ジ", "Doe^John=ド^ジ", False),
        ("PatientName", "startswith", "ド", "Doe^John=ド^ジ", True),
        ("PatientName", "eq", "Doe", "Doe^John", False),
        ("SOPClassUID", "eq", "CTImageStorage", "1.2.840.10008.5.1.4.1.1.2", True),
        ("SOPClassUID", "in", ["CT Image Storage"], "1.2.840.10008.5.1.4.1.1.2", True),
        ("FrameIncrementPointer", "eq", "FrameTime", 0x00181063, True),
        ("FrameIncrementPointer", "in", ["(0018,1063)"], [0x00181065, 0x00181063], True),
        ("SeriesDescription", "eq", "Abdomen ", "Abdomen   ", True),
    ],
)
def test_values_compare_by_their_vr(tag: str, op: str, value: Any, seen: Any, expected: bool) -> None:
    assert holds(tag, op, value, seen) is expected


@pytest.mark.parametrize(
    ("op", "value", "seen"),
    [
        ("eq", "ärger", "ÄRGER"),
        ("in", ["x", "ct"], "CT"),
        ("contains", "RG", "Ärger"),
        ("startswith", "ä", "Ärger"),
        ("endswith", "GER", "Ärger"),
        ("regex", "^är+ger$", "ÄRRGER"),
        ("eq", "a.c", "A.C"),
    ],
)
def test_letters_that_differ_in_case_alone(op: str, value: Any, seen: str) -> None:
    assert holds("SeriesDescription", op, value, seen, ignore_case=True)
    assert not holds("SeriesDescription", op, value, seen)
    assert not holds("SeriesDescription", "eq", "a.c", "abc", ignore_case=True)


def test_a_text_is_quoted_whatever_it_holds() -> None:
    from engine.rules.sql import quote

    for text in ("it's", "''", "\\'", "a\nb", "$1 ? :x", "--", "/*", "日本", "%_"):
        assert duckdb.execute(f"SELECT {quote(text)}").fetchall() == [(text,)]
    with pytest.raises(ValueError, match="NUL"):
        quote("a\0b")
