"""Dates and times (DA, TM, DT) as spans of time: "202402" is all of February 2024, "-20240131" all until then.

A span has a first and a last moment, each a text of digits (`YYYYMMDDHHMMSSFFFFFF`, or `HHMMSSFFFFFF`) whose order is the
order of time. What a value leaves out (PS3.5 6.2) is open: a partial value in an image spans all that it may mean, save
that one given to the second is that second. Offsets from UTC count where both sides have one; else the written time counts.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from engine.rules.sql import let, quote

__all__ = [
    "DATE", "DATE_TIME", "TIME", "Format", "Moments", "is_range", "parse", "read", "sql_quick", "sql_read", "sql_seen_from",
]  # fmt: skip

_DAY = r"([0-9]{4})(?:[.]?(0[1-9]|1[0-2])(?:[.]?(0[1-9]|[12][0-9]|3[01])"
_CLOCK = r"([01][0-9]|2[0-3])(?::?([0-5][0-9])(?::?([0-5][0-9]|60)(?:[.]([0-9]{1,6}))?)?)?"
_OFFSET = r"([+-](?:0[0-9]|1[0-4])[0-5][0-9])"


class Moments(NamedTuple):
    """A span of time. `offset` is in minutes east of UTC; None: not said."""

    first: str
    last: str
    offset: int | None = None

    def seen_from(self, offset: int | None) -> tuple[str, str]:
        """First and last as a clock with that offset shows them (unchanged where either side has none)."""
        if offset is None or self.offset is None or offset == self.offset:
            return self.first, self.last
        by = timedelta(minutes=offset - self.offset)
        return _shifted(self.first, by), _shifted(self.last, by)


class Format(NamedTuple):
    """How a VR writes moments: the pattern of one (groups: its parts, fraction, offset), and what fills the rest."""

    word: str
    example: str
    pattern: re.Pattern[str]
    earliest: str
    latest: str
    parts: int
    """Groups that are digits of fixed place; the next is the fraction, the one after it the offset."""
    has_offset: bool = False


DATE = Format("date", "20240131", re.compile(f"{_DAY})?)?"), "0000" "0101" + "0" * 12, "9999" "1231" "235959999999", 3)
TIME = Format("time", "143000", re.compile(_CLOCK), "0" * 12, "235959999999", 3)
DATE_TIME = Format(
    "date and time", "20240131143000", re.compile(f"{_DAY}(?:{_CLOCK})?)?)?{_OFFSET}?"), DATE.earliest, DATE.latest, 6, True
)


def _shifted(key: str, by: timedelta) -> str:
    if not key or key > "9999~":  # an open end of a range
        return key
    second = min(int(key[12:14]), 59)  # a leap second has no place on the clock of datetime
    day, clock = (int(key[:4]), int(key[4:6]), int(key[6:8])), (int(key[8:10]), int(key[10:12]), second, int(key[14:]))
    moment = datetime(*day, *clock, tzinfo=UTC) + by  # UTC stands for any clock here: only the difference counts
    return f"{moment.year:04d}{moment:%m%d%H%M%S%f}"


class _Written(NamedTuple):
    digits: str
    fraction: str
    offset: int | None


def _written(form: Format, text: str) -> _Written | None:
    match = form.pattern.fullmatch(text.strip(" "))
    if match is None:
        return None
    groups = match.groups("")
    offset = _minutes(groups[-1]) if form.has_offset and groups[-1] else None
    return _Written("".join(groups[: form.parts]), "".join(groups[form.parts : form.parts + 1]), offset)


def _minutes(offset: str) -> int:
    return (1 if offset[0] == "+" else -1) * (int(offset[1:3]) * 60 + int(offset[3:]))


def read(form: Format, value: object) -> Moments | None:
    """An element's value as a span; None when it is no date or time."""
    written = _written(form, str(value))
    if written is None:
        return None
    digits, fraction, offset = written
    if len(digits) == len(form.earliest) - 6:  # to the second
        exact = digits + fraction.ljust(6, "0")
        return Moments(exact, exact, offset)
    return Moments(digits + form.earliest[len(digits) :], digits + _rest(form, digits), offset)


def _rest(form: Format, digits: str) -> str:
    if len(digits) == 6 and form is not TIME:
        year = int(digits[:4]) or 4  # a year 0 would be a leap year; calendar begins with 1
        return f"{monthrange(year, int(digits[4:]))[1]:02d}{form.latest[8:]}"
    return form.latest[len(digits) :]


def parse(form: Format, text: str) -> Moments:
    """A rule's value: a moment, a partial one, or a range "A-B", "A-", "-B" (PS3.4 C.2.2.2.5). Raises ValueError."""
    text = text.strip(" ")
    whole = _of_rule(form, text)
    if whole is not None:
        return whole
    for at in (i for i, c in enumerate(text) if c == "-" and len(text) > 1):
        low = _of_rule(form, text[:at]) if at else Moments("", "")
        high = _of_rule(form, text[at + 1 :]) if at + 1 < len(text) else Moments("~", "~")
        if low is not None and high is not None:
            return _range(text, low, high)
    raise ValueError(f'"{text}" is not a {form.word}: write it like {form.example}, a part of it, or a range A-B, A-, -B')


def _range(text: str, low: Moments, high: Moments) -> Moments:
    if not low.first:
        return Moments("", high.last, high.offset)
    if high.last == "~":
        return Moments(low.first, "~", low.offset)
    if (low.offset is None) != (high.offset is None):
        raise ValueError(f'"{text}": give both ends of the range an offset from UTC, or neither')
    last = high.seen_from(low.offset)[1]
    if low.first > last:
        raise ValueError(f'the range "{text}" ends before it begins')
    return Moments(low.first, last, low.offset)


def is_range(form: Format, text: str) -> bool:
    """Whether a rule's value (one that `parse` takes) is a range."""
    return _written(form, text) is None


def _of_rule(form: Format, text: str) -> Moments | None:
    """A moment in a rule: given to the second, it means all of that second. Days must exist; offsets need a usual year."""
    moments, written = read(form, text), _written(form, text)
    if moments is None or written is None:
        return None
    if form is not TIME:
        year, month, day = int(moments.first[:4]), int(moments.first[4:6]), int(moments.first[6:8])
        if year == 0 or day > monthrange(year, month)[1]:
            raise ValueError(f'"{text}": there is no such day')
        if moments.offset is not None and not 1000 <= year <= 9998:
            raise ValueError(f'"{text}": with an offset from UTC the year must be 1000 to 9998')
    digits = moments.last[: len(form.earliest) - 6]
    if written.fraction:  # ".5" is all that begins so
        return moments._replace(last=(digits + written.fraction).ljust(len(form.earliest), "9"))
    return moments._replace(last=digits + "999999")


def sql_read(form: Format, v: str) -> tuple[str, str]:
    """SQL of a text for whether it is a moment, and for a struct of its first (a), last (b) and offset (o, or NULL)."""
    t = f"trim({v}, ' ')"
    valid = f"regexp_full_match({t}, {quote(form.pattern.pattern)})"
    # d: the digits of fixed place, f: the fraction, s: the offset as it is written; separators are taken off
    if form is TIME:
        bare = f"replace({t}, ':', '')"
        written = f"{{'d': split_part({bare}, '.', 1), 'f': split_part({bare}, '.', 2), 's': ''}}"
    else:
        shape = quote(r"^(\d{4})\.?(\d{0,2})\.?(\d{0,8})\.?(\d*)([+-]\d{4})?$")
        match = f"regexp_extract(replace({t}, ':', ''), {shape}, ['y', 'm', 'd', 'f', 's'])"
        written = let("m", match, "{'d': m.y || m.m || m.d, 'f': m.f, 's': m.s}")
    length = len(form.earliest)
    exact = f"WHEN length(w.d) = {length - 6} THEN {_sql_filled('w.d || w.f', length)}"
    first = f"CASE {exact} ELSE w.d || substr({quote(form.earliest)}, length(w.d) + 1) END"
    last = f"CASE {exact} {_sql_month(form)}ELSE w.d || substr({quote(form.latest)}, length(w.d) + 1) END"
    sign = "(CASE WHEN starts_with(w.s, '-') THEN -1 ELSE 1 END)"
    minutes = f"{sign} * (CAST(substr(w.s, 2, 2) AS INTEGER) * 60 + CAST(substr(w.s, 4, 2) AS INTEGER))"
    offset = f"CASE WHEN w.s <> '' THEN {minutes} END" if form.has_offset else "NULL"
    return valid, let("w", written, f"{{'a': {first}, 'b': {last}, 'o': {offset}}}")


def sql_quick(form: Format, v: str) -> list[tuple[str, str, str]]:
    """SQL of a text that is a moment: (when, first, last) for how nearly all are written, YYYYMMDD and HHMMSS.FFFFFF."""
    t = f"trim({v}, ' ')"
    if form is DATE:  # with eight characters there is no room for separators
        return [(f"length({t}) = 8", f"({t} || '{DATE.earliest[8:]}')", f"({t} || '{DATE.latest[8:]}')")]
    if form is TIME:
        exact = _sql_filled(f"replace({t}, '.', '')", len(TIME.earliest))
        return [(f"(length({t}) = 6 OR substr({t}, 7, 1) = '.')", exact, exact)]
    return []


def _sql_filled(text: str, length: int) -> str:
    """Cut or filled up with zeros: what history lets be asked has no `rpad`."""
    return f"left({text} || '{'0' * length}', {length})"


def _sql_month(form: Format) -> str:
    """The last moment of a month."""
    if form is TIME:
        return ""
    year, month = "CAST(substr(w.d, 1, 4) AS INTEGER)", "substr(w.d, 5, 2)"
    leap = f"({year} % 4 = 0 AND ({year} % 100 <> 0 OR {year} % 400 = 0))"
    days = (
        f"CASE WHEN {month} IN ('04', '06', '09', '11') THEN '30' WHEN {month} <> '02' THEN '31' "
        f"WHEN {leap} THEN '29' ELSE '28' END"
    )
    return f"WHEN length(w.d) = 6 THEN w.d || {days} || '{form.latest[8:]}' "


def sql_seen_from(bound: Moments, key: str, offset: str) -> str:
    """`bound.seen_from(offset)`'s `key` ("first" or "last") in SQL, for an offset that is SQL itself."""
    text = bound.first if key == "first" else bound.last
    if bound.offset is None or text in ("", "~"):
        return quote(text)
    second = min(int(text[12:14]), 59)
    stamp = f"{text[:4]}-{text[4:6]}-{text[6:8]} {text[8:10]}:{text[10:12]}:{second:02d}.{text[14:]}"
    moved = f"strftime(TIMESTAMP '{stamp}' + to_minutes({offset} - ({bound.offset})), '%Y%m%d%H%M%S%f')"
    return f"(CASE WHEN {offset} IS NULL OR {offset} = {bound.offset} THEN {quote(text)} ELSE {moved} END)"
