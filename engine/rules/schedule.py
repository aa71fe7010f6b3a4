"""Schedules: when a rule is on. Judged at the time of receipt, on the clock of the schedule's own time zone.

The clock on the wall is what counts: a range from 01:00 to 03:00 is on while a clock there shows such a time, also when the
hour is skipped in spring (then the range is shorter) or shown twice in autumn (then it is on both times).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from engine.component import ConfigModel, Date, Name

__all__ = ["DAYS", "Range", "Schedule", "offset_changes"]

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FULL_DAY = 24 * 60
_CLOCK = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])")


def _clock(value: Any) -> Any:
    """A time as "HH:MM". YAML 1.1 reads an unquoted 18:00 as the number 1080 (minutes): that is undone."""
    if isinstance(value, time):
        return f"{value:%H:%M}"
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _FULL_DAY:
        return f"{value // 60:02d}:{value % 60:02d}"
    match = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or (match[1] == "24" and match[2] != "00"):
        raise ValueError("write a time as HH:MM, from 00:00 to 24:00")
    return f"{int(match[1]):02d}:{match[2]}"


_AS_NUMBER = {"type": "integer", "minimum": 0, "maximum": _FULL_DAY, "description": "Minutes, as YAML 1.1 reads 18:30."}
_SCHEMA = WithJsonSchema({"anyOf": [{"type": "string"}, _AS_NUMBER]})
Clock = Annotated[str, BeforeValidator(_clock), _SCHEMA, Field(examples=["07:00"])]


def _minutes(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])


def _known_zone(name: str) -> str:
    if name not in _zones():
        near = [zone for zone in sorted(_zones()) if zone.rpartition("/")[2].lower() == name.rpartition("/")[2].lower()]
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"there is no time zone {name}{hint}: IANA names are meant, such as Europe/Berlin or UTC")
    return name


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _once(days: list[Day]) -> list[Day]:
    return sorted(set(days), key=DAYS.index)


class Range(ConfigModel):
    """A stretch of the day on some days of the week."""

    days: Annotated[list[Day], AfterValidator(_once)] = Field(default=[*DAYS], min_length=1, examples=[["mon", "fri"]])
    """Days on which it begins."""
    start: Clock = "00:00"
    """When it begins."""
    end: Clock = "24:00"
    """When it ends, not included. Before or at `start`: it ends on the next day."""

    @property
    def minutes(self) -> tuple[int, int]:
        """Start and end in minutes from the beginning of its day; the end of an overnight one lies beyond 24 hours."""
        start, end = _minutes(self.start), _minutes(self.end)
        return start, end if end > start else end + _FULL_DAY


class Schedule(ConfigModel):
    """When rules that name it are on."""

    name: Name
    time_zone: Annotated[str, AfterValidator(_known_zone)] = Field(default="UTC", examples=["Europe/Berlin"])
    """IANA name of the time zone whose clock counts."""
    ranges: list[Range] = Field(default=[], max_length=100, examples=[[{"days": ["mon"], "start": "07:00", "end": "18:00"}]])
    """It is on in any of these; without any, always."""
    exceptions: list[Date] = Field(default=[], max_length=10_000, examples=[["2026-12-25"]])
    """Dates on which no range begins: holidays."""
    description: str = ""

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    def active(self, at: datetime) -> bool:
        """Whether it is on at a moment. `at` must know its time zone."""
        return self.on_wall(_aware(at).astimezone(self.zone))

    def off_at(self, moment: datetime) -> str:
        """"" while it is on, else the moment in words as the clocks of its zone show it."""
        if self.active(moment):
            return ""
        return f"{moment.astimezone(self.zone):%a %Y-%m-%d %H:%M} {self.time_zone}"

    def on_wall(self, wall: datetime) -> bool:
        """Whether it is on when the clock of its zone shows this."""
        minute = wall.hour * 60 + wall.minute
        today = wall.date()
        return self._on(today, minute) or self._on(today - timedelta(days=1), minute + _FULL_DAY)

    def _on(self, day: date, minute: int) -> bool:
        """Whether a range that began on `day` is on so many minutes after that day began."""
        if day in self.exceptions:
            return False
        if not self.ranges:
            return minute < _FULL_DAY
        name = DAYS[day.weekday()]
        return any(name in r.days and r.minutes[0] <= minute < r.minutes[1] for r in self.ranges)

    def next_on(self, at: datetime) -> datetime | None:
        """The first moment from `at` on at which it is on (`at` itself if it is on), in its time zone; None: never again."""
        at = _aware(at).astimezone(UTC)
        if self.active(at):
            return at.astimezone(self.zone)
        found = min((moment for moment in self._beginnings(at) if moment >= at and self.active(moment)), default=None)
        return None if found is None else found.astimezone(self.zone)

    def next_off(self, at: datetime) -> datetime | None:
        """The first moment from `at` on at which it is off (`at` itself if it is off), in its time zone; None: never again."""
        at = _aware(at).astimezone(UTC)
        if not self.active(at):
            return at.astimezone(self.zone)
        first = at.astimezone(self.zone).date()
        last = max([first + timedelta(days=15), *(day + timedelta(days=2) for day in self.exceptions)])
        for n in range((last - first).days + 1):
            for moment in self._edges(first + timedelta(days=n)):
                if moment > at and not self.active(moment):
                    return moment.astimezone(self.zone)
        return None

    def walls(self) -> list[int]:
        """The minutes of a day at which a range may begin or end, in order; midnight is the first."""
        return sorted({0} | {minute % _FULL_DAY for r in self.ranges for minute in r.minutes})

    def _edges(self, day: date) -> list[datetime]:
        """The moments of a day at which it may come on or go off, where the clock jumps too, in order."""
        walls = [datetime.combine(day, time(minute // 60, minute % 60)) for minute in self.walls()]
        moments = {wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for wall in walls for fold in (0, 1)}
        jumps = (moment for moment, _ in offset_changes(self.time_zone)[1:])
        return sorted(moments.union(m for m in jumps if m.astimezone(self.zone).date() == day))

    def _beginnings(self, at: datetime) -> Iterator[datetime]:
        """Every moment soon after `at` at which it may come on: where ranges begin, and where the clock jumps."""
        first = at.astimezone(self.zone).date() - timedelta(days=1)
        days = 16 + len(self.exceptions) * 7  # a week without an exception is found within so many
        starts = sorted({r.minutes[0] for r in self.ranges} | {0})
        usable = 0
        for n in range(days):
            day = first + timedelta(days=n)
            for start in starts:
                wall = datetime.combine(day, time(start // 60 % 24, start % 60)) + timedelta(days=start // _FULL_DAY)
                for fold in (0, 1):
                    yield wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC)
            if n > 1 and day not in self.exceptions:
                usable += 1
                if usable > 15:
                    break
        last = at + timedelta(days=days)
        yield from (moment for moment, _ in offset_changes(self.time_zone) if at <= moment <= last)


def _aware(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError("the moment must know its time zone")
    return at


FIRST_YEAR, LAST_YEAR = 2000, 2060
"""Receptions lie between them; the offsets from UTC of these years are written into SQL."""


@lru_cache(maxsize=64)
def offset_changes(time_zone: str) -> tuple[tuple[datetime, timedelta], ...]:
    """When a zone's offset from UTC changes and to what, oldest first; the first entry is what holds before all others."""
    zone = ZoneInfo(time_zone)

    def offset(moment: datetime) -> timedelta:
        found = moment.astimezone(zone).utcoffset()
        assert found is not None
        return found

    low = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
    out = [(low, offset(low))]
    end = datetime(LAST_YEAR, 1, 1, tzinfo=UTC)
    while low < end:
        high = low + timedelta(days=7)
        if offset(high) != out[-1][1]:
            before, after = low, high
            while after - before > timedelta(seconds=1):
                middle = before + (after - before) // 2
                middle = middle.replace(microsecond=0)
                before, after = (middle, after) if offset(middle) == out[-1][1] else (before, middle)
            out.append((after, offset(after)))
            low = after
        else:
            low = high
    return tuple(out)
