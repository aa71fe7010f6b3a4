"""The conformance table: operator x VR x how the tag stands there, asked of both engines.

`python -m tests.rules.conformance` writes it to docs/reference/matching.md; a test holds the file to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from engine.rules.model import Rule
from engine.rules.ops import OPS, escape
from tests.rules.headers import SENDER, header

FILE = Path(__file__).parents[2] / "docs" / "reference" / "matching.md"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
CASES = ("same", "greater", "several", "empty", "missing", "nested", "private")


class Sample(NamedTuple):
    """A tag of a VR, a value to compare with, and one that is greater and does not contain it."""

    keyword: str
    value: Any
    greater: Any


SAMPLES: dict[str, Sample] = {
    "AE": Sample("RetrieveAETitle", "CT01", "PACS"),
    "AS": Sample("PatientAge", "009M", "001Y"),
    "AT": Sample("FrameIncrementPointer", 0x00181063, 0x00181065),
    "CS": Sample("ImageType", "CT", "MR"),
    "DA": Sample("StudyDate", "20240131", "20240201"),
    "DS": Sample("SliceThickness", "2.5", "10"),
    "DT": Sample("AcquisitionDateTime", "20240131120000+0100", "20240131113000+0000"),
    "FD": Sample("DiffusionBValue", 0.1, 1000.0),
    "FL": Sample("RecommendedDisplayFrameRateInFloat", 0.1, 1000.0),
    "IS": Sample("InstanceNumber", "9", "10"),
    "LO": Sample("SeriesDescription", "Abdomen", "Thorax"),
    "LT": Sample("PatientComments", "Abdomen", "Thorax"),
    "OB": Sample("EncapsulatedDocument", b"AB", b"CD"),
    "PN": Sample("PatientName", "Doe^John", "Roe^Jane"),
    "SH": Sample("AccessionNumber", "A1", "B2"),
    "SL": Sample("ReferencePixelX0", -5, 10),
    "SQ": Sample("RequestAttributesSequence", [{}], [{}, {}]),
    "SS": Sample("TagAngleSecondAxis", -5, 10),
    "ST": Sample("InstitutionAddress", "Abdomen", "Thorax"),
    "SV": Sample("SelectorSVValue", -5, 2**62),
    "TM": Sample("StudyTime", "0930", "101500"),
    "UC": Sample("LongCodeValue", "Abdomen", "Thorax"),
    "UI": Sample("SOPClassUID", "1.2.3", "1.4.5"),
    "UL": Sample("RegionFlags", 9, 10),
    "UR": Sample("RetrieveURL", "http://a", "http://b"),
    "US": Sample("Rows", 9, 10),
    "UT": Sample("TextValue", "Abdomen", "Thorax"),
    "UV": Sample("SelectorUVValue", 2, 2**64 - 1),
}
ONE_VALUE = {"LT", "ST", "UT", "UR", "SQ", "OB"}
"""VRs in which a backslash is a character, or that have no values."""
OPAQUE = {"SQ", "OB"}
NO_TEXT = {"FL", "FD"}
NO_ORDER = {"UI", "AT"}

#                same   greater several empty  missing
EXPECTED = {
    "eq":           (True, False, True, False, False),
    "ne":           (False, True, False, True, False),
    "gt":           (False, True, True, False, False),
    "ge":           (True, True, True, False, False),
    "lt":           (False, False, False, False, False),
    "le":           (True, False, True, False, False),
    "exists":       (True, True, True, True, False),
    "not_exists":   (False, False, False, False, True),
    "contains":     (True, False, True, False, False),
    "not_contains": (False, True, False, True, False),
    "startswith":   (True, False, True, False, False),
    "endswith":     (True, False, True, False, False),
    "regex":        (True, False, True, False, False),
    "not_regex":    (False, True, False, True, False),
    "in":           (True, False, True, False, False),
    "not_in":       (False, True, False, True, False),
}  # fmt: skip
"""What DESIGN says, whatever the VR: several are the value and a greater one; nested and private are as `same`."""


class Row(NamedTuple):
    operator: str
    vr: str
    value: str
    expected: tuple[bool | None, ...]
    python: tuple[bool | None, ...]
    sql: tuple[bool | None, ...]
    """None: not applicable, or refused when saved."""


def refused(operator: str, vr: str) -> bool:
    """Whether a rule that asks so of a known tag may not be saved."""
    op = OPS[operator]
    return (
        (vr in OPAQUE and op.looks != "presence")
        or (vr in NO_TEXT and op.looks == "text")
        or (vr in NO_ORDER and op.ordered)
    )


def expected(operator: str, vr: str) -> tuple[bool | None, ...]:
    same, greater, several, empty, missing = EXPECTED[operator]
    none = refused(operator, vr)
    public = (same, greater, None if vr in ONE_VALUE else several, empty, missing, same)
    private = same
    if vr in OPAQUE or (vr in NO_TEXT and OPS[operator].looks == "text"):
        private = same if OPS[operator].looks == "presence" else False  # may be asked, is never true
    return (*(None if none else answer for answer in public), private)


def _text(value: Any, vr: str) -> str:
    return f"{value:08X}" if vr == "AT" else "AB" if isinstance(value, bytes) else "x" if vr == "SQ" else str(value)


def _rules(operator: str, vr: str) -> Iterator[tuple[str, Rule | None]]:
    """For each case its rule; None where it may not be saved."""
    sample = SAMPLES[vr]
    text = _text(sample.value, vr)
    for case in CASES:
        tag = {"nested": f"ReferencedSeriesSequence[0].{sample.keyword}", "private": '(0029,"ACME 1",10)'}.get(
            case, sample.keyword
        )
        leaf: dict[str, Any] = {"tag": tag, "op": operator}
        if operator in ("in", "not_in"):
            leaf["value"] = [text]
        elif operator.endswith("regex"):
            leaf["value"] = f"^{escape(text)}$"
        elif OPS[operator].takes != "nothing":
            leaf["value"] = text
        try:
            yield case, Rule.model_validate({"name": "r", "priority": 1, "when": leaf})
        except ValidationError:
            yield case, None


def _instance(case: str, vr: str) -> Any:
    sample = SAMPLES[vr]
    values = {
        "greater": sample.greater,
        "several": sample.value if vr in ONE_VALUE else [sample.value, sample.greater],
        "empty": [] if vr == "SQ" else b"",
    }
    if case == "missing":
        return header(StudyID="1")
    if case == "nested":
        return header({0x00081115: ("SQ", [_elements(sample.keyword, vr, sample.value)])})
    if case == "private":
        return header({0x00290010: ("LO", "ACME 1"), 0x00291010: (vr, sample.value)})
    return header(_elements(sample.keyword, vr, values.get(case, sample.value)))


def _elements(keyword: str, vr: str, value: Any) -> dict[int, tuple[str, Any]]:
    from engine.dicom.paths import TagPath

    tag = TagPath.parse(keyword).steps[0].tag
    assert tag is not None
    return {tag: (vr, value)}


@cache
def rows() -> list[Row]:
    """Every operator, VR and case, as both engines answer."""
    from engine.rules.to_sql import rule_sql
    from tests.rules.test_agreement import python_says, sql_says

    out = []
    for vr, sample in SAMPLES.items():
        instances = {case: (_instance(case, vr), SENDER, NOW) for case in CASES}
        for operator in EXPECTED:
            asked = [(case, rule) for case, rule in _rules(operator, vr)]
            applies = [rule is not None and not (case == "several" and vr in ONE_VALUE) for case, rule in asked]
            python = tuple(
                python_says(r, [], instances[c]) if yes and r else None
                for (c, r), yes in zip(asked, applies, strict=True)
            )
            sql = tuple(
                sql_says(rule_sql(r), [instances[c]])[0] if yes and r else None
                for (c, r), yes in zip(asked, applies, strict=True)
            )
            out.append(Row(operator, vr, _text(sample.value, vr), expected(operator, vr), python, sql))
    return out


HEAD = """# How rules match

Generated by `python -m tests.rules.conformance` from what both engines answer (Python, for arriving images; DuckDB, for
history): a test holds this page to them, and both to what is expected. Do not edit it.

## Operators

{operators}

Several values: a positive operator needs any of them, a negative one all. A missing tag is never a match, also not for
`ne` or `not_in`: ask `not_exists` for it. An element that is there but empty counts as one empty text; it is neither more
nor less than anything. What is known of the sender counts as missing when it is empty.

## How values compare

Values compare by the VR that the dictionary gives the tag; by the file's own where it knows none (private tags).

- **DS IS US SS UL SL SV UV**: as decimal numbers of any length, `1.0` is `1`. A value that is no number is equal to none.
- **FL FD**: as numbers, the rule's value rounded as the VR rounds it: `0.1` is the 0.1 that an FL holds.
- **DA TM DT**: as spans of time. A part of a date is all of it: `202402` is any day of that February; `-20240131`,
  `20240101-` and `20240101-20240131` are ranges (for `eq`, `ne`, `in`, `not_in`). `eq`: the value lies within; `gt`: it
  begins after all of it; `lt`: it ends before it begins; `ge`: it does not begin before; `le`: it does not end after.
  Offsets from UTC count where both sides have one; else the written time counts.
- **AS**: as ages, `012M` is `001Y`.
- **PN**: as text without empty components (`Doe^John^^` is `Doe^John`); each component group counts, and the whole.
- **UI**: as text; a rule may say `CTImageStorage`. **AT**: `(0010,0020)`, `00100020` or `PatientID`.
- All else: as text without trailing padding. `ignore_case` takes letters that differ in case alone (Unicode simple case
  folding) for the same.
- Regular expressions are RE2: found anywhere in the value, in linear time.

## Table

The rule's value is the one shown. *same*: the tag holds it; *greater*: it holds a greater one, which does not contain it;
*several*: both; *nested*, *private*: the same in a sequence's item, or in a private element. `.` does not apply: the rule is
refused when it is saved, or the VR has one value only.

| operator | VR | value | {cases} |
|---|---|---|{lines}|
"""


def table() -> str:
    """The page."""
    words = "\n".join(
        f"- `{op.word}`: {op.reads}" + (f" (the contrary of `{op.negates}`)" if op.negates else "")
        for op in OPS.values()
    )
    page = HEAD.format(operators=words, cases=" | ".join(CASES), lines="|".join("---" for _ in CASES))
    shown = {True: "yes", False: "no", None: "."}
    for row in rows():
        cells = [shown[a] if a is b else f"{shown[a]}/{shown[b]}" for a, b in zip(row.python, row.sql, strict=True)]
        page += f"| {row.operator} | {row.vr} | `{row.value}` | {' | '.join(cells)} |\n"
    return page


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(table())
