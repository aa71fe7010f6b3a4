"""Crosswalk maps: what is looked up, and what is replaced."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from workbench import parts, signin
from workbench.family import Family, show

CHIPS = {"done": "good", "syncing": "wait", "failed": "bad"}


def line(item: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[str, str]:
    match = ", ".join(f"{tag} = {column}" for tag, column in item.get("match", {}).items())
    words = f"{match} in {item.get('source', '')}, replaces {', '.join(item.get('replace', {}))}"
    chips = []
    if state.get("batches_waiting"):
        chips.append(parts.chip(f"{state['batches_waiting']} batches wait for the database", "bad"))
    if item.get("sync_seconds"):
        chips.append(_copy(state))
    error = escape(str(state.get("error") or ""))
    under = f'<div class="ax-small ax-quiet" style="margin-top:.25rem">{error}</div>' if error else ""
    return words, "".join(chips) + under


def _copy(state: Mapping[str, Any]) -> str:
    """How far the copy of the table is."""
    said, rows = str(state.get("state", "unknown")), state.get("rows", 0)
    words = {"done": f"copied: {rows} rows", "syncing": f"copying: {rows} of {state.get('total', 0)} rows"}
    return parts.chip(words.get(said, f"copy: {said}"), CHIPS.get(said, "idle"))


def states(_: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {m["name"]: m for m in signin.client().get("/crosswalk/status")["maps"]}


show(
    Family(
        name="crosswalk_maps",
        one="crosswalk map",
        title="Crosswalk maps",
        under="Which tags are looked up in which columns, and which columns replace which tags. Rules use them as a change.",
        nothing=(
            "No crosswalk map yet",
            "Add a crosswalk source first; a map then says what is looked up and replaced.",
            "crosswalk_sources",
            "To the crosswalk sources",
        ),
        states=states,
        line=line,
    )
)
