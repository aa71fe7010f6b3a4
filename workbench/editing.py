"""One item being added or edited: its draft in the session, tried before it is saved, problems beside their fields."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from workbench import parts, signin
from workbench.client import Problem, Refused

__all__ = ["Draft", "current", "leave", "own_problems", "start", "tried"]

_numbers = itertools.count(1)


@dataclass
class Draft:
    """What is being edited. `name` None: new. `key` is new for each editing, so that no widget keeps an older value."""

    family: str
    name: str | None
    item: dict[str, Any]
    etag: str = ""
    more: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    ticks: list[dict[str, Any]] = field(default_factory=list)
    tried: dict[str, Any] | None = None
    """What was tried with a tick that failed: saving the same again is the second click that saves it anyway."""
    key: str = ""

    def __post_init__(self) -> None:
        self.key = self.key or f"draft{next(_numbers)}"


def current(family: str) -> Draft | None:
    found = st.session_state.get("draft")
    return found if isinstance(found, Draft) and found.family == family else None


def start(draft: Draft) -> None:
    st.session_state["draft"] = draft


def leave() -> None:
    st.session_state.pop("draft", None)


def own_problems(problems: Sequence[Problem], *prefix: str) -> list[Problem]:
    """Problems with the item's own place taken off: ("destinations", "pacs", "port") is ("port",)."""
    out = []
    for p in problems:
        loc = p.loc
        for one in prefix:
            if loc and loc[0] == one:
                loc = loc[1:]
        out.append(Problem(loc, p.words))
    return out


def save(draft: Draft, item: Mapping[str, Any], *, label: str) -> bool:
    """Save it; True when it is saved. What the API refuses stays in the draft, beside its fields."""
    try:
        signin.client().save(draft.family, draft.name, item, draft.etag)
    except Refused as e:
        draft.problems = own_problems(e.problems, draft.family, draft.name or str(item.get("name", "")))
        if not draft.problems:
            parts.say(e)
            return False
        st.rerun()
    leave()
    st.toast(f"{label} is saved and takes effect within seconds.", icon=":material/check:")
    return True


def tried(draft: Draft, item: dict[str, Any]) -> bool:
    """Try it (`check`); True when nothing speaks against saving. Ticks and problems stay in the draft."""
    draft.problems, draft.ticks, draft.tried = [], [], None
    try:
        draft.ticks = signin.client().check(draft.family, item)
    except Refused as e:
        if not e.problems:
            raise
        draft.problems = own_problems(e.problems, draft.family, draft.name or str(item.get("name", "")))
        return False
    if any(tick.get("ok") is False for tick in draft.ticks):
        draft.tried = item
        return False
    return True
