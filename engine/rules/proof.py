"""Proofs about conditions: that one can never be true, always is, or follows from others.

A condition becomes a formula over its leaves; whether it can be true is tried by case distinction, and a case is given up
where the leaves on one tag contradict each other (`atoms`). Nothing is claimed that this does not prove.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.dicom.paths import TagPath
from engine.rules.atoms import possible
from engine.rules.condition import SenderLeaf, TagLeaf
from engine.rules.leaf import Leaf, sender_leaf
from engine.rules.model import Rule

__all__ = ["All", "Formula", "Not", "Prover"]

STEPS = 20_000
"""Cases tried for one question; beyond, nothing is claimed."""


@dataclass(frozen=True, slots=True)
class Atom:
    """One leaf, by its number."""

    number: int


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary."""

    of: Formula


@dataclass(frozen=True, slots=True)
class All:
    """Every one of them."""

    of: tuple[Formula, ...]


@dataclass(frozen=True, slots=True)
class AnyOne:
    """At least one of them."""

    of: tuple[Formula, ...]


Formula = Atom | Not | All | AnyOne


class _Unsure(Exception):
    """The question has too many cases."""


class Prover:
    """Knows the leaves of all conditions that it has seen."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._groups: list[Hashable | None] = []
        self._leaves: list[Leaf | None] = []
        self._steps = 0

    def formula(self, rule: Rule) -> Formula:
        """All that a rule asks for: sources, schedule, sender and tags."""
        parts: list[Formula] = []
        if rule.sources:
            parts.append(AnyOne(tuple(self._atom(("source", name)) for name in sorted(rule.sources))))
        if rule.schedule is not None:
            parts.append(self._atom(("schedule", rule.schedule)))
        parts += [self._condition(part) for part in (rule.association, rule.when) if part is not None]
        return All(tuple(parts))

    def never(self, formula: Formula) -> bool:
        """Whether it is proved that the formula is true of no instance."""
        self._steps = 0
        try:
            return not self._can_be(formula, {})
        except _Unsure:
            return False

    def always(self, formula: Formula) -> bool:
        """Whether it is proved that the formula is true of every instance."""
        return self.never(Not(formula))

    def follows(self, one: Formula, others: Sequence[Formula]) -> bool:
        """Whether it is proved that wherever `one` is true, one of the others is."""
        return self.never(All((one, *map(Not, others))))

    def _condition(self, condition: Any) -> Formula:
        if isinstance(condition, TagLeaf):
            path = TagPath.parse(condition.tag)
            return self._atom(_key(path, condition), path, Leaf.of(condition))
        if isinstance(condition, SenderLeaf):
            return self._atom(_key(condition.field, condition.test), condition.field, sender_leaf(condition.test))
        if hasattr(condition, "all"):
            return All(tuple(map(self._condition, condition.all)))
        if hasattr(condition, "any"):
            return AnyOne(tuple(map(self._condition, condition.any)))
        return Not(self._condition(condition.negated))

    def _atom(self, key: Hashable, group: Hashable | None = None, leaf: Leaf | None = None) -> Atom:
        number = self._numbers.setdefault(key, len(self._numbers))
        if number == len(self._groups):
            self._groups.append(group)
            self._leaves.append(leaf)
        return Atom(number)

    def _can_be(self, formula: Formula, truths: dict[int, bool]) -> bool:
        """Whether the formula can be true where some leaves are already told."""
        self._steps += 1
        if self._steps > STEPS:
            raise _Unsure
        value, open_ = _value(formula, truths)
        if value is not None:
            return value
        assert open_ is not None
        for truth in (True, False):
            further = truths | {open_: truth}
            if self._consistent(open_, further) and self._can_be(formula, further):
                return True
        return False

    def _consistent(self, changed: int, truths: dict[int, bool]) -> bool:
        group = self._groups[changed]
        if group is None:
            return True
        alike = [(self._leaves[n], truth) for n, truth in truths.items() if self._groups[n] == group]
        return possible([(leaf, truth) for leaf, truth in alike if leaf is not None])


def _key(group: Hashable, condition: Any) -> Hashable:
    return group, condition.op, condition.values, condition.ignore_case


def _value(formula: Formula, truths: dict[int, bool]) -> tuple[bool | None, int | None]:
    """What the formula is so far: true, false, or None with a leaf that is still open."""
    match formula:
        case Atom(number):
            return (truths[number], None) if number in truths else (None, number)
        case Not(of):
            value, open_ = _value(of, truths)
            return (None if value is None else not value), open_
    decides = isinstance(formula, AnyOne)
    found: int | None = None
    for part in formula.of:
        value, open_ = _value(part, truths)
        if value is decides:
            return decides, None
        found = open_ if found is None else found
    return (not decides, None) if found is None else (None, found)
