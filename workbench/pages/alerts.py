"""Alerts: what is told to people without their looking."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from workbench import parts
from workbench.family import Family, show


def line(item: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[str, str]:
    about = [*item.get("destinations", []), *item.get("sources", []), *(e.replace("_", " ") for e in item.get("events", []))]
    told = f"tells {', '.join(item['channels'])}" if item.get("channels") else "shows on Today only"
    words = " · ".join(filter(None, (", ".join(about), told, str(item.get("description", "")))))
    if not item.get("enabled", True):
        return words, parts.chip("paused", "idle")
    firing = state.get("firing", [])
    if not firing:
        return words, ""
    more = f" and {len(firing) - 1} more" if len(firing) > 1 else ""
    return words, f'{parts.chip("firing", "bad")} <span class="ax-quiet ax-small">&nbsp;{escape(firing[0]["words"])}{more}</span>'


def states(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The findings of each alert."""
    found: dict[str, dict[str, Any]] = {}
    for one in status.get("alerts", {}).get("firing", []):
        found.setdefault(one["alert"], {"firing": []})["firing"].append(one)
    return dict(found)


show(
    Family(
        name="alerts",
        one="alert",
        title="Alerts",
        under="What shall be told, and by which channels: when it begins, again while it lasts, and when it is over.",
        nothing=(
            "No alert yet",
            "Add a channel first, then say what shall be told by it: a destination that fails, for one.",
            "channels",
            "To the channels",
        ),
        states=states,
        line=line,
    )
)
