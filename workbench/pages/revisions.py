"""Revisions: every saved state of the configuration, what it changed, and the way back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import streamlit as st
import yaml

from workbench import parts, signin
from workbench.client import Refused


def differences(revision: int) -> None:
    """What a revision changed against the one before it."""
    try:
        found = signin.client().get(f"/revisions/{revision}/diff")
    except Refused as e:
        parts.say(e)
        return
    if not found["differences"]:
        st.caption("It changed nothing.")
    for item in found["differences"]:
        kind = {"added": "good", "removed": "bad"}.get(item["action"], "wait")
        head = f"{escape(item['family'])} › <b>{escape(item['name'])}</b> &nbsp;{parts.chip(item['action'], kind)}"
        st.html(f'<div style="padding:.3rem 0 .4rem">{head}</div>{body(item)}')


def body(item: Mapping[str, Any]) -> str:
    """A changed item field by field; one that came or went as a whole."""
    if item["action"] == "changed" and item["changes"]:
        changes = item["changes"]
        lines = [(place(c["path"]), value(c.get("before"), "before"), value(c.get("after"), "after")) for c in changes]
        return parts.table(("Where", "Before", "After"), lines)
    side = "before" if item["after"] is None else "after"
    text = yaml.safe_dump(item["after"] or item["before"], sort_keys=False, allow_unicode=True)
    return f'<pre class="ax-{side} ax-mono ax-whole">{escape(text)}</pre>'


def place(path: Any) -> str:
    return escape(" › ".join(map(str, path)) if isinstance(path, (list, tuple)) else str(path))


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
    found = client.get("/revisions", limit=200)
    rows, live = found["items"], found["live"]
    if not rows:
        parts.empty("Nothing was saved yet", "The first saved change makes the first revision.")
        return
    left, right = st.columns([2, 3], gap="large")
    with left:
        chosen = st.radio(
            "Revision",
            rows,
            key="revision",
            label_visibility="collapsed",
            format_func=lambda r: f"**{r['id']}** {parts.md(r.get('label') or r.get('reason') or 'saved')}",
            captions=[f"{parts.md(r.get('author', ''))}, {parts.ago(r.get('created_at'))}" for r in rows],
        )
    with right:
        n = chosen["id"]
        chip = parts.chip("live", "good") if n == live else ""
        st.html(f'<h3 class="ax-head">What revision {n} changed &nbsp;{chip}</h3>')
        differences(n)
        if n != live and parts.confirm(
            f"Go back to {n}", f"Make everything as it was in revision **{n}**?", "rollback", "Go back"
        ):
            client.post(f"/revisions/{n}/rollback", {})
            st.toast(f"The configuration is as in revision {n} again.", icon=":material/check:")
            st.rerun()


page()
