"""What comes of a schedule: whether it is on, when that changes, and its next days as a clock on the wall shows them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

from engine.rules.schedule import DAYS, Schedule

__all__ = ["outlook"]


def outlook(schedule: Schedule, at: datetime, days: int = 7) -> dict[str, Any]:
    """`on` now; `next_on` and `next_off`: when it next comes on or goes off (None: never again); and so many `days` from
    the one of `at` on, each with the stretches (`on`) in which it is on. Moments are in the schedule's time zone.

    `at` must know its time zone (ValueError).
    """
    on = schedule.active(at)
    next_off = schedule.next_off(at) if on else None
    next_on = schedule.next_on(at if not on else next_off) if not on or next_off is not None else None  # type: ignore[arg-type]
    if not on and next_on is not None:
        next_off = schedule.next_off(next_on)
    local = at.astimezone(schedule.zone)
    return {
        "schedule": schedule.name,
        "time_zone": schedule.time_zone,
        "at": local.isoformat(),
        "on": on,
        "next_on": None if next_on is None else next_on.isoformat(),
        "next_off": None if next_off is None else next_off.isoformat(),
        "days": [_day(schedule, local.date() + timedelta(days=n)) for n in range(days)],
    }


def _day(schedule: Schedule, day: date) -> dict[str, Any]:
    return {
        "date": day.isoformat(),
        "day": DAYS[day.weekday()],
        "exception": day in schedule.exceptions,
        "clock_jumps": _jump(schedule, day),
        "on": _stretches(schedule, day),
    }


def _stretches(schedule: Schedule, day: date) -> list[dict[str, str]]:
    """When the clock shows that it is on: `{"start": "07:00", "end": "18:00"}`."""
    out: list[list[int]] = []
    edges = [*schedule.walls(), 1440]
    for start, end in pairwise(edges):
        if not schedule.on_wall(datetime.combine(day, time(start // 60, start % 60))):
            continue
        if out and out[-1][1] == start:
            out[-1][1] = end
        else:
            out.append([start, end])
    return [{"start": _clock(start), "end": _clock(end)} for start, end in out]


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _jump(schedule: Schedule, day: date) -> int:
    """The minutes by which the clock is put forward (or, below zero, back) on a day."""
    offsets = [
        datetime.combine(d, time(), tzinfo=schedule.zone).astimezone(UTC).replace(tzinfo=None) - datetime.combine(d, time())
        for d in (day, day + timedelta(days=1))
    ]
    return round((offsets[0] - offsets[1]).total_seconds() / 60)
