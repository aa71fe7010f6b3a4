"""How values compare, by their VR: what an element's value and a rule's value mean, in Python and in SQL.

A value is a span (first, last): the same thing twice for texts and numbers, a stretch of time for dates. The operators
of `ops` compare spans and know no VR; a new kind of comparison is a new row of `KINDS`.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

from engine.dicom.dictionary import tag_of
from engine.dicom.paths import TagPath
from engine.rules import moments, numbers
from engine.rules.moments import DATE, DATE_TIME, TIME, Format, Moments
from engine.rules.sql import any_of, let, quote

__all__ = ["KINDS", "OPAQUE", "Bound", "Kind", "Reading", "kind_of", "kinds_of", "sql_compared"]

Span = tuple[Any, Any]
MOST_QUICK = 4
"""A rule's values up to which each is compared in a cheaper way first: it makes the SQL longer."""
Bound = Callable[[Any], Span]
"""A rule's value: the span it has for an element's value (which matters for offsets from UTC alone)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """An element's value in SQL: whether it means anything, and its span."""

    valid: str
    first: str
    last: str
    offset: str = "NULL"
    struct: str = ""
    """What must be computed first, once: `first`, `last` and `offset` are then fields of `r`."""


class Quick(NamedTuple):
    """A reading of a valid value in SQL that will do where `when` is true, and what it is compared with (first, last)."""

    when: str
    reading: Reading
    bound: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to compare."""

    word: str
    """What such a value is called in messages."""
    vrs: tuple[str, ...]
    parse: Callable[[str], Any]
    """A rule's value, raises ValueError in words."""
    read: Callable[[Any], Span | None]
    """An element's value; None: it means nothing, and is equal to nothing."""
    sql_read: Callable[[str], Reading]
    sql_bound: Callable[[Any, str], tuple[str, str]]
    """What `parse` gave, as SQL (first, last); the second argument is the offset of `Reading`."""
    bound: Callable[[Any], Bound]
    """What `parse` gave, for comparing."""
    ordered: bool = True
    """Whether before and after mean anything."""
    text: bool = True
    """Whether values have a written form that `contains`, `startswith`, `regex` can look at."""
    parts: bool = False
    """Whether a value counts as its component groups too (PN)."""
    blank: bool = False
    """Whether the empty text is a value: one that is neither before nor after another."""
    is_range: Callable[[str], bool] = lambda text: False
    sql_quick: Callable[[str, Any], list[Quick]] = lambda v, parsed: []
    """Cheaper readings of a value `v` for what `parse` gave, each with when it will do. The first of them is taken, and
    `sql_read` only where none will do: it is right always, and costs ten times as much."""


def _same(parsed: Any) -> Bound:
    span = (parsed, parsed)
    return lambda value: span


def _texts(
    word: str, vrs: tuple[str, ...], parse: Callable[[str], str], read: Callable[[str], str], sql: str, **more: Any
) -> Kind:
    """A kind that compares one text each: `read` and `sql` (of `{v}`) make it of an element's value."""

    def reading(v: str) -> Reading:
        return Reading("true", sql.format(v=v), sql.format(v=v))

    def span(value: Any) -> Span:
        text = read(value if isinstance(value, str) else str(value))
        return text, text

    return Kind(word, vrs, parse, span, reading, lambda parsed, _: (quote(parsed), quote(parsed)), _same, blank=True, **more)


def _name(text: str) -> str:
    """A person's name without the delimiters that say nothing (PS3.5 6.2.1): "Doe^John^^^=" is "Doe^John"."""
    if "=" not in text:
        return text.rstrip("^ ")
    return "=".join(group.rstrip("^ ") for group in text.split("=")).rstrip("=")


_NAME_SQL = (
    "(CASE WHEN contains({v}, '=') THEN rtrim(array_to_string(list_transform(string_split({v}, '='), "
    "lambda g: rtrim(g, '^ ')), '='), '=') ELSE rtrim({v}, '^ ') END)"
)
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")


def _uid(text: str) -> str:
    """A UID, or the standard's keyword or name of one ("CTImageStorage", "CT Image Storage")."""
    text = text.strip(" ")
    if text == "" or (_UID.fullmatch(text) and len(text) <= 64):
        return text
    from pydicom.uid import UID_dictionary

    for uid, entry in UID_dictionary.items():
        if text in (entry[0], entry[4]):
            return str(uid)
    raise ValueError(f'"{text}" is not a UID, nor the keyword of one: write it like 1.2.840.10008.5.1.4.1.1.2 or CTImageStorage')


def _tag(text: str) -> str:
    text = text.strip(" ")
    bare = text.strip("()").replace(",", "").replace(" ", "")
    if re.fullmatch(r"[0-9A-Fa-f]{8}", bare):
        return bare.upper()
    tag = tag_of(text)
    if tag is None:
        raise ValueError(f'"{text}" is not a tag: write it like (0010,0020), 00100020 or PatientID')
    return f"{tag:08X}"


def _number_kind() -> Kind:
    @lru_cache(maxsize=4096)  # images of a series say the same, and rules ask it again and again
    def read(value: Any) -> Span | None:
        number = numbers.read_number(value)
        return None if number is None else (number, number)

    def sql(parsed: Any, _: str) -> tuple[str, str]:
        key = quote(numbers.sort_key(parsed))
        return key, key

    def reading(v: str) -> Reading:
        return Reading(numbers.sql_is_number(v), "r.a", "r.a", struct=f"{{'a': {numbers.sql_sort_key(v)}}}")

    def quick(v: str, parsed: Any) -> list[Quick]:
        return [Quick(when, Reading("true", a, a), (b, b)) for when, a, b in numbers.sql_quick(v, parsed)]

    vrs = ("DS", "IS", "US", "SS", "UL", "SL", "UV", "SV")
    return Kind("number", vrs, numbers.parse_number, read, reading, sql, _same, sql_quick=quick)


def _float_kind(vr: str, code: str) -> Kind:
    """FL, FD: a rule's value is rounded as the VR rounds it, so that 0.1 is equal to the 0.1 that an FL holds."""

    def parse(text: str) -> float:
        number = numbers.parse_number(text)
        try:
            (rounded,) = struct.unpack(code, struct.pack(code, float(number)))
        except OverflowError:
            rounded = math.inf
        if math.isinf(rounded):
            raise ValueError(f'"{text}" is more than a value of VR {vr} can be')
        return float(rounded)

    def read(value: Any) -> Span | None:
        usable = isinstance(value, int | float) and math.isfinite(value)
        return (float(value), float(value)) if usable else None

    def reading(v: str) -> Reading:
        return Reading(f"{v} IS NOT NULL", "r.a", "r.a", struct=f"{{'a': TRY_CAST({v} AS DOUBLE)}}")

    def sql(parsed: Any, _: str) -> tuple[str, str]:
        literal = f"CAST({quote(repr(parsed))} AS DOUBLE)"
        return literal, literal

    return Kind("number", (vr,), parse, read, reading, sql, _same, text=False)


_DAYS = {"D": 48, "W": 336, "M": 1461, "Y": 17532}
"""Age units in 1/48 days: months and years are those of 365.25 days, in whole numbers."""
_AGE = r"[0-9]{3}[DWMY]"


def _age_kind() -> Kind:
    def age(text: str) -> int | None:
        text = text.strip(" ")
        return int(text[:3]) * _DAYS[text[3]] if re.fullmatch(_AGE, text) else None

    def parse(text: str) -> int:
        found = age(text)
        if found is None:
            raise ValueError(f'"{text}" is not an age: write it like 045Y, 009M, 002W or 010D (PS3.5 6.2)')
        return found

    def read(value: Any) -> Span | None:
        found = age(str(value))
        return None if found is None else (found, found)

    def reading(v: str) -> Reading:
        t = f"trim({v}, ' ')"
        factor = f"(CASE substr({t}, 4, 1) " + " ".join(f"WHEN '{u}' THEN {n}" for u, n in _DAYS.items()) + " END)"
        number = f"(TRY_CAST(substr({t}, 1, 3) AS INTEGER) * {factor})"
        return Reading(f"regexp_full_match({t}, {quote(_AGE)})", "r.a", "r.a", struct=f"{{'a': {number}}}")

    return Kind("age", ("AS",), parse, read, reading, lambda parsed, _: (str(parsed), str(parsed)), _same)


def _moment_kind(form: Format, vr: str) -> Kind:
    def bound(parsed: Moments) -> Bound:
        plain = (parsed.first, parsed.last)
        if parsed.offset is None:
            return lambda value: plain
        return lambda value: parsed.seen_from(seen.offset if (seen := moments.read(form, value)) else None)

    @lru_cache(maxsize=4096)
    def read(value: Any) -> Span | None:
        found = moments.read(form, value)
        return None if found is None else (found.first, found.last)

    def sql_bound(parsed: Moments, offset: str) -> tuple[str, str]:
        return moments.sql_seen_from(parsed, "first", offset), moments.sql_seen_from(parsed, "last", offset)

    def reading(v: str) -> Reading:
        valid, struct = moments.sql_read(form, v)
        return Reading(valid, "r.a", "r.b", "r.o", struct)

    def quick(v: str, parsed: Moments) -> list[Quick]:
        ends = (quote(parsed.first), quote(parsed.last))
        return [Quick(when, Reading("true", first, last), ends) for when, first, last in moments.sql_quick(form, v)]

    parse, is_range = partial(moments.parse, form), partial(moments.is_range, form)
    return Kind(form.word, (vr,), parse, read, reading, sql_bound, bound, is_range=is_range, sql_quick=quick)


def _stripped(text: str) -> str:
    return text.rstrip(" ")


def _as_is(text: str) -> str:
    return text


KINDS: tuple[Kind, ...] = (
    _texts("text", ("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"), _stripped, _as_is, "{v}"),
    _texts("person's name", ("PN",), _name, _name, _NAME_SQL, parts=True),
    _texts("UID", ("UI",), _uid, _as_is, "{v}", ordered=False),
    _texts("tag", ("AT",), _tag, str.upper, "upper({v})", ordered=False),
    _number_kind(),
    _float_kind("FL", "<f"),
    _float_kind("FD", "<d"),
    _moment_kind(DATE, "DA"),
    _moment_kind(TIME, "TM"),
    _moment_kind(DATE_TIME, "DT"),
    _age_kind(),
)
"""Every way to compare; together they name each VR that has values."""

OPAQUE = frozenset({"SQ", "UN", "OB", "OD", "OF", "OL", "OV", "OW"})
"""Sequences and bytes: only whether they are there can be asked."""

_BY_VR = {vr: kind for kind in KINDS for vr in kind.vrs}


def kind_of(vr: str) -> Kind | None:
    """How values of a VR compare; None for sequences, bytes and VRs that the standard does not know."""
    return _BY_VR.get(vr)


def kinds_of(path: TagPath) -> tuple[Kind, ...]:
    """The kinds that a path's values have by the dictionary ("US or SS" is one kind); () when nobody knows."""
    return tuple(dict.fromkeys(kind for vr in path.vr.split(" or ") if (kind := kind_of(vr)) is not None))


def text_forms(kind: Kind, value: Any) -> tuple[str, ...]:
    """The texts that a value counts as: itself; a name with several component groups, each of these too (PS3.5 6.2.1)."""
    text = value if isinstance(value, str) else str(value)
    if kind.parts and "=" in text:
        return (text, *(group for group in text.split("=") if group))
    return (text,)


def sql_text_forms(kind: Kind, values: str) -> str:
    """`text_forms` of each of a list of values, in one list."""
    if not kind.parts:
        return values
    groups = "list_filter(string_split(v, '='), lambda g: g <> '')"
    each = f"CASE WHEN contains(v, '=') THEN list_prepend(v, {groups}) ELSE [v] END"
    return f"flatten(list_transform({values}, lambda v: {each}))"


def sql_compared(kind: Kind, v: str, parsed: Sequence[Any], sql: Callable[[Reading, tuple[str, str]], str]) -> str:
    """Whether `sql`, an operator's, holds of a value and any of `parsed`; NULL when the value means nothing."""
    r = kind.sql_read(v)
    exact = [sql(r, kind.sql_bound(p, r.offset)) for p in parsed]
    if not r.struct:
        return any_of(exact)
    if len(parsed) > MOST_QUICK:
        return f"(CASE WHEN {r.valid} THEN {let('r', r.struct, any_of(exact))} END)"
    tests = []
    for one, p in zip(exact, parsed, strict=True):
        quick = " ".join(f"WHEN {q.when} THEN {sql(q.reading, q.bound)}" for q in kind.sql_quick(v, p))
        slow = let("r", r.struct, one)
        tests.append(f"(CASE {quick} ELSE {slow} END)" if quick else slow)
    return f"(CASE WHEN {r.valid} THEN {any_of(tests)} END)"
