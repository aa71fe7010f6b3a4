"""Revisions: every saved state of the configuration: what it changed, any two compared, named, planned, gone back to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import streamlit as st
import yaml

from workbench import parts, planned, signin
from workbench.client import Refused

PAGE = 200
"""So many revisions at a time."""


def differences(revision: int, other: int | None) -> None:
    """What differs in a revision from another one, or from the one before it."""
    try:
        found = signin.client().get(f"/revisions/{revision}/diff", **{"with": other})
    except Refused as e:
        parts.say(e)
        return
    if not found["differences"]:
        st.caption("Nothing differs.")
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


def named(row: Mapping[str, Any]) -> str:
    return f"{row['id']} {row.get('label') or row.get('reason') or 'saved'}"


def listing(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The list, and the revision that is chosen in it."""
    by_id = {r["id"]: r for r in rows}

    def words(number: int) -> str:
        row = by_id[number]
        return f"**{number}** {parts.md(row.get('label') or row.get('reason') or 'saved')}"

    chosen = st.radio(  # the numbers are the choices: a revision that is named meanwhile stays chosen
        "Revision",
        list(by_id),
        key="revision",
        label_visibility="collapsed",
        format_func=words,
        captions=[f"{parts.md(r.get('author', ''))}, {parts.ago(r.get('created_at'))}" for r in rows],
    )
    if rows[-1]["id"] > 1 and len(rows) % PAGE == 0 and st.button("Show older ones", type="tertiary"):
        st.session_state["revision-pages"] = st.session_state.get("revision-pages", 1) + 1
        st.rerun()
    return by_id.get(chosen, rows[0])


def load() -> tuple[list[dict[str, Any]], int]:
    """As many pages of revisions as were asked for, the newest first; and which one is live."""
    client, rows, before = signin.client(), [], None
    for _ in range(st.session_state.get("revision-pages", 1)):
        found = client.get("/revisions", limit=PAGE, before=before)
        rows += found["items"]
        if len(found["items"]) < PAGE:
            break
        before = rows[-1]["id"]
    return rows, found["live"]


def compared(number: int, rows: list[dict[str, Any]]) -> int | None:
    """With which revision it is compared; None: the one before."""
    others = {r["id"]: named(r) for r in rows if r["id"] != number}
    return st.selectbox(
        "Compared with", [None, *others], key=f"with-{number}", format_func=lambda n: others.get(n, "the one before it")
    )


def name_it(row: Mapping[str, Any]) -> None:
    with st.popover("Name it", icon=":material/label:"), st.form(f"label-{row['id']}", border=False):
        label = st.text_input("Name", row.get("label") or "", max_chars=128, placeholder="before the move to the new PACS")
        if st.form_submit_button("Save", type="primary"):
            signin.client().request("PUT", f"/revisions/{row['id']}/label", json={"label": label})
            st.rerun()


def go_back(number: int) -> None:
    with st.popover(f"Go back to {number}", icon=":material/undo:"):
        st.write(f"Make everything as it was in revision **{number}**, now?")
        reason = st.text_input("Why", key=f"why-{number}", max_chars=500)
        if st.button("Go back", type="primary", key="rollback-yes"):
            signin.client().post(f"/revisions/{number}/rollback", {"reason": reason})
            st.toast(f"The configuration is as in revision {number} again.", icon=":material/check:")
            st.rerun()


def page() -> None:
    parts.title(
        "Revisions",
        "Every save is kept, with who, when and why. Going back is a save of its own: nothing is lost by it.",
    )
    rows, live = load()
    if not rows:
        parts.empty("Nothing was saved yet", "The first saved change makes the first revision.")
        return
    planned.coming()
    left, right = st.columns([2, 3], gap="large")
    with left:
        chosen = listing(rows)
    with right:
        n = chosen["id"]
        chip = parts.chip("live", "good") if n == live else ""
        st.html(f'<h3 class="ax-head">Revision {n} &nbsp;{chip}</h3>')
        with st.container(horizontal=True):
            name_it(chosen)
            planned.plan(n)
            if n != live:
                go_back(n)
        other = compared(n, rows)
        differences(n, other)


page()
