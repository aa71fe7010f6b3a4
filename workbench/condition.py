"""The editor of conditions: groups and lines that read as a sentence, tags found by name while typing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from workbench import tree
from workbench.client import ApiError, Client, Problem
from workbench.parts import md
from workbench.tree import Node

__all__ = ["USUAL", "edit_condition", "tag_input"]

USUAL = (
    "AccessionNumber", "BodyPartExamined", "ImageType", "InstitutionName", "Manufacturer", "ManufacturerModelName",
    "Modality", "PatientBirthDate", "PatientID", "PatientName", "PatientSex", "ProtocolName", "ReferringPhysicianName",
    "RequestedProcedureDescription", "SOPClassUID", "SOPInstanceUID", "SeriesDescription", "SeriesInstanceUID",
    "SeriesNumber", "SliceThickness", "StationName", "StudyDate", "StudyDescription", "StudyID", "StudyInstanceUID",
)  # fmt: skip
"""The tags that most rules ask: offered before anything is typed."""
WIDTHS = [3.2, 2.2, 3, 1.5, 0.5]


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
            ignore = case.checkbox("any case", bool(node["more"].get("ignore_case")), key=f"{key}-case")
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


def tags_like(client: Client, query: str) -> dict[str, str]:
    """Tags whose keyword, name or number fits: by keyword, each with the words to show. Asked once a sign-in."""
    held: dict[str, dict[str, str]] = st.session_state.setdefault("tags-like", {})
    if query not in held:
        held[query] = {t["keyword"] or t["tag"]: _tag_words(t) for t in client.get("/tags", q=query)}
    return held[query]


def _tag_words(tag: Mapping[str, Any]) -> str:
    return f"{tag['keyword']} ({tag['tag'][:4]},{tag['tag'][4:]}) {tag['vr']}"


def tag_input(client: Client, label: str, value: str, key: str, *, help: str = "", visible: bool = False) -> str:
    """A tag path: one of the usual ones, or typed (keyword, number, sequence path, private tag). What is typed and is no
    whole keyword brings the tags that it could mean.
    """
    typed = str(st.session_state.get(key) or value or "")
    options = list(dict.fromkeys([*filter(None, (value, typed)), *USUAL]))
    chosen = st.selectbox(
        label,
        options,
        index=options.index(value) if value else None,
        accept_new_options=True,
        placeholder="Choose or type a tag",
        key=key,
        help=help or None,
        label_visibility="visible" if visible else "collapsed",
    )
    if chosen and chosen not in USUAL and re.fullmatch(r"[A-Za-z ]+", chosen):
        _suggest(client, chosen, key)
    return chosen or ""


def _suggest(client: Client, typed: str, key: str) -> None:
    try:
        found = tags_like(client, typed)
    except ApiError:
        return  # the field works without help; saving says what is wrong
    if typed in found:
        return
    if not found:
        st.caption(f"No tag is called {md(typed)}.")
    for keyword, words in list(found.items())[:5]:
        st.button(words, key=f"{key}-{keyword}", type="tertiary", on_click=_take, args=(key, keyword))


def _take(key: str, keyword: str) -> None:
    st.session_state[key] = keyword
