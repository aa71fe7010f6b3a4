"""Revisions that become live at a time: what is to come, what became of the others, and a new plan."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from workbench import parts, signin
from workbench.client import Refused

__all__ = ["coming", "plan"]


def zone() -> tuple[str, ZoneInfo]:
    """The time zone of the person's browser: what they type is meant in it."""
    name = str(st.context.timezone or "UTC")
    try:
        return name, ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return "UTC", ZoneInfo("UTC")


def told(at: Any) -> str:
    """A moment as the person's clock shows it, with the day of the week."""
    found = parts.moment(at)
    return found.astimezone(zone()[1]).strftime("%a %Y-%m-%d %H:%M") if found else ""


def coming() -> None:
    """The plans: those to come with a way to cancel, and what became of the others. Nothing where nobody planned anything."""
    plans = signin.client().get("/activations", limit=50)
    waiting = sorted((p for p in plans if p["ended_at"] is None), key=lambda p: (p["at"], p["id"]))
    over = [p for p in plans if p["ended_at"] is not None]
    if waiting:
        st.html(f'<h3 class="ax-head">Planned <span class="ax-quiet ax-small">{escape(zone()[0])} time</span></h3>')
    for one in waiting:
        words, button = st.columns([7, 1], vertical_alignment="center")
        words.html(_line(one, f"{told(one['at'])}, {parts.ago(one['at'])}", parts.chip("to come", "wait")))
        with button:
            question = f"Cancel this plan? Revision **{one['revision']}** will not become live by itself."
            if parts.confirm("Cancel", question, f"cancel-{one['id']}", "Cancel the plan"):
                signin.client().request("DELETE", f"/activations/{one['id']}")
                st.toast("The plan is cancelled.", icon=":material/check:")
                st.rerun()
    if over:
        with st.expander(f"What became of {parts.plural(len(over), 'earlier plan')}"):
            parts.rows([_line(one, str(one["outcome"])) for one in over])


def _line(one: Mapping[str, Any], then: str, chip: str = "") -> str:
    left = f'<b>Revision {one["revision"]}</b> <span class="ax-small">{escape(then)}</span>'
    whose = str(one["who"]) if one["ended_at"] is None else f"{one['who']}, for {told(one['at'])}"
    under = ": ".join(filter(None, (whose, str(one["reason"]))))
    return parts.row(f'{left}<br><span class="ax-quiet ax-small">{escape(under)}</span>', "", chip)


def plan(revision: int) -> None:
    """The button that asks when a revision shall become live."""
    name, here = zone()
    soon = (datetime.now(UTC).astimezone(here) + timedelta(hours=1)).replace(minute=0, second=0, microsecond=0, tzinfo=None)
    with st.popover("Make it live later", icon=":material/schedule:"), st.form(f"plan-{revision}", border=False):
        at = st.datetime_input(f"When ({name} time)", soon, key=f"plan-at-{revision}", format="YYYY-MM-DD", required=True)
        reason = st.text_input("Why", max_chars=500)
        st.caption(f"The whole configuration is then as in revision {revision}, whatever was saved in between.")
        if not st.form_submit_button("Plan it", type="primary") or at is None:
            return
        body = {"revision": revision, "at": at.replace(tzinfo=here).isoformat(), "reason": reason}
        try:
            signin.client().post("/activations", body)
        except Refused as e:
            parts.say(e)
            return
    st.toast(f"Revision {revision} becomes live on {told(body['at'])}.", icon=":material/check:")
    st.rerun()
