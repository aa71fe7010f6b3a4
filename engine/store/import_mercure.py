"""mercure's targets and rules (mercure.json) as destinations and one ruleset.

A rule of mercure is a Python expression over `tags.Tag` (`@Tag@` and `%Tag%` in older versions). It is read as a syntax tree,
never run: comparisons with constants, `in`, `startswith`, `endswith`, `and`, `or`, `not` become a condition; a rule that says
anything else is left out, with a note, for a rule that asks less than it did would send what it should not. For the same reason
the condition of a rule that discards is taken out of all others, and where that cannot be said the others come switched off.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from engine.errors import Invalid, Problem
from engine.store.imported import Imported, as_name, read_json, unfamiliar

__all__ = ["condition_of", "import_mercure"]

TARGET = {"target_type", "ip", "port", "aet_target", "aet_source", "contact", "comment", "folder", "direction"}
RULE = {
    "rule", "target", "disabled", "comment", "contact", "action", "action_trigger", "fallback", "priority",
    "notification_email_type", "notification_trigger_reception", "notification_trigger_completion",
    "notification_trigger_error", "study_trigger_condition",
}  # fmt: skip
SENDER = {"SenderAET": "calling_ae", "ReceiverAET": "called_ae", "SenderAddress": "source_ip", "SenderIP": "source_ip"}
COMPARE: dict[type[ast.cmpop], str] = {ast.Eq: "eq", ast.Gt: "gt", ast.GtE: "ge", ast.Lt: "lt", ast.LtE: "le"}
TURNED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge", "eq": "eq"}
METHODS = {"startswith", "endswith"}

Tree = dict[str, Any]


def import_mercure(text: str) -> Imported:
    """Takes mercure.json. Raises Invalid when it has no targets and no rules."""
    data = read_json(text)
    targets, rules = data.get("targets") or {}, data.get("rules") or {}
    if not isinstance(targets, dict) or not isinstance(rules, dict) or not (targets or rules):
        raise Invalid([Problem((), "There are no targets and rules in this file: is it mercure.json?")])
    out, names = Imported(), dict[str, str]()
    taken = set[str]()
    for name, target in targets.items():
        item = _destination(str(name), target, out) if isinstance(target, dict) else None
        if item is not None:
            names[name] = as_name(str(name), taken)
            out.add("destinations", {"name": names[name], **item})
    kept: list[dict[str, Any]] = []
    called = set[str]()
    discards = _Discards(rules, out)
    for number, (name, rule) in enumerate(rules.items(), 1):
        if (item := _rule(str(name), rule, names, out)) is not None:
            if not _discards(rule):
                discards.taken_out_of(item)
            kept.append({"name": as_name(str(name), called), "priority": number * 10, **item})
    if kept:
        out.add("rulesets", {"name": "mercure", "priority": 10, "rules": kept})
    if data.get("modules"):
        out.notes.append(f"Processing modules are not carried over: {', '.join(map(str, data['modules']))}.")
    return out


def _destination(name: str, target: Mapping[str, Any], out: Imported) -> dict[str, Any] | None:
    kind = str(target.get("target_type") or "dicom")  # the older files know no other kind, and do not name it
    out.notes.extend(unfamiliar("The target", name, target, TARGET))
    item: dict[str, Any]
    match kind:
        case "dicom" if re.fullmatch("[0-9]{1,5}", str(target.get("port", ""))):
            item = {
                "kind": "dimse", "host": str(target.get("ip", "")), "port": int(target["port"]),
                "ae_title": str(target.get("aet_target") or "ANY-SCP"),
            }  # fmt: skip
            if target.get("aet_source"):
                item["calling_ae_title"] = str(target["aet_source"])
        case "folder":
            item = {"kind": "filesystem", "path": str(target.get("folder", ""))}
        case "dicom":
            out.notes.append(f"The target {name} has no port that is a number: left out.")
            return None
        case "dummy":
            item = {"kind": "nothing"}
        case _:
            out.notes.append(f"The target {name} is of the kind {kind}, which is not carried over: add it by hand.")
            return None
    if said := " ".join(filter(None, (str(target.get("comment") or ""), str(target.get("contact") or "")))):
        item["description"] = said
    return item


def _rule(name: str, rule: Any, names: Mapping[str, str], out: Imported) -> dict[str, Any] | None:
    if not isinstance(rule, dict):
        return None
    where, left_out = f"The rule {name}", f"The rule {name} is left out"
    wanted = rule.get("target") or []
    known = [names[t] for t in ([wanted] if isinstance(wanted, str) else wanted) if t in names]
    action = str(rule.get("action") or "route")
    if action not in ("route", "both", "discard"):
        out.notes.append(f"{left_out}: its action is {action}.")
        return None
    if _yes(rule.get("fallback")):
        out.notes.append(f"{left_out}: it is the fallback for what no other rule takes; here that is kept as unmatched.")
        return None
    if not known and action != "discard":
        out.notes.append(f"{left_out}: none of its targets was carried over.")
        return None
    try:
        when, association = condition_of(str(rule.get("rule") or "False"))
    except ValueError as e:
        out.notes.append(f"{left_out}: {e}.")
        return None
    if action == "both":
        out.notes.append(f"{where}: images are sent as they are; its processing is not carried over.")
    if rule.get("action_trigger") == "study":
        out.notes.append(f"{where}: it waited for the whole study; here each image is decided as it comes.")
    if rule.get("priority") not in (None, "", "normal"):
        out.notes.append(f"{where}: the priority {rule['priority']} is not carried over; a schedule can do so.")
    out.notes.extend(unfamiliar("The rule", name, rule, RULE))
    item: dict[str, Any] = {"state": "off" if _yes(rule.get("disabled")) else "live", "destinations": known}
    item |= {k: v for k, v in (("when", when), ("association", association)) if v is not None}
    if rule.get("comment"):
        item["description"] = str(rule["comment"])
    return item


def _discards(rule: Any) -> bool:
    return isinstance(rule, dict) and rule.get("action") == "discard"


class _Discards:
    """mercure's rules that discard: what one takes goes nowhere, whatever the other rules say."""

    def __init__(self, rules: Mapping[str, Any], out: Imported) -> None:
        self._when: list[Tree] = []
        self._association: list[Tree] = []
        self._unsaid = ""
        for name, rule in rules.items():
            if _discards(rule) and not _yes(rule.get("disabled")) and not self._read(str(rule.get("rule") or "False")):
                self._unsaid = str(name)
        if self._unsaid:
            out.notes.append(
                f"The rule {self._unsaid} discards, and what it takes cannot be taken out of the other rules: they are switched "
                "off. Say it in each of them before you switch them on."
            )

    def _read(self, text: str) -> bool:
        """Whether the rest of the rules can be said: no rule here holds a tag or a sender to be enough."""
        try:
            when, association = condition_of(text)
        except ValueError:
            return False
        if (when is None) == (association is None):
            return False
        if when is not None:
            self._when.append(when)
        if association is not None:
            self._association.append(association)
        return True

    def taken_out_of(self, item: dict[str, Any]) -> None:
        """Change a rule so that it does not match what is discarded."""
        if self._unsaid:
            item["state"] = "off"
        for key, trees in (("when", self._when), ("association", self._association)):
            parts = [item[key]] if key in item else []
            if (tree := _all(parts + [{"not": one} for one in trees])) is not None:
                item[key] = tree


def _yes(value: Any) -> bool:
    """A switch: mercure's own files write it as true, "True" or "False"."""
    return value.strip().lower() == "true" if isinstance(value, str) else bool(value)


def condition_of(text: str) -> tuple[Tree | None, Tree | None]:
    """An expression of mercure as (condition, condition on the sender); None: no such condition. Raises ValueError with what
    cannot be said here."""
    source = re.sub(r"@(\w+)@|%(\w+)%", lambda m: f"tags.{m[1] or m[2]}", text.strip())
    try:
        tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise ValueError(f"its expression cannot be read: {text[:200]}") from e
    parts = [_tree(part) for part in _conjuncts(tree)]
    when = [part for kind, part in parts if kind == "tag"]
    association = [part for kind, part in parts if kind == "sender"]
    return _all(when), _all(association)


def _conjuncts(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.Constant) and node.value is True:
        return []
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return [one for value in node.values for one in _conjuncts(value)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
        return [*_conjuncts(node.left), *_conjuncts(node.right)]
    return [node]


def _all(trees: list[Tree]) -> Tree | None:
    return ({"all": trees} if len(trees) > 1 else trees[0]) if trees else None


def _tree(node: ast.expr) -> tuple[str, Tree]:
    """("tag" or "sender", condition): one part of an expression asks for one of the two."""
    match node:
        case ast.BoolOp(op=op, values=values):
            return _several("all" if isinstance(op, ast.And) else "any", values)
        case ast.BinOp(op=ast.BitOr() | ast.BitAnd(), left=left, right=right):
            return _several("all" if isinstance(node.op, ast.BitAnd) else "any", [left, right])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            kind, tree = _tree(operand)
            return kind, {"not": tree}
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _compare(left, op, right)
        case ast.Call(func=ast.Attribute(value=value, attr=attr), args=[ast.Constant(value=str(text))], keywords=[]) if (
            attr in METHODS
        ):
            return _leaf(value, attr, text)
    raise ValueError(f"it says `{ast.unparse(node)[:120]}`, which cannot be said here")


def _several(word: str, values: list[ast.expr]) -> tuple[str, Tree]:
    parts = [_tree(value) for value in values]
    if len({kind for kind, _ in parts}) > 1:
        raise ValueError("it mixes tags and the sender under `or` or `not`, which cannot be said here")
    return parts[0][0], {word: [tree for _, tree in parts]}


def _compare(left: ast.expr, op: ast.cmpop, right: ast.expr) -> tuple[str, Tree]:
    if isinstance(op, (ast.NotEq, ast.NotIn)):  # on a missing tag mercure says yes: so does `not`
        kind, tree = _compare(left, ast.Eq() if isinstance(op, ast.NotEq) else ast.In(), right)
        return kind, {"not": tree}
    if isinstance(op, ast.In):
        if isinstance(left, ast.Constant) and isinstance(left.value, str):
            return _leaf(right, "contains", left.value)
        if isinstance(right, (ast.List, ast.Tuple, ast.Set)):
            return _leaf(left, "in", [_constant(one) for one in right.elts])
    elif type(op) in COMPARE:
        word = COMPARE[type(op)]
        if isinstance(left, ast.Constant):
            left, right, word = right, left, TURNED[word]
        if word != "eq" and isinstance(right, ast.Constant) and isinstance(right.value, str):
            raise ValueError("it compares texts by their order, which cannot be said here")
        return _leaf(left, word, _constant(right))
    raise ValueError(f"it says `{ast.unparse(left)} ... {ast.unparse(right)}`, which cannot be said here")


def _leaf(node: ast.expr, op: str, value: Any) -> tuple[str, Tree]:
    ignore_case = number = False
    while isinstance(node, ast.Call):
        match node:
            case ast.Call(func=ast.Name(id="float" | "int" | "str" as cast), args=[inner], keywords=[]):
                node, number = inner, cast != "str"
            case ast.Call(func=ast.Attribute(value=inner, attr="lower"), args=[], keywords=[]):
                if not _lower(value):
                    raise ValueError("it compares what it made lower with what is not, so it never matched")
                node, ignore_case = inner, True
            case ast.Call(func=ast.Attribute(value=inner, attr="get"), args=[ast.Constant(value=str(tag)), *_]):
                node = ast.Attribute(value=inner, attr=tag)
            case _:
                break
    if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tags"):
        raise ValueError(f"it says `{ast.unparse(node)[:120]}`, which cannot be said here")
    if number is not all(isinstance(v, (int, float)) for v in (value if isinstance(value, list) else [value])):
        raise ValueError("it compares text with a number (mercure needs float(...) there), so it never matched")
    test: Tree = {"op": op, "value": value} | ({"ignore_case": True} if ignore_case else {})
    if node.attr in SENDER:
        return "sender", {SENDER[node.attr]: test}
    return "tag", {"tag": node.attr, **test}


def _lower(value: Any) -> bool:
    return all(isinstance(v, str) and v == v.lower() for v in (value if isinstance(value, list) else [value]))


def _constant(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float)) and not isinstance(node.value, bool):
        return node.value
    raise ValueError(f"it says `{ast.unparse(node)[:120]}` where a value is expected")
