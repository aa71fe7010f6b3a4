"""Analysis: live rules that never do anything, or do it twice, each with the reason."""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from workbench import parts, signin

KINDS = {
    "contradictory": ("can never match", "bad"),
    "unreachable": ("never reached", "bad"),
    "covered": ("never reached", "bad"),
    "conflict": ("conflict", "bad"),
    "split_gathering": ("may be split", "wait"),
    "no_destination": ("goes nowhere", "wait"),
    "equal": ("says the same", "wait"),
    "always": ("always matches", "wait"),
    "never_matched": ("matched nothing", "idle"),
}
"""A finding's kind in words, and its colour; those that matter most first."""
PERIODS = {"7 days": 7, "30 days": 30, "90 days": 90, "a year": 365}


def one(finding: dict[str, Any], place: int) -> None:
    rule = f"{finding['ruleset']}/{finding['rule']}"
    word, colour = KINDS.get(finding["kind"], (finding["kind"].replace("_", " "), "idle"))
    with st.container(border=True):
        said, buttons = st.columns([6, 2], vertical_alignment="center")
        name = f'<span class="ax-title">{escape(finding["rule"])}</span>'
        place_of = f'<span class="ax-quiet ax-small">in {escape(finding["ruleset"])}</span>'
        why = f'<span class="ax-small">{escape(finding["words"])}</span>'
        said.html(f"{name} {place_of} &nbsp;{parts.chip(word, colour)}<br>{why}")
        with buttons.container(horizontal=True, horizontal_alignment="right"):
            for other in finding["others"][:1]:
                if st.button(other, key=f"other-{place}", type="tertiary", help="The other rule that it is about"):
                    st.switch_page("workbench/pages/rules.py", query_params={"show": f"{finding['ruleset']}/{other}"})
            if st.button("Open the rule", key=f"open-{place}"):
                st.switch_page("workbench/pages/rules.py", query_params={"show": rule})


def page() -> None:
    under = "Rules that can never match, are never reached, contradict or repeat others: proved, or seen in the history."
    parts.title("Analysis", under)
    period = st.segmented_control("History of the last", list(PERIODS), default="30 days", required=True, key="analysis-period")
    with st.spinner("Looking at the rules…"):
        found = signin.client().analysis(PERIODS[str(period)])
    if not found:
        parts.empty("Nothing is odd about the rules", "Each of them can match, is reached, and matched something in this time.")
        return
    order = list(KINDS)
    found.sort(key=lambda f: order.index(f["kind"]) if f["kind"] in order else len(order))
    st.caption(f"{parts.plural(len(found), 'thing')} to look at. None of it stops an image by itself.")
    for place, finding in enumerate(found):
        one(finding, place)


page()
