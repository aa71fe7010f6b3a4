"""Sources: where images come from."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from workbench import editing, parts, pollers
from workbench.family import Family, show


def line(item: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[str, str]:
    at = {"ae_title": state["ae_title"], "host": state["address"], "port": ""} if state.get("address") else {}
    known = {**item, **at}  # what stands at its default is not in the item, and a sender has to know it
    where = " · ".join(str(known[k]) for k in ("ae_title", "host", "port", "url", "description") if known.get(k))
    if not item.get("enabled", True):
        return where, parts.chip("paused", "idle")
    if not state:
        return where, ""
    if "retrying" in state:
        return where, pollers.line(state)
    words = escape(state.get("error") or "")
    if state["state"] == "listening":
        words = f"{parts.plural(state['associations'], 'open association')} · {state['instances']:,} images"
    return where, f'{parts.chip(state["state"])} <span class="ax-quiet ax-small">&nbsp;{words}</span>'


show(
    Family(
        name="sources",
        one="source",
        title="Sources",
        under="Where images come from. A saved change takes effect within seconds.",
        nothing=("No source yet", "Add a DICOM listener, and modalities have somewhere to send to."),
        states=lambda status: {s["name"]: s for s in (*status["listeners"], *status.get("pollers", []))},
        line=line,
    )
)
if editing.current("sources") is None:
    pollers.show()
