"""Lists in which one or many lines are chosen and then something is done with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from workbench import parts, signin
from workbench.client import Refused

__all__ = ["act", "choose", "discard_button", "rows_of"]


def rows_of(answer: Any, name: str) -> list[dict[str, Any]]:
    """The API's list, whether it comes bare or under its name."""
    return list(answer if isinstance(answer, list) else answer.get("items", answer.get(name, [])))


def choose(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, Callable[[Mapping[str, Any]], Any]],
    key: str,
    **config: Any,
) -> list[dict[str, Any]]:
    """Draw the rows as a table with a tick box each; those that are chosen."""
    shown = [{label: cell(row) for label, cell in columns.items()} for row in rows]
    picked = st.dataframe(
        shown,
        hide_index=True,
        width="stretch",
        on_select="rerun",
        selection_mode="multi-row",
        key=key,
        column_config=config,
    )
    return [dict(rows[i]) for i in picked.selection.rows if i < len(rows)]


def act(path: str, chosen: Sequence[Mapping[str, Any]], done: str, **more: Any) -> None:
    """Do it with the chosen ones; what the API could not do with some of them is said."""
    try:
        answer = signin.client().post(path, {"ids": [one["id"] for one in chosen], **more})
    except Refused as e:
        parts.say(e)
        return
    refused = answer.get("problems") or answer.get("failed") or []
    if isinstance(refused, Mapping):
        refused = [f"{k}: {v}" for k, v in refused.items()]
    words = [r.get("words", r) if isinstance(r, Mapping) else r for r in refused]
    st.toast(f"{parts.plural(len(chosen) - len(words), 'entry', 'entries')} {done}.", icon=":material/check:")
    for one in words[:5]:
        st.toast(parts.md(str(one)), icon=":material/warning:")
    st.rerun()


def discard_button(path: str, chosen: Sequence[Mapping[str, Any]], question: str, key: str) -> None:
    """Throwing away asks for a reason, and for a second click."""
    with st.popover("Discard…", disabled=not chosen):
        st.write(question)
        reason = st.text_input("Why?", key=f"{key}-why", placeholder="The reason is kept in the history")
        if st.button("Discard them", type="primary", key=f"{key}-yes", disabled=not reason.strip()):
            act(path, chosen, "discarded", reason=reason.strip())
