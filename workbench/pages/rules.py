"""Rules: in order, with what each asks, changes and sends; edited and tried on a real file before they are saved."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import streamlit as st

from workbench import editing, morphs, parts, signin, tree, trial
from workbench.client import Refused
from workbench.editing import Draft
from workbench.form import Form
from workbench.order import buttons

STATES = {"off": "off", "shadow": "shadow", "live": "live"}
# A rule as people think of it; the fields that are not named follow.
ORDER = ("name", "state", "sources", "schedule", "when", "association", "morphs", "destinations")
MODES = {"ALL_MATCHES": "every rule that matches", "FIRST_MATCH": "the first rule that matches"}


def ordered(ruleset: Mapping[str, Any]) -> list[dict[str, Any]]:
    return sorted(ruleset.get("rules", []), key=lambda r: (r.get("priority", 0), r["name"]))


def with_rule(ruleset: Mapping[str, Any], old: str | None, rule: Mapping[str, Any] | None) -> dict[str, Any]:
    """The ruleset with one rule replaced (by its old name), added (None) or taken out (rule None)."""
    rules = [r for r in ruleset.get("rules", []) if r["name"] != old]
    return {**ruleset, "rules": [*rules, dict(rule)] if rule else rules}


def change(name: str, how: Any, words: str) -> None:
    """Read the ruleset, change it, save it. What the API refuses is said on the page."""
    client = signin.client()
    try:
        ruleset, etag = client.item("rulesets", name)
        client.save("rulesets", name, how(ruleset), etag)
    except Refused as e:
        st.session_state["rules-refused"] = e
        return
    st.toast(words, icon=":material/check:")


# the list


def listing() -> None:
    client = signin.client()
    rulesets = sorted(client.items("rulesets"), key=lambda r: r.get("priority", 0))
    left, right = st.columns([4, 2], vertical_alignment="bottom")
    with left:
        parts.title("Rules", "Asked from top to bottom. A saved change takes effect within seconds.")
    with right, st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Try a file", icon=":material/science:"):
            editing.start(Draft("trial", None, {}))
            st.rerun()
        if signin.may("edit") and st.button("Add a ruleset", icon=":material/add:"):
            priority = max((r.get("priority", 0) for r in rulesets), default=0) + 10
            editing.start(Draft("rulesets", None, {"priority": priority}))
            st.rerun()
    if refused := st.session_state.pop("rules-refused", None):
        parts.say(refused)
    if not rulesets:
        parts.empty(
            "No rules yet", "Without a rule, images are kept and can be replayed later. Add a ruleset, then a rule."
        )
    for ruleset in rulesets:
        one_ruleset(ruleset)


def one_ruleset(ruleset: Mapping[str, Any]) -> None:
    name, rules = ruleset["name"], ordered(ruleset)
    head, buttons = st.columns([5, 2], vertical_alignment="bottom")
    mode = MODES.get(ruleset.get("mode", "ALL_MATCHES"), "")
    head.html(f'<h3 class="ax-head">{escape(name)} <span class="ax-quiet ax-small">runs {escape(mode)}</span></h3>')
    with buttons.container(horizontal=True, horizontal_alignment="right"):
        if signin.may("edit") and st.button("Edit ruleset", key=f"ruleset-{name}", type="tertiary"):
            item, etag = signin.client().item("rulesets", name)
            editing.start(Draft("rulesets", name, item, etag))
            st.rerun()
        if signin.may("edit") and st.button("Add a rule", key=f"add-{name}", icon=":material/add:"):
            open_rule(name, None)
            st.rerun()
    if not rules:
        parts.empty("This ruleset has no rules", "It matches nothing until one is added.")
    for i, rule in enumerate(rules):
        with st.container(border=True):
            one_rule(name, rules, i, rule)


def one_rule(ruleset: str, rules: list[dict[str, Any]], i: int, rule: dict[str, Any]) -> None:
    key = f"{ruleset}/{rule['name']}"
    words, to, state, order, edit = st.columns([4.4, 2.2, 2.7, 1.45, 0.95], vertical_alignment="center")
    words.html(in_words(rule))
    to.html(
        "".join(parts.chip(f"→ {d}", "plain") for d in rule.get("destinations", []))
        or '<span class="ax-quiet">→ nowhere</span>'
    )
    now = rule.get("state", "live")
    chosen = state.segmented_control(
        "State", list(STATES), default=now, required=True, key=f"state-{key}-{now}", label_visibility="collapsed",
        disabled=not signin.may("edit"),
    )  # fmt: skip
    if chosen and chosen != now:
        change(ruleset, lambda r: with_rule(r, rule["name"], {**rule, "state": chosen}), f"{rule['name']} is {chosen}.")
        st.rerun()
    if signin.may("edit"):
        with order.container(horizontal=True, gap="small"):
            buttons(ruleset, rules, i)
    if edit.button("Edit" if signin.may("edit") else "Look", key=f"edit-{key}"):
        open_rule(ruleset, rule["name"])
        st.rerun()


def in_words(rule: Mapping[str, Any]) -> str:
    """A rule's line: its name, then what it asks and changes, as a sentence."""
    asks = [tree.words(rule.get("when")) or "every image"]
    if sender := tree.words(rule.get("association")):
        asks.append(f"sender: {sender}")
    if rule.get("sources"):
        asks.append(f"through {', '.join(rule['sources'])}")
    if rule.get("schedule"):
        asks.append(f"during {rule['schedule']}")
    does = morphs.summary(rule.get("morphs", []))
    if rule.get("gather", "none") != "none":
        does = f"{does + ', ' if does else ''}gathered by {rule['gather']}"
    then = f'<br><span class="ax-quiet ax-small">then {escape(does)}</span>' if does else ""
    said = f'<span class="ax-small">{escape("; ".join(asks))}</span>'
    return f'<span class="ax-title">{escape(rule["name"])}</span><br>{said}{then}'


# one rule


def open_rule(ruleset: str, name: str | None) -> None:
    found, etag = signin.client().item("rulesets", ruleset)
    if name is None:
        priority = max((r.get("priority", 0) for r in found.get("rules", [])), default=0) + 10
        rule: dict[str, Any] = {"priority": priority, "state": "shadow"}
    else:
        rule = next((r for r in found.get("rules", []) if r["name"] == name), {})
    editing.start(Draft("rule", name, rule, etag, {"ruleset": found}))


def open_shown(place: str) -> None:
    """What an address names, `ruleset/rule`; where it is not there (any more), that is said above the list."""
    ruleset, _, rule = place.partition("/")
    found = next((r for r in signin.client().items("rulesets") if r["name"] == ruleset), {})
    if any(r["name"] == rule for r in found.get("rules", [])):
        open_rule(ruleset, rule)
    else:
        st.warning(f"There is no rule {parts.md(place)} any more.")


def rule_fields() -> list[dict[str, Any]]:
    told = signin.client().families()["rulesets"]
    fields = told.get("fields", [])
    nested = next((f["item"]["fields"] for f in fields if f["name"] == "rules" and f.get("item")), [])
    return sorted(nested, key=lambda f: ORDER.index(f["name"]) if f["name"] in ORDER else len(ORDER))


def rule_editor(draft: Draft) -> None:
    ruleset = draft.more["ruleset"]
    back()
    parts.title(
        draft.name or "New rule",
        f"In the ruleset {ruleset['name']}, which runs {MODES.get(ruleset.get('mode', 'ALL_MATCHES'))}.",
    )
    rule = Form(signin.client()).ask(rule_fields(), draft.item, draft.key, draft.problems)
    with st.container(horizontal=True):
        if not signin.may("edit"):
            st.caption(parts.LOOK_ONLY)
        elif st.button("Save", type="primary", key=f"{draft.key}-save") and save_rule(draft, rule):
            st.rerun()
        if signin.may("edit") and draft.name and parts.confirm(
            "Delete", f"Delete the rule **{parts.md(draft.name)}**? A rollback brings it back.", "gone"
        ):
            change(ruleset["name"], lambda r: with_rule(r, draft.name, None), f"{draft.name} is deleted.")
            editing.leave()
            st.rerun()
        if st.button("What would this have done?", key=f"{draft.key}-whatif", icon=":material/history_toggle_off:"):
            words = f"{ruleset['name']}/{rule.get('name') or 'the new rule'}, as edited"
            st.session_state["whatif-draft"] = {"words": words, "configuration": document(ruleset, draft.name, rule)}
            st.session_state.pop("whatif-answer", None)
            st.switch_page("workbench/pages/whatif.py")
    st.html('<h3 style="padding-top:1.2rem">Try it before it is saved</h3>')
    trial.panel(
        draft.key, only=(ruleset["name"], rule.get("name", "")), draft=lambda: document(ruleset, draft.name, rule)
    )


def save_rule(draft: Draft, rule: Mapping[str, Any]) -> bool:
    ruleset = draft.more["ruleset"]
    whole = Draft("rulesets", ruleset["name"], {}, draft.etag)
    try:
        signin.client().save("rulesets", ruleset["name"], with_rule(ruleset, draft.name, rule), draft.etag)
    except Refused as e:
        name, place = str(rule.get("name", "")), len(ruleset.get("rules", [])) - (1 if draft.name else 0)
        found = editing.own_problems(e.problems, whole.family, ruleset["name"], "rules", name)
        draft.problems = editing.own_problems(found, place)
        if not draft.problems:
            parts.say(e)
            return False
        return True
    editing.leave()
    st.toast(f"{rule['name']} is saved and takes effect within seconds.", icon=":material/check:")
    return True


def document(ruleset: Mapping[str, Any], old: str | None, rule: Mapping[str, Any]) -> dict[str, Any]:
    """The whole configuration as it would be with this draft, the rule switched on so that it speaks."""
    whole = signin.client().get("/config")
    speaking = {**rule, "state": "live" if rule.get("state") == "off" else rule.get("state", "live")}
    new = with_rule(ruleset, old, speaking)
    return {**whole, "rulesets": [new if r["name"] == ruleset["name"] else r for r in whole["rulesets"]]}


# one ruleset


def ruleset_editor(draft: Draft) -> None:
    back()
    parts.title(draft.name or "New ruleset")
    told = signin.client().families()["rulesets"]
    fields = [f for f in told["fields"] if f["name"] != "rules"]
    item = Form(signin.client(), later=()).ask(fields, draft.item, draft.key, draft.problems)
    if draft.name:
        item["rules"] = draft.item.get("rules", [])
    with st.container(horizontal=True):
        if st.button("Save", type="primary", key=f"{draft.key}-save") and editing.save(
            draft, item, label=item.get("name", "")
        ):
            st.rerun()
        rules = parts.plural(len(draft.item.get("rules", [])), "rule")
        question = f"Delete **{parts.md(draft.name)}** and its {rules}? A rollback in Revisions brings them back."
        if draft.name and parts.confirm("Delete", question, "gone"):
            signin.client().delete("rulesets", draft.name)
            editing.leave()
            st.rerun()


def back() -> None:
    if st.button("All rules", icon=":material/arrow_back:", type="tertiary"):
        editing.leave()
        st.rerun()


def page() -> None:
    if show := st.query_params.get("show"):
        del st.query_params["show"]
        open_shown(show)
    for family, draw in (("rule", rule_editor), ("rulesets", ruleset_editor)):
        if (draft := editing.current(family)) is not None:
            draw(draft)
            return
    if editing.current("trial") is not None:
        back()
        parts.title("Try a file", "What every rule says of one DICOM file, and why. Nothing is kept, changed or sent.")
        trial.panel("trial")
        return
    listing()


page()
