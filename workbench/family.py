"""The page of a family (sources, destinations, schedules): a list with live state, and generated forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import streamlit as st

from workbench import editing, parts, signin
from workbench.client import Refused
from workbench.editing import Draft
from workbench.form import Form

__all__ = ["Family", "show"]

State = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """What one family's page says of it."""

    name: str
    one: str
    title: str
    under: str
    nothing: tuple[str, ...]
    """What `parts.empty` is told when there is none."""
    states: Callable[[State], dict[str, State]]
    """What the status says of each item, by name."""
    line: Callable[[Mapping[str, Any], State], tuple[str, str]]
    """An item's line: words under the name, and HTML of its live state."""
    picture: Callable[[dict[str, Any]], None] = lambda _: None
    """Draws what an item that is being edited comes to, below its form."""


def show(family: Family) -> None:
    """Draw the page: the list, or the item being edited."""
    if (name := st.query_params.get("show")) and editing.current(family.name) is None:
        del st.query_params["show"]
        _open(family, name)
    draft = editing.current(family.name)
    if draft is not None:
        _editor(family, draft)
        return
    left, right = st.columns([4, 2], vertical_alignment="bottom")
    with left:
        parts.title(family.title, family.under)
    with right, st.container(horizontal=True, horizontal_alignment="right"):
        if signin.may("edit"):
            _add_button(family)
    _listing(family)


def _kinds(family: Family) -> dict[str, dict[str, Any]]:
    """What forms must ask, by kind; a family without kinds has the one called ""."""
    told = signin.client().families()[family.name]
    return dict(told.get("kinds") or {"": told})


def _add_button(family: Family) -> None:
    kinds = _kinds(family)
    if "" in kinds:
        if st.button(f"Add {_a(family.one)}", icon=":material/add:"):
            editing.start(Draft(family.name, None, {}))
            st.rerun()
        return
    with st.popover(f"Add {_a(family.one)}", icon=":material/add:"):
        for kind, told in kinds.items():
            label = told.get("label") or kind
            doc = parts.md(parts.first_line(told.get("doc")))
            if st.button(label, key=f"add-{kind}", help=doc or None, width="stretch", type="tertiary"):
                editing.start(Draft(family.name, None, {"kind": kind}))
                st.rerun()


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


@parts.live(4)
def _listing(family: Family) -> None:
    client = signin.client()
    items = sorted(client.items(family.name), key=lambda i: i["name"])
    if not items:
        parts.empty(*family.nothing)
        return
    states = family.states(client.get("/status"))
    kinds, may_edit = _kinds(family), signin.may("edit")
    for item in items:
        told = kinds.get(item.get("kind", ""), {})
        can_pause = may_edit and any(f["name"] == "enabled" for f in told.get("fields", ()))
        words, live = family.line(item, states.get(item["name"], {}))
        with st.container(border=True):
            name, state, buttons = st.columns([4, 4, 2], vertical_alignment="center")
            kind = told.get("label") or item.get("kind", "")
            label = parts.chip(kind, "plain") if kind else ""
            head = f'<span class="ax-title">{escape(item["name"])}</span> &nbsp;{label}'
            name.html(f'{head}<br><span class="ax-quiet ax-small">{escape(words)}</span>')
            if live:
                state.html(live)
            with buttons.container(horizontal=True, horizontal_alignment="right"):
                on = item.get("enabled", True)
                if can_pause and st.button("Pause" if on else "Resume", key=f"pause-{item['name']}", type="tertiary"):
                    _switch(family, item["name"], not on)
                if st.button("Edit" if may_edit else "Look", key=f"edit-{item['name']}"):
                    _open(family, item["name"])
                    st.rerun()


def _switch(family: Family, name: str, on: bool) -> None:
    client = signin.client()
    try:
        item, etag = client.item(family.name, name)
        client.save(family.name, name, {**item, "enabled": on}, etag)
    except Refused as e:
        parts.say(e)
        return
    st.toast(f"{name} is {'resumed' if on else 'paused'}.")
    st.rerun(scope="fragment")


def _open(family: Family, name: str) -> None:
    try:
        item, etag = signin.client().item(family.name, name)
    except Refused as e:
        if e.status != 404:
            raise
        st.toast(f"There is no {family.one} {name} any more.")
        return
    editing.start(Draft(family.name, name, item, etag))


def _editor(family: Family, draft: Draft) -> None:
    kinds = _kinds(family)
    kind = draft.item.get("kind", "")
    told = kinds.get(kind)
    if st.button(f"All {family.title.lower()}", icon=":material/arrow_back:", type="tertiary"):
        editing.leave()
        st.rerun()
    if told is None:
        parts.title(draft.name or f"New {family.one}")
        st.warning(f"This engine knows no kind called {parts.md(kind)}, so it cannot be edited here.")
        return
    under = (told.get("label") or kind, parts.first_line(told.get("doc")))
    parts.title(draft.name or f"New {family.one}", ". ".join(filter(None, under)))
    item = {"kind": kind} if kind else {}
    item |= Form(signin.client()).ask(told["fields"], draft.item, draft.key, draft.problems)
    if draft.ticks:
        st.html('<span class="ax-title">Tried just now</span>')
        parts.ticks(draft.ticks)
    _buttons(family, draft, item)
    family.picture(item)


def _buttons(family: Family, draft: Draft, item: dict[str, Any]) -> None:
    if not signin.may("edit"):
        st.caption(parts.LOOK_ONLY)
        return
    anyway = draft.tried is not None and draft.tried == item
    if anyway:
        st.warning("Not everything went well. You can put it right, or save it as it is.")
    with st.container(horizontal=True):
        if st.button("Save anyway" if anyway else "Save", type="primary", key=f"{draft.key}-save"):
            if not anyway and not editing.tried(draft, item):
                st.rerun()
            if editing.save(draft, item, label=item.get("name", "")):
                st.rerun()
        if st.button("Try it", key=f"{draft.key}-try", help="Try what can be tried, without saving"):
            editing.tried(draft, item)
            draft.tried = None
            st.rerun()
        if draft.name:
            _delete(family, draft.name)


def _delete(family: Family, name: str) -> None:
    client = signin.client()
    with st.popover("Delete"):
        used, waiting = client.used_by(family.name, name)
        if used:
            st.write(f"**{parts.md(name)}** is in use, so it cannot go yet. It is named by:")
            st.write("\n".join(f"- {parts.md(place)}" for place in used))
            return
        if waiting:
            many = parts.plural(waiting, "delivery is", "deliveries are")
            st.warning(f"{many} not over. Without **{parts.md(name)}** they cannot be sent, and stay until it is made again.")
            st.page_link("workbench/pages/deliveries.py", label="Look at the deliveries", icon=":material/outbox:")
        st.write(f"Delete **{parts.md(name)}**? A rollback in Revisions brings it back.")
        if st.button("Delete it all the same" if waiting else "Yes, delete it", type="primary", key="delete-yes"):
            client.delete(family.name, name, force=waiting > 0)
            editing.leave()
            st.toast(f"{name} is deleted.")
            st.rerun()
