"""Deliveries that are not finished: waiting for their next attempt, being sent, or given up."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import streamlit as st

from workbench import boxes, parts, signin

VIEWS = {
    "dead": (
        "Given up",
        "Nothing was given up",
        "Deliveries that a destination refused for good, or too often, would stand here.",
    ),
    "waiting": (
        "Waiting",
        "Nothing waits",
        "What a destination could not take would stand here until its next attempt.",
    ),
    "sending": ("Sending", "Nothing is being sent just now", "Deliveries under way are shown here."),
    "gathering": (
        "Gathering",
        "Nothing is being gathered",
        "With a rule that gathers series or studies, those that still wait for the rest of their images stand here.",
    ),
}


def when(d: Mapping[str, Any]) -> str:
    if d["state"] == "sending":
        return "now"
    if d.get("paused"):
        return "paused"
    return parts.ago(d.get("next_attempt_at")) if d["state"] == "waiting" else ""


def said(d: Mapping[str, Any]) -> str:
    code, words = str(d.get("last_code") or ""), str(d.get("last_words") or "")
    return words if not code or words.startswith(code) else f"{code} {words}"


def refused(d: Mapping[str, Any]) -> str:
    """Why images of it were given up: the refusals' own words, which a later attempt with the others may have outlived."""
    words = list(dict.fromkeys(said_refusal(r) for r in d.get("refusals") or ()))
    return f"{words[0]}{f' (and {len(words) - 1} more answers)' if words[1:] else ''}" if words else said(d)


COLUMNS = {
    "Destination": lambda d: d["destination"],
    "Rule": lambda d: d["branch"],
    "Images": lambda d: d["instances"],
    "Confirmed": lambda d: 100 * d["confirmed"] / (d["instances"] or 1),
    "Attempts": lambda d: d["attempt"],
    "Next": when,
    "What the peer said": said,
    "Since": lambda d: parts.ago(d["created_at"]),
}


GATHERED = {
    "Destination": lambda g: g["destination"],
    "Rule": lambda g: g["branch"],
    "Of": lambda g: g["level"],
    "UID": lambda g: g["uid"],
    "Images": lambda g: f"{g['instances']:,} of {g['expected']:,}" if g["expected"] else f"{g['instances']:,}",
    "Batches": lambda g: g["batches"],
    "Since": lambda g: parts.ago(g["opened_at"]),
    "Goes": lambda g: parts.ago(g["ends_at"]),
    "Late": lambda g: "late: the rest went before" if g["late"] else "",
}


def gathering(rows: list[dict[str, Any]]) -> None:
    chosen = boxes.choose(rows, GATHERED, "deliveries-gathering", UID=st.column_config.TextColumn(width="medium"))
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Send now", type="primary", disabled=not chosen, icon=":material/send:"):
            boxes.act("/gatherings/send-now", chosen, "will be sent now")
        st.caption("What comes later is sent too, marked late." if chosen else "Tick one or many to send them now.")


def buttons(view: str, chosen: list[dict[str, Any]]) -> None:
    n = parts.plural(len(chosen), "delivery", "deliveries")
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            "Send again now", type="primary", disabled=not chosen or view == "sending", icon=":material/refresh:"
        ):
            boxes.act("/deliveries/retry", chosen, "will be sent again")
        question = f"Give up {n}? What was not confirmed will not be sent; the images stay for the spool's retention."
        boxes.discard_button("/deliveries/discard", chosen, question, f"discard-{view}")
        st.caption(f"{n} chosen" if chosen else "Tick one or many, then choose what to do.")


def details(chosen: list[dict[str, Any]]) -> None:
    for d in chosen[:5]:
        refusals = [
            (f'<span class="ax-mono">{escape(str(r.get("sop_instance_uid", "")))}</span>', escape(said_refusal(r)))
            for r in d.get("refusals") or ()
        ]
        about = {
            "Destination": d["destination"], "Rule": d["branch"], "Batch": d["batch"], "Decided": parts.clock(d["created_at"]),
            "Confirmed": f"{d['confirmed']:,} of {d['instances']:,}", "Left": f"{d['remaining']:,}", "Attempts": d["attempt"],
        }  # fmt: skip
        with st.container(border=True):
            st.html(parts.facts(about) + (f'<p style="margin:.9rem 0 .3rem">{escape(said(d))}</p>' if said(d) else ""))
            if refusals:
                st.html(parts.table(("Image", "The peer's words"), refusals))


def said_refusal(r: Mapping[str, Any]) -> str:
    return said({"last_code": r.get("code"), "last_words": r.get("words")})


def page() -> None:
    parts.title(
        "Deliveries",
        "Finished ones are in History. Sending again starts where it stopped: what was confirmed is not sent twice.",
    )
    client = signin.client()
    rows = boxes.rows_of(client.get("/deliveries", limit=2000), "deliveries")
    views = {v: [d for d in rows if d["state"] == v or (v == "dead" and d.get("refused"))] for v in VIEWS}
    views["gathering"] = boxes.rows_of(client.get("/gatherings", limit=2000), "gatherings")
    wanted = st.query_params.pop("view", None) if "view" in st.query_params else None
    first = wanted if wanted in VIEWS else next((v for v in VIEWS if views[v]), "waiting")
    st.session_state.setdefault("deliveries-view", first)
    if wanted in VIEWS:
        st.session_state["deliveries-view"] = wanted
    left, right = st.columns([5, 1], vertical_alignment="center")
    view = left.segmented_control(
        "View", list(VIEWS), required=True, key="deliveries-view", label_visibility="collapsed",
        format_func=lambda v: f"{VIEWS[v][0]}  {len(views[v]):,}",
    )  # fmt: skip
    with right.container(horizontal=True, horizontal_alignment="right"):
        st.button("Look again", icon=":material/sync:", type="tertiary")
    if not views[view]:
        parts.empty(*VIEWS[view][1:])
        return
    if view == "gathering":
        gathering(views[view])
        return
    config = {
        "Confirmed": st.column_config.ProgressColumn(format="%d %%", min_value=0, max_value=100),
        "What the peer said": st.column_config.TextColumn(width="large"),
    }
    columns = COLUMNS | ({"What the peer said": refused} if view == "dead" else {})
    chosen = boxes.choose(views[view], columns, f"deliveries-{view}", **config)
    buttons(view, chosen)
    details(chosen)


page()
