"""Destinations: where images go."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from workbench import parts
from workbench.family import Family, show


def line(item: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[str, str]:
    where = " · ".join(str(item[k]) for k in ("ae_title", "host", "port", "path", "description") if item.get(k))
    chips = []
    if not item.get("enabled", True):
        chips.append(parts.chip("paused", "idle"))
    for word, kind in (("sending", "good"), ("waiting", "wait"), ("dead", "bad")):
        if state.get(word):
            chips.append(parts.chip(f"{state[word]} {word}", kind))
    if not chips:
        chips.append(parts.chip("nothing waits", "good"))
    words = escape(state.get("last_error") or "")
    under = (
        f'<div class="ax-small ax-quiet" style="margin-top:.25rem">{words}</div>'
        if words and state.get("waiting")
        else ""
    )
    return where, "".join(chips) + under


show(
    Family(
        name="destinations",
        one="destination",
        title="Destinations",
        under="Where images go. Each has its own queue: a slow one does not delay another.",
        nothing=("No destination yet", "Add the PACS or the folder that images shall go to."),
        states=lambda status: {d["name"]: d for d in status["destinations"]},
        line=line,
    )
)
