"""Schedules: when rules are on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.family import Family, show

WEEK = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def days(chosen: list[str]) -> str:
    """A week's days in short: "mon to fri", "sat, sun", "every day"."""
    places = sorted(WEEK.index(d) for d in chosen if d in WEEK)
    if not places or len(places) == 7:
        return "every day"
    if len(places) > 2 and places[-1] - places[0] == len(places) - 1:
        return f"{WEEK[places[0]]} to {WEEK[places[-1]]}"
    return ", ".join(WEEK[p] for p in places)


def line(item: Mapping[str, Any], _: Mapping[str, Any]) -> tuple[str, str]:
    stretches = [
        f"{days(r.get('days', []))} {r.get('start', '00:00')} to {r.get('end', '24:00')}"
        for r in item.get("ranges", [])
    ]
    but = item.get("exceptions") or []
    words = "; ".join(stretches) or "always"
    words += f"; not on {len(but)} dates" if but else ""
    return f"{words} ({item.get('time_zone', 'UTC')})", ""


show(
    Family(
        name="schedules",
        one="schedule",
        title="Schedules",
        under="When rules that name them are on. The time of receipt counts, so a backlog changes no decision.",
        nothing=("No schedule yet", "Rules without one are always on. Add one for office hours, nights or weekends."),
        states=lambda _: {},
        line=line,
    )
)
