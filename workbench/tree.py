"""Condition trees as an editor holds them: groups and leaves with stable ids, made from the configuration's shape and back.

The configuration says `all`, `any`, `not`; people choose "all of", "any of", "none of", "not all of". What is saved says
the same as what was read: `not` of a group becomes one of the two negative groups, and `not` of a leaf "none of" one.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

__all__ = ["ASSOCIATION", "GROUPS", "OPS", "group", "leaf", "load", "place", "save", "words"]

OPS = {
    "eq": "is", "ne": "is not", "contains": "contains", "not_contains": "does not contain", "startswith": "begins with",
    "endswith": "ends with", "in": "is one of", "not_in": "is none of", "gt": "is more than", "ge": "is at least",
    "lt": "is less than", "le": "is at most", "exists": "is there", "not_exists": "is missing", "regex": "matches",
    "not_regex": "does not match",
}  # fmt: skip
ADDRESS_OPS = {
    "ip_eq": "is the address", "ip_startswith": "is an address that begins with", "ip_in_subnet": "is in the subnet",
}  # fmt: skip
ASSOCIATION = {
    "calling_ae": "Calling AE title", "called_ae": "Called AE title", "source_ip": "IP address", "user": "User",
    "tls_subject": "TLS subject",
}  # fmt: skip
GROUPS = {"all": "all of", "any": "any of", "none": "none of", "not_all": "not all of"}
NO_VALUE = {"exists", "not_exists"}
MANY_VALUES = {"in", "not_in"}
NO_CASE = {"exists", "not_exists", "gt", "ge", "lt", "le", *ADDRESS_OPS}

_ids = itertools.count(1)
Node = dict[str, Any]


def leaf(what: str = "", op: str = "eq", value: Any = None, **more: Any) -> Node:
    return {"id": next(_ids), "what": what, "op": op, "value": value, "more": more}


def group(kind: str = "all", items: list[Node] | None = None, *, bare: bool = True) -> Node:
    """`bare`: of one item alone it is written as that item. A group that was written as a group of one stays one."""
    return {"id": next(_ids), "group": kind, "items": items or [], "bare": bare}


def ops_for(what: str) -> dict[str, str]:
    return OPS | (ADDRESS_OPS if what == "source_ip" else {})


def load(tree: Mapping[str, Any] | None) -> Node:
    """The editor's root (always a group) for a condition; None: an empty one, that every image meets."""
    if not tree:
        return group("all")
    node = _load(tree)
    return node if "group" in node else group("all", [node])


def _load(tree: Mapping[str, Any]) -> Node:
    for kind in ("all", "any"):
        if kind in tree:
            return group(kind, [_load(t) for t in tree[kind]], bare=False)
    if "not" in tree:
        inner = _load(tree["not"])
        if inner.get("group") in ("any", "all"):
            return group({"any": "none", "all": "not_all"}[inner["group"]], inner["items"], bare=False)
        return group("none", [inner])
    if "tag" in tree:
        more = {k: v for k, v in tree.items() if k not in ("tag", "op", "value") and v is not None}
        return leaf(tree["tag"], tree.get("op", "eq"), tree.get("value"), **more)
    fields = [_load_association(what, test) for what, test in tree.items()]
    return fields[0] if len(fields) == 1 else group("all", fields)


def _load_association(what: str, test: Any) -> Node:
    if not isinstance(test, Mapping):
        return leaf(what, "eq", test)
    more = {k: v for k, v in test.items() if k not in ("op", "value") and v is not None}
    return leaf(what, test.get("op", "eq"), test.get("value"), **more)


def save(node: Node, *, association: bool = False) -> dict[str, Any] | None:
    """The condition as the configuration writes it; empty groups say nothing and are left out."""
    if "group" not in node:
        return _save_leaf(node, association=association)
    items = [saved for item in node["items"] if (saved := save(item, association=association)) is not None]
    if not items:
        return None
    kind = node["group"]
    alone = len(items) == 1 and node["bare"]
    if kind in ("none", "not_all"):
        return {"not": items[0] if alone else {"any" if kind == "none" else "all": items}}
    return items[0] if alone else {kind: items}


def _save_leaf(node: Node, *, association: bool) -> dict[str, Any] | None:
    if not node["what"]:
        return None
    test: dict[str, Any] = {"op": node["op"]}
    if node["op"] not in NO_VALUE:
        test["value"] = node["value"] if node["value"] is not None else ([] if node["op"] in MANY_VALUES else "")
    test |= {k: v for k, v in node["more"].items() if k != "ignore_case" or node["op"] not in NO_CASE}
    return {node["what"]: test} if association else {"tag": node["what"], **test}


def place(root: Node, *, association: bool = False) -> dict[int, tuple[str | int, ...]]:
    """Where each node stands in what `save` makes: problems that the API tells by place find their line so."""
    found: dict[int, tuple[str | int, ...]] = {}

    def walk(node: Node, at: tuple[str | int, ...]) -> None:
        found[node["id"]] = (*at, node["what"]) if association and "group" not in node else at
        if "group" not in node:
            return
        items = [i for i in node["items"] if save(i, association=association) is not None]
        negative = node["group"] in ("none", "not_all")
        kind = {"none": "any", "not_all": "all"}.get(node["group"], node["group"])
        inner = (*at, "not") if negative else at
        for i, item in enumerate(items):
            walk(item, inner if len(items) == 1 and node["bare"] else (*inner, kind, i))

    walk(root, ())
    return found


def words(tree: Mapping[str, Any] | None) -> str:
    """A condition in words, for lists: `Modality is CT and none of (PatientID begins with TEST)`."""
    root = load(tree)
    return _words(root) if root["items"] else ""


def _words(node: Node) -> str:
    if "group" in node:
        inner = [_inner(i) for i in node["items"]]
        kind = node["group"]
        if kind == "none":
            return "not " + (inner[0] if len(inner) == 1 else f"({' or '.join(inner)})")
        if kind == "not_all":
            return f"not ({' and '.join(inner)})"
        return {"all": " and ", "any": " or "}[kind].join(inner)
    what = ASSOCIATION.get(node["what"], node["what"])
    said = f"{what} {ops_for(node['what']).get(node['op'], node['op'])}"
    if node["op"] in NO_VALUE:
        return said
    value = node["value"]
    return f"{said} {', '.join(map(str, value)) if isinstance(value, (list, tuple)) else value}"


def _inner(node: Node) -> str:
    text = _words(node)
    return f"({text})" if "group" in node and len(node["items"]) > 1 and node["group"] in ("all", "any") else text
