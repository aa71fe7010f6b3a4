"""What if: what drafted rules would have matched and sent of the images that came, against the live rules. Nothing is sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import altair as alt
import streamlit as st
import yaml

from workbench import parts, signin
from workbench.client import Refused

PERIODS = {"24 hours": 1, "7 days": 7, "30 days": 30, "90 days": 90, "a year": 365}
BY = {"rules": "Rule", "destinations": "Destination", "modalities": "Modality", "sources": "Source"}
SHOWN = 12
"""Bars of a chart; the table has all."""
EXAMPLE = """rulesets:
  - name: main
    priority: 10
    rules:
      - {name: ct, priority: 10, when: {tag: Modality, op: eq, value: CT}, destinations: []}
"""
ONE_RULE, YAML = "A live rule, switched", "YAML"


# what is asked


def draft() -> tuple[str, dict[str, Any]] | None:
    """What is to be asked about, in words and as (part of) a configuration; None while it is not told yet."""
    handed = st.session_state.get("whatif-draft")
    ways = [*([handed["words"]] if handed else []), ONE_RULE, YAML]
    way = st.segmented_control("Ask about", ways, default=ways[0], required=True, key=f"whatif-way-{ways[0]}")
    if handed and way == handed["words"]:
        st.caption("As it stood in the editor; nothing of it is saved.")
        return str(handed["words"]), handed["configuration"]
    return from_yaml() if way == YAML else switched()


def switched() -> tuple[str, dict[str, Any]] | None:
    """The live rules with one of them in another state."""
    rulesets = sorted(signin.client().items("rulesets"), key=lambda r: r.get("priority", 0))
    rules = {f"{s['name']}/{r['name']}": (s, r) for s in rulesets for r in s.get("rules", [])}
    if not rules:
        words = "Add a rule first, or paste YAML: history can then say what it would have done."
        parts.empty("No rules yet", words, "rules", "To the rules")
        return None
    left, right = st.columns([3, 2])
    name = left.selectbox("Rule", list(rules), key="whatif-rule")
    ruleset, rule = rules[name]
    now = rule.get("state", "live")
    state = right.segmented_control(
        "Would be", ["off", "live"], default="off" if now == "live" else "live", required=True, key=f"whatif-state-{name}-{now}"
    )
    changed = [{**r, "state": state} if r["name"] == rule["name"] else r for r in ruleset["rules"]]
    new = [{**s, "rules": changed} if s["name"] == ruleset["name"] else s for s in rulesets]
    return f"{name} {state} (it is {now})", {"rulesets": new}


def from_yaml() -> tuple[str, dict[str, Any]] | None:
    text = st.text_area(
        "Rules as YAML", EXAMPLE, height=190, key="sql-whatif",
        help="As `axiom config apply` takes it. Families that it does not name are the live ones.",
    )  # fmt: skip
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as e:
        mark = getattr(e, "problem_mark", None)
        st.error(f"This is not YAML: {parts.md(getattr(e, 'problem', e))}" + (f" (line {mark.line + 1})" if mark else ""))
        return None
    if not isinstance(found, dict):
        st.error("Families are meant, such as `rulesets:` with a list below it.")
        return None
    return "The rules pasted as YAML", json.loads(json.dumps(found, default=str))


def asked() -> None:
    """The question, and its answer when it was asked; the answer stays while the page is drawn again."""
    found = draft()
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    periods = list(PERIODS)
    period = left.segmented_control("Images of the last", periods, default="30 days", required=True, key="whatif-period")
    ask = right.button("Ask the history", type="primary", icon=":material/play_arrow:", disabled=found is None, width="stretch")
    if found is None:
        return
    words, configuration = found
    mark = hashlib.sha256(json.dumps([configuration, period], sort_keys=True).encode()).hexdigest()
    if ask:
        st.session_state.pop("whatif-answer", None)
        try:
            with st.spinner("Asking the history…", show_time=True):
                answer = signin.client().what_if(configuration, PERIODS[str(period)])
        except Refused as e:
            parts.say(e)
            return
        st.session_state["whatif-answer"] = (mark, f"{words}, the last {period}", answer)
    if (kept := st.session_state.get("whatif-answer")) is not None:
        if kept[0] != mark:
            st.info("This is the answer to the question before. Ask again for the one that now stands above.")
        show(kept[1], kept[2])


# the answer


def show(words: str, answer: Mapping[str, Any]) -> None:
    st.html(f'<h3 class="ax-head">{escape(words)}</h3>')
    if not answer["instances"]:
        parts.empty("Nothing came in this time", "Take a longer period: history has no image that the rules could be asked of.")
        return
    total = answer["total"]
    parts.cards(
        [
            parts.card("Images looked at", answer["instances"]),
            parts.card("Matched by the draft", total["draft"]),
            parts.card("Matched by the live rules", total["live"]),
            parts.card("Only by the draft", total["gained"]),
            parts.card("Only by the live rules", total["lost"], "wait"),
            parts.card("Unmatched then, matched now", answer["unmatched_then"]),
        ]
    )
    for note in answer["notes"]:
        st.info(parts.md(note))
    if not any(c["gained"] or c["lost"] for by in BY for c in answer[by].values()):
        st.html('<p class="ax-quiet">No image would have gone another way.</p>')
    charts(answer)
    samples("Only the draft takes these", answer["gained"], "gained")
    samples("Only the live rules take these", answer["lost"], "lost")


def charts(answer: Mapping[str, Any]) -> None:
    for pair in (("rules", "destinations"), ("modalities", "sources")):
        for column, by in zip(st.columns(2, gap="large"), pair, strict=True):
            with column:
                st.html(f'<span class="ax-title">By {BY[by].lower()}</span>')
                if answer[by]:
                    st.altair_chart(bars(answer[by]), width="stretch")
                else:
                    st.html('<span class="ax-quiet">Nothing matches.</span>')
    lines = [
        {"By": label, "Name": name or "(none)"}
        | {"Live rules": c["live"], "Draft": c["draft"], "Only draft": c["gained"], "Only live": c["lost"]}
        for by, label in BY.items()
        for name, c in answer[by].items()
    ]
    st.dataframe(lines, hide_index=True, width="stretch")


def bars(counts: Mapping[str, Mapping[str, int]]) -> alt.Chart:
    """Two bars a name, the live rules' above the draft's; those with the greatest difference when there are many."""
    names = sorted(counts, key=lambda n: (-counts[n]["gained"] - counts[n]["lost"], n))[:SHOWN]
    values = [
        {"name": n or "(none)", "who": who, "images": counts[n][key], "gained": counts[n]["gained"], "lost": counts[n]["lost"]}
        for n in names
        for who, key in (("Live rules", "live"), ("Draft", "draft"))
    ]
    return (
        alt.Chart(alt.Data(values=values))
        .mark_bar(cornerRadiusEnd=3)
        .encode(
            y=alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=220)),
            yOffset=alt.YOffset("who:N", sort=["Live rules", "Draft"]),
            x=alt.X("images:Q", title=None, axis=alt.Axis(tickCount=4, format="~s", tickMinStep=1)),
            color=alt.Color(
                "who:N", title=None, sort=["Live rules", "Draft"],
                scale=alt.Scale(domain=["Live rules", "Draft"], range=["#9fb0b3", "#2f7d74"]),
                legend=alt.Legend(orient="top"),
            ),
            tooltip=[
                alt.Tooltip("name:N", title="Name"), alt.Tooltip("who:N", title="By"), alt.Tooltip("images:Q", format=","),
                alt.Tooltip("gained:Q", format=","), alt.Tooltip("lost:Q", format=","),
            ],
        )
        .properties(height=90 + 44 * len(names))
    )  # fmt: skip


def samples(head: str, found: Sequence[Mapping[str, Any]], key: str) -> None:
    """Examples of a difference; choosing one leads to its story."""
    if not found:
        return
    hint = '<span class="ax-quiet ax-small">some of them; choose one for its story</span>'
    st.html(f'<span class="ax-title">{escape(head)}</span> {hint}')
    lines = [
        {
            "Patient": s["patient_id"], "Accession": s["accession_number"], "Modality": s["modality"], "Source": s["source"],
            "Calling AE": s["calling_ae"], "Received": parts.clock(s["received_at"]),
            "Draft": ", ".join(s["rules"]["draft"]) or "–", "Live rules": ", ".join(s["rules"]["live"]) or "–",
        }
        for s in found
    ]  # fmt: skip
    picked = st.dataframe(
        lines, hide_index=True, width="stretch", on_select="rerun", selection_mode="single-row", key=f"whatif-{key}"
    )
    if picked.selection.rows:
        uid = str(found[picked.selection.rows[0]]["sop_instance_uid"])
        st.switch_page("workbench/pages/instance.py", query_params={"uid": uid})


parts.title("What if", "What other rules would have done with the images that came. Nothing is changed, and nothing is sent.")
asked()
