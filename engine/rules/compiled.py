"""A condition compiled once: each leaf a closure, shared by every rule that asks the same, asked once an instance.

A node answers twice: `holds` quickly, and `reasons` in words for the leaves that decided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from engine.dicom.header import Element, Header
from engine.dicom.paths import TagPath
from engine.model import Association
from engine.rules.condition import SenderLeaf, TagLeaf
from engine.rules.kinds import OPAQUE
from engine.rules.leaf import Leaf, sender_leaf, text_test

__all__ = ["Compiler", "Node", "Seen"]

SHOWN = 64
"""Characters of a value that a reason shows."""


class Seen:
    """One instance as the rules look at it: what was found and what was answered, once for all rules."""

    __slots__ = ("answers", "association", "elements", "header", "received_at", "shown")

    def __init__(self, header: Header, association: Association, received_at: datetime) -> None:
        self.header = header
        self.association = association
        self.received_at = received_at
        self.elements: dict[str, list[Element]] = {}
        self.answers: dict[Any, bool] = {}
        self.shown: dict[str, str] = {}

    def with_header(self, header: Header) -> Seen:
        """The same with other tags."""
        return self if header is self.header else Seen(header, self.association, self.received_at)

    def find(self, key: str, path: TagPath) -> list[Element]:
        """What a path leads to. `key` is the path's text: it is looked up far faster than the path itself."""
        found = self.elements.get(key)
        if found is None:
            found = self.elements[key] = self.header.find(path)
        return found


class Node:
    """A part of a condition."""

    __slots__ = ()

    def holds(self, seen: Seen) -> bool:
        raise NotImplementedError

    def reasons(self, seen: Seen) -> list[str]:
        """The parts that decided, each with the value seen: "Modality eq CT: is MR"."""
        raise NotImplementedError

    def paths(self) -> set[TagPath]:
        """Every tag path that it may look at."""
        raise NotImplementedError


class _Tag(Node):
    __slots__ = ("key", "leaf", "path", "words")

    def __init__(self, path: TagPath, leaf: Leaf, words: str) -> None:
        self.key = str(path)
        self.path = path
        self.leaf = leaf
        self.words = words

    def holds(self, seen: Seen) -> bool:
        answer = seen.answers.get(self)
        if answer is None:
            answer = seen.answers[self] = self.leaf.holds(seen.find(self.key, self.path))
        return answer

    def reasons(self, seen: Seen) -> list[str]:
        shown = seen.shown.get(self.key)
        if shown is None:
            shown = seen.shown[self.key] = _shown(seen.find(self.key, self.path))
        return [f"{self.words}: {shown}"]

    def paths(self) -> set[TagPath]:
        return {self.path}


class _Sender(Node):
    __slots__ = ("field", "test", "words")

    def __init__(self, field: str, test: Callable[[str], bool], words: str) -> None:
        self.field = field
        self.test = test
        self.words = words

    def holds(self, seen: Seen) -> bool:
        return self.test(getattr(seen.association, self.field))

    def reasons(self, seen: Seen) -> list[str]:
        value = getattr(seen.association, self.field)
        return [f"{self.words}: {f'is {_cut(value)}' if value else 'missing'}"]

    def paths(self) -> set[TagPath]:
        return set()


class _All(Node):
    __slots__ = ("nodes",)

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = tuple(nodes)

    def holds(self, seen: Seen) -> bool:
        for node in self.nodes:  # noqa: SIM110  (a generator costs as much as the leaves)
            if not node.holds(seen):
                return False
        return True

    def reasons(self, seen: Seen) -> list[str]:
        for node in self.nodes:
            if not node.holds(seen):
                return node.reasons(seen)
        return [reason for node in self.nodes for reason in node.reasons(seen)]

    def paths(self) -> set[TagPath]:
        return {path for node in self.nodes for path in node.paths()}


class _Any(Node):
    __slots__ = ("nodes",)

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = tuple(nodes)

    def holds(self, seen: Seen) -> bool:
        for node in self.nodes:  # noqa: SIM110
            if node.holds(seen):
                return True
        return False

    def reasons(self, seen: Seen) -> list[str]:
        for node in self.nodes:
            if node.holds(seen):
                return node.reasons(seen)
        return [reason for node in self.nodes for reason in node.reasons(seen)]

    def paths(self) -> set[TagPath]:
        return {path for node in self.nodes for path in node.paths()}


class _Not(Node):
    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def holds(self, seen: Seen) -> bool:
        return not self.node.holds(seen)

    def reasons(self, seen: Seen) -> list[str]:
        return [f"not {reason}" for reason in self.node.reasons(seen)]

    def paths(self) -> set[TagPath]:
        return self.node.paths()


class Compiler:
    """Makes nodes of conditions; equal leaves become one node, whose answer is kept for the instance."""

    def __init__(self) -> None:
        self._leaves: dict[Any, Node] = {}

    def node(self, condition: Any) -> Node:
        """Compile a condition on tags or on the sender (`engine.rules.condition`)."""
        if isinstance(condition, TagLeaf | SenderLeaf):
            key = condition.model_dump_json()
            found = self._leaves.get(key)
            if found is None:
                found = self._leaves[key] = _tag(condition) if isinstance(condition, TagLeaf) else _sender(condition)
            return found
        if hasattr(condition, "all"):
            return _All([self.node(child) for child in condition.all])
        if hasattr(condition, "any"):
            return _Any([self.node(child) for child in condition.any])
        return _Not(self.node(condition.negated))


def _tag(condition: TagLeaf) -> Node:
    return _Tag(TagPath.parse(condition.tag), Leaf.of(condition), _words(condition.tag, condition))


def _sender(condition: SenderLeaf) -> Node:
    return _Sender(condition.field, text_test(sender_leaf(condition.test)), _words(condition.field, condition.test))


def _words(subject: str, condition: Any) -> str:
    values = ", ".join(_cut(value) or '""' for value in condition.values[:5]) + (", ..." if len(condition.values) > 5 else "")
    case = " (any case)" if condition.ignore_case else ""
    return f"{subject} {condition.op} {values}".rstrip() + case


def _shown(elements: list[Element]) -> str:
    if not elements:
        return "missing"
    parts = []
    for element in elements[:5]:
        if element.values:
            parts += [_cut(str(value)) or '""' for value in element.values[:5]]
            parts += ["..."] * (len(element.values) > 5)
        else:
            parts.append(f"there (VR {element.vr})" if element.vr in OPAQUE else "empty")
    return ("is " if elements[0].values else "") + ", ".join(parts) + (", ..." if len(elements) > 5 else "")


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
