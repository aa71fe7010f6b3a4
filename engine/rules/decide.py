"""What the rules say of one instance: a verdict of each rule with its reasons, and a branch for each match."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from engine.dicom.header import Header
from engine.errors import Hold, Invalid, Problem
from engine.model import Association, Change, Gather, Verdict
from engine.rules.compiled import Compiler, Node, Seen
from engine.rules.model import Changes, GatherLevel, Mode, Rule, Ruleset, Schedule, State

__all__ = ["Branch", "Changer", "Decision", "Rulebook"]

Changer = Callable[[Rule, Header], tuple[Header, tuple[Change, ...], tuple[str, ...]]]
"""Applies a rule's morphs: the header, its changes, and warnings, which join the reasons of the verdict.

Raises Hold when they cannot be applied."""


@dataclass(frozen=True, slots=True)
class Branch:
    """What one rule makes of an instance and where it sends that."""

    ruleset: str
    rule: str
    header: Header
    """As changed by the rule; the received one itself when it changes nothing."""
    changes: tuple[Change, ...]
    destinations: tuple[str, ...]
    gather: Gather | None = None
    """What it is gathered with before it goes; None: it goes at once."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What all rules together say of one instance."""

    verdicts: tuple[Verdict, ...]
    """One for each rule that is live or in shadow, rulesets and rules by priority."""
    branches: tuple[Branch, ...]
    """The live matches: what is delivered."""
    shadows: tuple[Branch, ...] = ()
    """The matches of rules in shadow: what they would have delivered."""


class Rulebook:
    """The rules of one revision, compiled once. May be used by several threads."""

    def __init__(self, rulesets: Sequence[Ruleset], schedules: Sequence[Schedule]) -> None:
        """Raises Invalid when a rule names a schedule that is not there."""
        compiler = Compiler()
        by_name = {schedule.name: schedule for schedule in schedules}
        self._rulesets = [
            _Ruleset(ruleset, [_Rule(ruleset, rule, by_name, compiler) for rule in _ordered(ruleset)])
            for ruleset in sorted(rulesets, key=lambda r: (r.priority, r.name))
        ]

    def decide(self, header: Header, association: Association, received_at: datetime, change: Changer) -> Decision:
        """Decide one instance. Raises Hold, in words that name ruleset and rule, when a live rule errs: no rule is skipped.

        A rule in shadow that errs says so in its verdict and harms nothing: it delivers nothing either way.
        """
        received = Seen(header, association, received_at)
        verdicts: list[Verdict] = []
        branches: list[Branch] = []
        shadows: list[Branch] = []
        for ruleset in self._rulesets:
            ruleset.decide(received, change, verdicts, branches, shadows)
        return Decision(tuple(verdicts), tuple(branches), tuple(shadows))


def _ordered(ruleset: Ruleset) -> list[Rule]:
    return sorted((rule for rule in ruleset.rules if rule.state is not State.OFF), key=lambda r: (r.priority, r.name))


class _Rule:
    __slots__ = ("_association", "_schedule", "_sources", "_when", "destinations", "gather", "live", "rule", "ruleset")

    def __init__(self, ruleset: Ruleset, rule: Rule, schedules: dict[str, Schedule], compiler: Compiler) -> None:
        if rule.schedule is not None and rule.schedule not in schedules:
            place = ("rulesets", ruleset.name, "rules", rule.name, "schedule")
            raise Invalid([Problem(place, f"There is no schedule called {rule.schedule}.")])
        self.ruleset = ruleset.name
        self.rule = rule
        self.live = rule.state is State.LIVE
        self.destinations = tuple(rule.destinations)
        gathered = rule.gather is not GatherLevel.NONE
        self.gather = Gather(str(rule.gather), rule.quiet, rule.at_most) if gathered else None
        self._sources = frozenset(rule.sources)
        self._schedule = schedules[rule.schedule] if rule.schedule is not None else None
        self._association: Node | None = None if rule.association is None else compiler.node(rule.association)
        self._when: Node | None = None if rule.when is None else compiler.node(rule.when)

    def verdict(self, matched: bool, reasons: Sequence[str]) -> Verdict:
        return Verdict(self.ruleset, self.rule.name, str(self.rule.state), matched, tuple(reasons), self.destinations)

    def judge(self, seen: Seen) -> Verdict:
        """Whether all that the rule asks for holds, with the parts that decided. Cheap questions come first."""
        source, kind = seen.association.source, seen.association.source_kind
        if self._sources and source not in self._sources and kind not in self._sources:
            return self.verdict(False, [f"sources {', '.join(self.rule.sources)}: came from {source} ({kind})"])
        if self._schedule is not None and not self._schedule.active(seen.received_at):
            wall = seen.received_at.astimezone(self._schedule.zone)
            shown = f"{wall:%a %Y-%m-%d %H:%M} {self._schedule.time_zone}"
            return self.verdict(False, [f"schedule {self._schedule.name}: not on at {shown}"])
        reasons: list[str] = []
        for node in (self._association, self._when):
            if node is None:
                continue
            if not node.holds(seen):
                return self.verdict(False, node.reasons(seen))
            reasons += node.reasons(seen)
        return self.verdict(True, reasons or ["no condition: takes every instance"])


class _Ruleset:
    __slots__ = ("_chained", "_first", "_rules")

    def __init__(self, ruleset: Ruleset, rules: Sequence[_Rule]) -> None:
        self._first = ruleset.mode is Mode.FIRST_MATCH
        self._chained = ruleset.changes is Changes.CHAINED
        self._rules = rules

    def decide(
        self, seen: Seen, change: Changer, verdicts: list[Verdict], branches: list[Branch], shadows: list[Branch]
    ) -> None:
        taken = ""
        changes: tuple[Change, ...] = ()
        for rule in self._rules:
            if taken:
                verdicts.append(rule.verdict(False, [f"not asked: {taken} matched first"]))
                continue
            verdict, branch = _apply(rule, seen, change, changes) if rule.live else _try(rule, seen, change, changes)
            verdicts.append(verdict)
            if branch is None:
                continue
            if not rule.live:
                shadows.append(branch)
                continue
            branches.append(branch)
            if self._chained:
                seen, changes = seen.with_header(branch.header), branch.changes
            if self._first:
                taken = rule.rule.name


def _apply(rule: _Rule, seen: Seen, change: Changer, earlier: tuple[Change, ...]) -> tuple[Verdict, Branch | None]:
    """A rule's verdict and, if it matches, its branch. `earlier`: the changes that the header already carries."""
    try:
        verdict = rule.judge(seen)
        if not verdict.matched:
            return verdict, None
        header, changes, warnings = change(rule.rule, seen.header) if rule.rule.morphs else (seen.header, (), ())
        if warnings:
            verdict = replace(verdict, reasons=verdict.reasons + warnings)
    except Hold as hold:
        raise Hold(f"Ruleset {rule.ruleset}, rule {rule.rule.name}: {hold}", hold.waits_for) from hold
    except Exception as error:  # whatever it is, the instance is kept and a person looks: never a skipped rule
        raise Hold(
            f"Ruleset {rule.ruleset}, rule {rule.rule.name}: it could not be evaluated ({type(error).__name__})."
        ) from error
    return verdict, Branch(rule.ruleset, rule.rule.name, header, earlier + changes, rule.destinations, rule.gather)


def _try(rule: _Rule, seen: Seen, change: Changer, earlier: tuple[Change, ...]) -> tuple[Verdict, Branch | None]:
    """`_apply` for a rule in shadow: live traffic is not held for it."""
    try:
        return _apply(rule, seen, change, earlier)
    except Hold as hold:
        return rule.verdict(False, [f"it erred, and would have held the instance: {hold}"]), None
