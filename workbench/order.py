"""The order of a ruleset's rules: one place up or down, or several at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import streamlit as st

from workbench import parts, signin
from workbench.client import Refused

__all__ = ["buttons"]

Rules = Sequence[Mapping[str, Any]]


def buttons(ruleset: str, rules: Rules, i: int) -> None:
    """The buttons of the rule at place `i` of `rules`, which stand in their order."""
    name, key = str(rules[i]["name"]), f"{ruleset}/{rules[i]['name']}"
    up, down = {"help": "Earlier", "disabled": i == 0}, {"help": "Later", "disabled": i == len(rules) - 1}
    if st.button("", icon=":material/arrow_upward:", key=f"up-{key}", type="tertiary", **up):
        move(ruleset, name, before=rules[i - 1]["name"])
    if st.button("", icon=":material/arrow_downward:", key=f"down-{key}", type="tertiary", **down):
        move(ruleset, name, after=rules[i + 1]["name"])
    words = {"help": "Further: to the top, to the bottom, before another rule", "disabled": len(rules) < 2}
    if st.button("", icon=":material/swap_vert:", key=f"move-{key}", type="tertiary", **words):
        further(ruleset, name, [str(r["name"]) for r in rules if r["name"] != name])


def move(ruleset: str, rule: str, *, before: str | None = None, after: str | None = None) -> None:
    """Put it beside a neighbour, or behind all; the page is drawn anew. What the API refuses is said there."""
    path = f"/rulesets/{quote(ruleset, safe='')}/rules/{quote(rule, safe='')}/move"
    try:
        signin.client().post(path, {"before": before, "after": after})
    except Refused as e:
        st.session_state["rules-refused"] = e
    else:
        place = f"now comes before {before}" if before else f"now comes after {after}" if after else "now comes last"
        st.toast(f"{rule} {place}.", icon=":material/check:")
    st.rerun()


@st.dialog("Put it elsewhere")
def further(ruleset: str, rule: str, others: list[str]) -> None:
    """Several places in one step. `others` stand in their order."""
    st.write(f"Where shall **{parts.md(rule)}** stand in {parts.md(ruleset)}?")
    with st.container(horizontal=True):
        if st.button("To the top", icon=":material/vertical_align_top:", key="move-top"):
            move(ruleset, rule, before=others[0])
        if st.button("To the bottom", icon=":material/vertical_align_bottom:", key="move-bottom"):
            move(ruleset, rule)
    other = st.selectbox("Before", others, key="move-before", index=None, placeholder="another rule")
    if st.button("Move it", type="primary", key="move-it", disabled=other is None):
        move(ruleset, rule, before=other)
