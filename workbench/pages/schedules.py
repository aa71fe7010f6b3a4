"""Schedules: when rules are on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import altair as alt
import streamlit as st

from workbench import parts, signin
from workbench.client import Refused
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


def states(_: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    client = signin.client()
    return {item["name"]: client.next_on(item) for item in client.items("schedules")}


def live(outlook: Mapping[str, Any]) -> str:
    """Whether it is on, and when that changes, on the clock of its time zone."""
    on, then = outlook["on"], outlook["next_off" if outlook["on"] else "next_on"]
    again = f", on again {on_clock(outlook['next_on'])}" if on and outlook["next_on"] else ""
    until = (f"until {on_clock(then)}" if on else f"on {on_clock(then)}") if then else "for good" if on else "never again on"
    chip = parts.chip("on now" if on else "off now", "good" if on else "idle")
    return f'{chip}<div class="ax-small ax-quiet" style="margin-top:.25rem">{until}{again}</div>'


def on_clock(moment: str) -> str:
    """A moment in the time zone in which the API wrote it."""
    return datetime.fromisoformat(moment).strftime("%a %d %b %H:%M")


def picture(item: dict[str, Any]) -> None:
    """The days to come of what stands in the form, saved or not."""
    st.html('<h3 class="ax-head">The next two weeks</h3>')
    try:
        outlook = signin.client().next_on({**item, "name": item.get("name") or "new"}, days=14)
    except Refused:
        st.html('<span class="ax-quiet">This can be drawn when the fields above hold together.</span>')
        return
    st.html(live(outlook))
    st.altair_chart(week(outlook), width="stretch")
    jumps = [d for d in outlook["days"] if d["clock_jumps"]]
    for day in jumps:
        way = "forward" if day["clock_jumps"] > 0 else "back"
        st.caption(f"{day['date']}: the clock goes {way} by {abs(day['clock_jumps'])} minutes. What the clock shows counts.")


def week(outlook: Mapping[str, Any]) -> alt.LayerChart:
    """A row a day, midnight to midnight on the clock of the schedule's zone; now as a line on the first day."""
    labels = [label(day) for day in outlook["days"]]
    bars = [
        {"day": label(day), "start": hour(s["start"]), "end": hour(s["end"]), "from": s["start"], "to": s["end"]}
        for day in outlook["days"]
        for s in day["on"]
    ]
    rows = [{"day": name, "start": 0, "end": 24} for name in labels]
    at = datetime.fromisoformat(outlook["at"])
    now = [{"day": labels[0], "start": at.hour + at.minute / 60}]
    y = alt.Y("day:N", title=None, sort=labels, axis=alt.Axis(labelLimit=260, ticks=False, domain=False))
    axis = alt.Axis(values=[0, 6, 12, 18, 24], labelExpr="datum.value + ':00'", grid=True)
    x = alt.X("start:Q", title=None, scale=alt.Scale(domain=[0, 24]), axis=axis)
    return alt.layer(
        alt.Chart(alt.Data(values=rows))
        .mark_bar(color="#8a979b", opacity=0.12, height=14, cornerRadius=3)
        .encode(y=y, x=x, x2="end:Q"),
        alt.Chart(alt.Data(values=bars))
        .mark_bar(color="#2f7d74", height=14, cornerRadius=3)
        .encode(y=y, x=x, x2="end:Q", tooltip=[alt.Tooltip("day:N", title="Day"), "from:N", "to:N"]),
        alt.Chart(alt.Data(values=now)).mark_tick(color="#c58b2a", thickness=3, height=22).encode(y=y, x=x),
    ).properties(height=24 * len(labels) + 30)


def label(day: Mapping[str, Any]) -> str:
    marks = (" · exception" if day["exception"] else "") + (" · clock jumps" if day["clock_jumps"] else "")
    return f"{day['day'].capitalize()} {day['date'][5:]}{marks}"


def hour(clock: str) -> float:
    return int(clock[:2]) + int(clock[3:]) / 60


def line(item: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[str, str]:
    stretches = [
        f"{days(r.get('days', []))} {r.get('start', '00:00')} to {r.get('end', '24:00')}"
        for r in item.get("ranges", [])
    ]
    but = item.get("exceptions") or []
    words = "; ".join(stretches) or "always"
    words += f"; not on {len(but)} dates" if but else ""
    return f"{words} ({item.get('time_zone', 'UTC')})", live(state) if state else ""


show(
    Family(
        name="schedules",
        one="schedule",
        title="Schedules",
        under="When rules that name them are on. The time of receipt counts, so a backlog changes no decision.",
        nothing=("No schedule yet", "Rules without one are always on. Add one for office hours, nights or weekends."),
        states=states,
        line=line,
        picture=picture,
    )
)
