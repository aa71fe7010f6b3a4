"""Trying rules on a DICOM file: each rule's verdict with its reasons, and the tags it would change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import streamlit as st

from workbench import parts, signin
from workbench.client import Refused

__all__ = ["panel", "verdicts"]


def panel(key: str, *, only: tuple[str, str] | None = None, draft: Callable[[], dict[str, Any]] | None = None) -> None:
    """Ask for a file and its sender, then show the verdicts. `draft` makes the configuration to try instead of the live
    one; `only` is the (ruleset, rule) that is shown first.
    """
    left, right = st.columns([1, 1], gap="medium")
    file = left.file_uploader(
        "DICOM file", key=f"{key}-file", help="Stays on this server for the test alone, then is gone."
    )
    with right:
        sources = signin.client().get("/sources")
        names = [s["name"] for s in sources["items"]]
        source = st.selectbox("Comes in through", names, index=0 if names else None, key=f"{key}-source")
        one, two = st.columns(2)
        calling = one.text_input("Calling AE title", key=f"{key}-calling", placeholder="CT01")
        address = two.text_input("IP address", key=f"{key}-ip", placeholder="10.1.4.20")
    if file is None:
        return
    told = {"source": source or "", "calling_ae": calling, "source_ip": address}
    try:
        found = _asked(key, file.getvalue(), told, draft() if draft else None, sources["revision"])
    except Refused as e:
        parts.say(e)
        return
    first = [d for d in found if only and (d["ruleset"], d["rule"]) == only]
    rest = [d for d in found if d not in first]
    verdicts(first)
    if first and rest:
        with st.expander(f"What the other rules say ({len(rest)})"):
            verdicts(rest)
    elif rest:
        verdicts(rest)
    if not found:
        parts.empty("No rule looked at it", "There are no rules that are live or in shadow.")


def _asked(
    key: str, file: bytes, told: dict[str, str], draft: dict[str, Any] | None, revision: int
) -> list[dict[str, Any]]:
    """What the rules say, asked once for the same file, sender, draft and revision: pages are drawn again at every click."""
    asked = hashlib.sha256(file + json.dumps([told, draft, revision], sort_keys=True).encode()).hexdigest()
    known = st.session_state.get(f"{key}-answer")
    if known is None or known[0] != asked:
        known = st.session_state[f"{key}-answer"] = (asked, signin.client().test_rules(file, told, draft))
    found: list[dict[str, Any]] = known[1]
    return found


def verdicts(found: Sequence[Mapping[str, Any]]) -> None:
    """Rules' verdicts, those that match first in their order."""
    st.html(parts.time_line(steps(found)))


def steps(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those that match as steps of a time line; the others behind one line that opens."""
    matching = [verdict(d) for d in found if d.get("matched")]
    others = [d for d in found if not d.get("matched")]
    if len(others) <= 1:
        return [*matching, *(verdict(d) for d in others)]
    inner = parts.time_line(verdict(d) for d in others)
    body = f"<details><summary>Why not</summary>{inner}</details>"
    return [*matching, parts.step(f"{len(others)} other rules do not match", None, "idle", body)]


def verdict(d: Mapping[str, Any]) -> str:
    matched = d.get("matched")
    kind = ("shadow" if d.get("state") == "shadow" else "good") if matched else "idle"
    word = "matches" if matched else "does not match"
    chips = parts.chip(word, kind) + (parts.chip("shadow", "shadow") if d.get("state") == "shadow" else "")
    reasons = "".join(f"<li>{escape(str(r))}</li>" for r in d.get("reasons") or ())
    body = f"<ul>{reasons}</ul>" if reasons else ""
    if matched:
        to = "".join(parts.chip(f"→ {name}", "plain") for name in d.get("destinations") or ())
        body += f'<div style="margin:.5rem 0">{to}</div>' if to else ""
        if d.get("changes"):
            body += parts.diff_table(d["changes"])
    return parts.step(f"{d.get('ruleset', '')} › {d.get('rule', '')}", d.get("at"), kind, body, chips)
