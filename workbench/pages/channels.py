"""Channels: the ways by which alerts reach people and other systems."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import urlsplit

from workbench import parts
from workbench.family import Family, show


def line(item: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[str, str]:
    host = urlsplit(item["url"]).hostname if item.get("url") else item.get("host")  # a path may hold a key
    words = " · ".join(str(w) for w in (", ".join(item.get("to", [])), host, item.get("description")) if w)
    if not item.get("enabled", True):
        return words, parts.chip("paused", "idle")
    waiting = f"{parts.plural(state['waiting'], 'message')} waiting" if state.get("waiting") else ""
    if state.get("said"):
        both = ": ".join(filter(None, (waiting, state["said"])))
        return words, f'{parts.chip("failing", "bad")} <span class="ax-quiet ax-small">&nbsp;{escape(both)}</span>'
    return words, parts.chip(waiting, "wait") if waiting else ""


def states(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What each channel said last, and how much waits for it."""
    told = status.get("alerts", {})
    waiting = told.get("messages", {})
    return {name: {"said": said, "waiting": waiting.get(name, 0)} for name, said in told.get("channels", {}).items()}


show(
    Family(
        name="channels",
        one="channel",
        title="Channels",
        under="By what alerts are told. Messages wait on disk until they are taken. Trying one sends a test message.",
        nothing=("No channel yet", "Add a webhook or an e-mail, and alerts can reach you when you do not look."),
        states=states,
        line=line,
    )
)
