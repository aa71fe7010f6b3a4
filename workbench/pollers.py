"""Below the sources: those that are asked. What could not be fetched, with its button; back-fills, with how far they are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from html import escape
from typing import Any
from urllib.parse import quote

import streamlit as st

from workbench import parts, signin
from workbench.client import Refused

__all__ = ["line", "show"]

CHIPS = {"asking": "good", "fetching": "good", "waiting": "good", "on-demand": "idle", "off-peak": "idle", "away": "bad"}
STATES = {"running": "good", "paused": "idle", "done": "good", "cancelled": "idle"}


def line(state: Mapping[str, Any]) -> str:
    """A poller's live state, as HTML."""
    chips = [parts.chip(state["state"], CHIPS.get(state["state"], "idle"))]
    if state["waiting"] - state["retrying"]:
        chips.append(parts.chip(f"{state['waiting'] - state['retrying']:,} to fetch", "wait"))
    if state["retrying"]:
        chips.append(parts.chip(f"{state['retrying']:,} tried again", "wait"))
    if state["failed"]:
        chips.append(parts.chip(f"{state['failed']:,} not fetched", "bad"))
    return f'{"".join(chips)}<div class="ax-small ax-quiet" style="margin-top:.25rem">{escape(_words(state))}</div>'


def _words(state: Mapping[str, Any]) -> str:
    if state["error"]:
        return str(state["error"])
    words = [f"{state['fetched']:,} fetched"]
    if state.get("unmatched"):
        words.append(f"{state['unmatched']:,} that no rule wants left there")
    if state["state"] == "asking":
        words.append(f"{state['asking']:,} found so far")
    elif state["state"] == "fetching":
        words += [_running(one) for one in state["fetching"][:1]]
    elif state["next_at"]:
        words.append(f"asked again at {parts.clock(state['next_at'])}")
    if state["asked_at"]:
        words.append(f"last answer {parts.ago(state['asked_at'])}: {state['found']:,} found, {state['queued']:,} new")
    return " · ".join(words)


def _running(one: Mapping[str, Any]) -> str:
    of = f" of {one['expected']:,}" if one.get("expected") else ""
    return f"{one['received']:,}{of} images of a study are here"


def show() -> None:
    """The part of the page below the list; nothing while no source can be asked."""
    with parts.calm():
        pollers = [p for p in signin.client().get("/status").get("pollers", []) if p["enabled"]]
        if not pollers:
            return
        st.subheader("Back-fill", anchor=False)
        _ask_for_one([p["name"] for p in pollers])
        _listing()
        _troubles([p["name"] for p in pollers])


def _ask_for_one(sources: list[str]) -> None:
    today = date.today()  # noqa: DTZ011  (the person's own day)
    with st.form("backfill", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        source = st.selectbox("Source", sources)
        first = st.date_input("From", today - timedelta(days=7), min_value=date(1900, 1, 1))
        last = st.date_input("To", today, min_value=date(1900, 1, 1))
        again = st.checkbox("Again what was fetched before")
        if st.form_submit_button("Fetch these days", icon=":material/download:"):
            body = {"source": source, "from": str(first), "to": str(last), "again": again}
            _do("/backfills", body, f"{source}: fetching begins.")


@parts.live(3)
def _listing() -> None:
    for one in signin.client().get("/backfills", limit=20):
        with st.container(border=True):
            name, state, buttons = st.columns([4, 4, 2], vertical_alignment="center")
            days = f"{one['first_day']} to {one['last_day']}"
            name.html(f'<span class="ax-title">{escape(one["source"])}</span><br>'
                      f'<span class="ax-quiet ax-small">{days}, by {escape(one["created_by"])}</span>')  # fmt: skip
            with state:
                st.progress(one["progress"], text=parts.md(_progress(one)))
            with buttons.container(horizontal=True, horizontal_alignment="right"):
                _buttons(one)


def _progress(one: Mapping[str, Any]) -> str:
    words = [one["state"], f"{one['found']:,} found", f"{one['fetched']:,} fetched"]
    words += [f"{one['already']:,} fetched before"] if one["already"] else []
    words += [f"{one['failed']:,} not fetched"] if one["failed"] else []
    return " · ".join(words) + (f": {one['error']}" if one["error"] else "")


def _buttons(one: Mapping[str, Any]) -> None:
    if one["state"] not in ("running", "paused"):
        return
    action = "pause" if one["state"] == "running" else "resume"
    if st.button(action.capitalize(), key=f"{action}-{one['id']}", type="tertiary"):
        _do(f"/backfills/{one['id']}/{action}", {}, f"The back-fill is {action}d.")
    if parts.confirm("Cancel…", "What was fetched stays; the rest is let go.", f"cancel-{one['id']}", "Cancel it"):
        _do(f"/backfills/{one['id']}/cancel", {}, "The back-fill is cancelled.")


@parts.live(5)
def _troubles(sources: list[str]) -> None:
    client = signin.client()
    for source in sources:
        rows = client.get(f"/pollers/{quote(source, safe='')}/troubles", limit=200)
        if not rows:
            continue
        head, button = st.columns([8, 2], vertical_alignment="bottom")
        head.subheader(f"Not fetched from {source}", anchor=False)
        with button.container(horizontal=True, horizontal_alignment="right"):
            if st.button("Try all again", key=f"retry-{source}"):
                _do(f"/pollers/{quote(source, safe='')}/retry", {"studies": []}, "They are tried again.")
        st.dataframe([_trouble(row) for row in rows], hide_index=True, width="stretch", key=f"troubles-{source}")


def _trouble(row: Mapping[str, Any]) -> dict[str, Any]:
    def value(tag: str) -> str:
        return str(next(iter(row["attributes"].get(tag, {}).get("Value", [])), ""))

    return {
        "Study": row["study_instance_uid"], "Patient": value("00100020"), "Date": value("00080020"),
        "State": row["state"], "Attempts": row["attempts"], "Next": parts.clock(row["next_at"]), "Why": row["words"],
    }  # fmt: skip


def _do(path: str, body: Mapping[str, Any], done: str) -> None:
    try:
        signin.client().post(path, body)
    except Refused as e:
        parts.say(e)
        return
    st.toast(done, icon=":material/check:")
    st.rerun()
