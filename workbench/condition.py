"""The editor of conditions: groups and lines that read as a sentence, tags found by name while typing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from workbench import tree
from workbench.client import ApiError, Client, Problem
from workbench.parts import md
from workbench.tree import Node

__all__ = ["edit_condition", "tag_choices", "tag_input"]

WIDTHS = [3.2, 2.2, 3.2, 1.15, 0.55]


def edit_condition(
    client: Client, value: Mapping[str, Any] | None, key: str, problems: Sequence[Problem], *, association: bool = False
) -> dict[str, Any] | None:
    """Draw the editor; the condition as it stands. `problems` have places relative to the condition."""
    held = f"{key}-tree"
    if held not in st.session_state:
        st.session_state[held] = tree.load(value)
    root: Node = st.session_state[held]
    at = {i: where for i, where in tree.place(root, association=association).items() if where}
    editor = _Editor(client, key, association, problems, at)
    if not root["items"]:
        st.caption("Any sender." if association else "Every image: no condition is set.")
        st.button("Add a condition", key=f"{key}-first", icon=":material/add:", on_click=_add, args=(root, tree.leaf()))
        return None
    editor.group(root, None)
    editor.rest()
    return tree.save(root, association=association)


class _Editor:
    def __init__(
        self, client: Client, key: str, association: bool, problems: Sequence[Problem], at: Mapping[int, Any]
    ) -> None:
        self.client, self.key, self.association, self.at = client, key, association, at
        self.open = list(problems)

    def group(self, node: Node, parent: Node | None) -> None:
        key = f"{self.key}-{node['id']}"
        with st.container(border=True):
            left, right = st.columns([6, 1], vertical_alignment="center")
            kinds = list(tree.GROUPS)
            node["group"] = left.segmented_control(
                "How the lines go together",
                kinds,
                default=node["group"],
                required=True,
                format_func=lambda k: f"{tree.GROUPS[k]} these",
                key=f"{key}-kind",
                label_visibility="collapsed",
            )
            if parent is not None:
                _remove_button(right, parent, node, key)
            for item in list(node["items"]):
                if "group" in item:
                    self.group(item, node)
                else:
                    self.leaf(item, node)
            buttons = st.container(horizontal=True)
            add, nest = ("Condition", tree.leaf), ("Group", lambda: tree.group("any", [tree.leaf()]))
            for label, make in (add, nest):
                buttons.button(
                    label,
                    key=f"{key}-add-{label}",
                    icon=":material/add:",
                    type="tertiary",
                    on_click=_grow,
                    args=(node, make),
                )

    def leaf(self, node: Node, parent: Node) -> None:
        key = f"{self.key}-{node['id']}"
        what, op, value, case, gone = st.columns(WIDTHS, vertical_alignment="bottom")
        with what:
            if self.association:
                fields = list(tree.ASSOCIATION)
                index = fields.index(node["what"]) if node["what"] in fields else None
                node["what"] = (
                    st.selectbox(
                        "Of the sender",
                        fields,
                        index=index,
                        format_func=tree.ASSOCIATION.__getitem__,
                        placeholder="Choose…",
                        key=f"{key}-what",
                        label_visibility="collapsed",
                    )
                    or ""
                )
            else:
                node["what"] = tag_input(self.client, "Tag", node["what"], f"{key}-what")
        words = tree.ops_for(node["what"])
        if node["op"] not in words:
            node["op"] = "eq"
        node["op"] = op.selectbox(
            "Operator",
            list(words),
            index=list(words).index(node["op"]),
            format_func=words.__getitem__,
            key=f"{key}-op",
            label_visibility="collapsed",
        )
        with value:
            self.value(node, key)
        if node["op"] not in tree.NO_CASE:
            ignore = case.checkbox(
                "any case", bool(node["more"].get("ignore_case")), key=f"{key}-case", help="Do not tell CT from ct"
            )
            node["more"] = {k: v for k, v in node["more"].items() if k != "ignore_case"} | (
                {"ignore_case": True} if ignore else {}
            )
        _remove_button(gone, parent, node, key)
        self.say(node)

    def value(self, node: Node, key: str) -> None:
        old = node["value"]
        if node["op"] in tree.NO_VALUE:
            return
        if node["op"] in tree.MANY_VALUES:
            chosen = (
                [str(v) for v in old] if isinstance(old, (list, tuple)) else [str(old)] if old not in (None, "") else []
            )
            node["value"] = st.multiselect(
                "Values",
                chosen,
                default=chosen,
                accept_new_options=True,
                placeholder="Type, then Enter",
                key=f"{key}-values",
                label_visibility="collapsed",
            )
            return
        text = ", ".join(map(str, old)) if isinstance(old, (list, tuple)) else "" if old is None else str(old)
        given = st.text_input("Value", text, key=f"{key}-value", placeholder="value", label_visibility="collapsed")
        node["value"] = old if given == text and old is not None and not isinstance(old, (list, tuple)) else given

    def say(self, node: Node) -> None:
        """The problems of this line, under it."""
        where = self.at.get(node["id"])
        for problem in list(self.open):
            if (where is not None and problem.loc[: len(where)] == where) or (
                where is None and node["what"] and self._lone()
            ):
                self.open.remove(problem)
                st.markdown(f":red[{md(problem.words)}]")

    def _lone(self) -> bool:
        return not self.at

    def rest(self) -> None:
        for problem in self.open:
            st.markdown(f":red[{md(problem.words)}]")


def _add(node: Node, item: Node) -> None:
    node["items"].append(item)


def _grow(node: Node, make: Any) -> None:
    node["items"].append(make())


def _remove(parent: Node, node: Node) -> None:
    parent["items"] = [item for item in parent["items"] if item["id"] != node["id"]]


def _remove_button(place: Any, parent: Node, node: Node, key: str) -> None:
    place.button(
        "",
        key=f"{key}-gone",
        icon=":material/close:",
        type="tertiary",
        help="Take this away",
        on_click=_remove,
        args=(parent, node),
    )


def tag_choices(client: Client, query: str = "") -> dict[str, str]:
    """Tags by keyword, each with the words to show; the usual ones for an empty query."""
    held: dict[str, dict[str, str]] = st.session_state.setdefault("tag-choices", {})
    if query not in held:
        found = client.get("/tags", q=query)
        rows = found if isinstance(found, list) else found.get("tags", found.get("items", []))
        held[query] = {
            str(
                t.get("keyword") or t.get("tag")
            ): f"{t.get('keyword') or t.get('tag')}   {t.get('tag', '')}  {t.get('vr', '')}"
            for t in rows
        }
    return held[query]


def tag_input(client: Client, label: str, value: str, key: str, *, help: str = "", visible: bool = False) -> str:
    """A tag path: chosen from the usual ones, or typed (keyword, number, sequence path, private tag)."""
    try:
        usual = tag_choices(client)
    except ApiError:
        usual = {}
    typed = str(st.session_state.get(key) or value or "")
    options = list(dict.fromkeys([*([value] if value else []), *([typed] if typed else []), *usual]))
    chosen = st.selectbox(
        label,
        options,
        index=options.index(value) if value else None,
        format_func=lambda k: usual.get(k, k),
        accept_new_options=True,
        placeholder="Choose or type a tag",
        key=key,
        help=help or None,
        label_visibility="visible" if visible else "collapsed",
    )
    if chosen and chosen not in usual and chosen.isalnum():
        _suggest(client, chosen)
    return chosen or ""


def _suggest(client: Client, typed: str) -> None:
    try:
        found = tag_choices(client, typed)
    except ApiError:
        return
    if typed not in found:
        near = ", ".join(list(found)[:4])
        st.caption(f"There is no tag {md(typed)}." + (f" Did you mean {md(near)}?" if near else ""))
