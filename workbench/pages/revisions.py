"""Revisions: every saved state of the configuration, what it changed, and the way back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import streamlit as st

from workbench import boxes, parts, signin
from workbench.client import ApiError


def number(revision: Mapping[str, Any]) -> int:
    return int(revision.get("id", revision.get("revision", 0)))


def differences(revision: int) -> None:
    """What a revision changed against the one before it."""
    try:
        found = signin.client().get(f"/revisions/{revision}/diff")
    except ApiError as e:
        if e.status in (0, 401):
            raise
        parts.say(e)
        return
    rows = found if isinstance(found, list) else found.get("changes", found.get("diff", []))
    if isinstance(rows, str):
        st.code(rows, language="diff")
        return
    if not rows:
        st.caption("It changed nothing.")
        return
    lines = [(escape(place(r)), value(r.get("before"), "before"), value(r.get("after"), "after")) for r in rows]
    st.html(parts.table(("Where", "Before", "After"), lines))


def place(row: Mapping[str, Any]) -> str:
    where = (
        row.get("path") or row.get("loc") or " › ".join(str(row[k]) for k in ("family", "name", "field") if row.get(k))
    )
    return " › ".join(map(str, where)) if isinstance(where, list) else str(where).replace("/", " › ")


def value(given: Any, side: str) -> str:
    if given is None:
        return '<span class="ax-none">not there</span>'
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return f'<span class="ax-{side} ax-mono">{escape(text)}</span>'


def page() -> None:
    parts.title(
        "Revisions",
        "Every save is kept, with who, when and why. Going back is a save of its own: nothing is lost by it.",
    )
    client = signin.client()
    rows = boxes.rows_of(client.get("/revisions", limit=200), "revisions")
    if not rows:
        parts.empty("Nothing was saved yet", "The first saved change makes the first revision.")
        return
    live = next((number(r) for r in rows if r.get("live")), max(map(number, rows)))
    left, right = st.columns([2, 3], gap="large")
    with left:
        chosen = st.radio(
            "Revision",
            rows,
            key="revision",
            label_visibility="collapsed",
            format_func=lambda r: f"**{number(r)}** {parts.md(r.get('reason') or 'saved')}",
            captions=[f"{parts.md(r.get('author', ''))}, {parts.ago(r.get('at'))}" for r in rows],
        )
    with right:
        n = number(chosen)
        chip = parts.chip("live", "good") if n == live else ""
        st.html(f'<h3 style="padding:.2rem 0 .6rem">What revision {n} changed &nbsp;{chip}</h3>')
        differences(n)
        if n != live and parts.confirm(
            f"Go back to {n}", f"Make everything as it was in revision **{n}**?", "rollback", "Go back"
        ):
            client.post(f"/revisions/{n}/rollback", {})
            st.toast(f"The configuration is as in revision {n} again.", icon=":material/check:")
            st.rerun()


page()
