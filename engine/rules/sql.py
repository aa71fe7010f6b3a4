"""The few words of DuckDB SQL that the rules are compiled with. Values enter by `quote` alone, never by pasting."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["any_of", "let", "quote", "quote_list", "test_any"]


def quote(text: str) -> str:
    """A text as a SQL literal. DuckDB knows no backslash escapes in '...', so that the quote is all there is to double.

    Raises ValueError for NUL, which no DICOM text holds and which ends a statement.
    """
    if "\0" in text:
        raise ValueError("a text must not hold the character NUL")
    return "'" + text.replace("'", "''") + "'"


def quote_list(texts: Iterable[str]) -> str:
    """Texts as a SQL list of literals."""
    return "[" + ", ".join(map(quote, texts)) + "]::VARCHAR[]"


def let(name: str, value: str, body: str) -> str:
    """`body` with `name` standing for `value`, which is computed once."""
    return f"list_transform([{value}], lambda {name}: {body})[1]"


def test_any(values: str, name: str, test: str) -> str:
    """Whether `test` (in which `name` is one value) holds for any of a list."""
    return f"len(list_filter({values}, lambda {name}: {test})) > 0"


def any_of(tests: Iterable[str]) -> str:
    """OR of tests, one false when there are none."""
    parts = list(dict.fromkeys(tests))
    if not parts:
        return "false"
    return parts[0] if len(parts) == 1 else "(" + " OR ".join(parts) + ")"
