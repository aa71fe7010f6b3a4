"""Every operator on every VR, in every way that a tag can stand in a header: expected, and answered by both engines."""

from __future__ import annotations

from tests.rules.conformance import CASES, EXPECTED, FILE, SAMPLES, rows, table


def test_both_engines_answer_as_expected() -> None:
    found = rows()
    assert len(found) == len(EXPECTED) * len(SAMPLES)
    wrong = [
        f"{row.operator} {row.vr} {case}: expected {want}, Python {python}, SQL {sql}"
        for row in found
        for case, want, python, sql in zip(CASES, row.expected, row.python, row.sql, strict=True)
        if not want is python is sql
    ]
    assert wrong == []


def test_the_page_says_what_the_engines_answer() -> None:
    assert FILE.read_text() == table(), "run: python -m tests.rules.conformance"
