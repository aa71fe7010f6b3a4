"""The editor of a rule's morphs: a list in order, each a kind with its generated fields."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from workbench.client import Problem

if TYPE_CHECKING:
    from workbench.form import Form

__all__ = ["edit_morphs", "summary"]

_ids = itertools.count(1)


def edit_morphs(
    form: Form, value: Sequence[Mapping[str, Any]], key: str, problems: Sequence[Problem]
) -> list[dict[str, Any]]:
    """Draw the list; the morphs as they stand. `problems` have places relative to the list."""
    kinds: dict[str, Any] = form.client.families().get("morphs", {}).get("kinds", {})
    held = f"{key}-list"
    if held not in st.session_state:
        st.session_state[held] = [{"id": next(_ids), "item": dict(m)} for m in value]
    entries: list[dict[str, Any]] = st.session_state[held]
    out = []
    for i, entry in enumerate(entries):
        mine = [Problem(p.loc[1:], p.words) for p in problems if p.loc and p.loc[0] == i]
        with st.container(border=True):
            out.append(_one(form, kinds, entries, i, entry, f"{key}-{entry['id']}", mine))
    if not entries:
        st.caption("Nothing is changed: images leave as they came.")
    if kinds:
        first = "set" if "set" in kinds else next(iter(kinds))
        st.button("Add a change", key=f"{key}-add", icon=":material/add:", on_click=_append, args=(held, first))
    return out


def _one(
    form: Form,
    kinds: Mapping[str, Any],
    entries: list[dict[str, Any]],
    i: int,
    entry: dict[str, Any],
    key: str,
    mine: list[Problem],
) -> dict[str, Any]:
    choose, buttons = st.columns(2, gap="medium", vertical_alignment="center")
    names = list(kinds)
    now = entry["item"].get("kind")
    kind = choose.selectbox(
        "Kind of change",
        names,
        index=names.index(now) if now in names else None,
        format_func=lambda k: kinds[k].get("label") or k.replace("_", " "),
        key=f"{key}-kind",
        label_visibility="collapsed",
    )
    row = buttons.container(horizontal=True, horizontal_alignment="right", gap="small")
    up = {"icon": ":material/arrow_upward:", "help": "Earlier", "disabled": i == 0}
    down = {"icon": ":material/arrow_downward:", "help": "Later", "disabled": i == len(entries) - 1}
    row.button("", key=f"{key}-up", type="tertiary", on_click=_move, args=(entries, i, -1), **up)
    row.button("", key=f"{key}-down", type="tertiary", on_click=_move, args=(entries, i, 1), **down)
    row.button(
        "",
        key=f"{key}-gone",
        type="tertiary",
        icon=":material/close:",
        help="Take away",
        on_click=entries.pop,
        args=(i,),
    )
    if kind is None:
        return dict(entry["item"])
    entry["item"] = {"kind": kind, **form.ask(kinds[kind]["fields"], entry["item"], f"{key}-{kind}", mine)}
    return dict(entry["item"])


def _append(held: str, kind: str) -> None:
    st.session_state[held].append({"id": next(_ids), "item": {"kind": kind}})


def _move(entries: list[dict[str, Any]], i: int, by: int) -> None:
    entries[i], entries[i + by] = entries[i + by], entries[i]


def summary(morphs: Sequence[Mapping[str, Any]]) -> str:
    """In a few words, for lists: "set InstitutionName, prepend PatientID"."""
    said = [
        f"{m.get('kind', '').replace('_', ' ')} {m.get('tag') or m.get('map') or m.get('source') or m.get('from') or ''}".strip()
        for m in morphs
    ]
    return ", ".join(said[:3]) + (f" and {len(said) - 3} more" if len(said) > 3 else "")
