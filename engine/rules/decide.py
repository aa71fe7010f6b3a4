"""What the rules say of one instance: a verdict of each rule with its reasons, and a branch for each match."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from engine.dicom.header import Header
from engine.dicom.paths import TagPath
from engine.errors import Hold, Invalid, Problem
from engine.model import Association, Change, Gather, Verdict
from engine.rules.compiled import Compiler, Node, Seen
from engine.rules.memo import Memo
from engine.rules.model import Changes, GatherLevel, Mode, Rule, Ruleset, Schedule, State

__all__ = ["Branch", "Changer", "Decision", "Rulebook"]

VERDICTS_KEPT = 20_000
"""How many verdicts each ruleset remembers: some MB at most."""

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
    __slots__ = ("_association", "_sources", "_when", "destinations", "gather", "live", "rule", "ruleset", "schedule")

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
        self.schedule = schedules[rule.schedule] if rule.schedule is not None else None
        self._association: Node | None = None if rule.association is None else compiler.node(rule.association)
        self._when: Node | None = None if rule.when is None else compiler.node(rule.when)

    def verdict(self, matched: bool, reasons: Sequence[str]) -> Verdict:
        return Verdict(self.ruleset, self.rule.name, str(self.rule.state), matched, tuple(reasons), self.destinations)

    def paths(self) -> set[TagPath]:
        return set() if self._when is None else self._when.paths()

    def judge(self, seen: Seen) -> Verdict:
        """Whether all that the rule asks for holds, with the parts that decided. Cheap questions come first."""
        source, kind = seen.association.source, seen.association.source_kind
        if self._sources and source not in self._sources and kind not in self._sources:
            return self.verdict(False, [f"sources {', '.join(self.rule.sources)}: came from {source} ({kind})"])
        off_at = "" if self.schedule is None else self.schedule.off_at(seen.received_at)
        if self.schedule is not None and off_at:
            return self.verdict(False, [f"schedule {self.schedule.name}: not on at {off_at}"])
        reasons: list[str] = []
        for node in (self._association, self._when):
            if node is None:
                continue
            if not node.holds(seen):
                return self.verdict(False, node.reasons(seen))
            reasons += node.reasons(seen)
        return self.verdict(True, reasons or ["no condition: takes every instance"])


class _Judged(NamedTuple):
    """What the rules of a ruleset said of an instance as it was received, before any change was tried."""

    verdicts: tuple[Verdict, ...]
    matches: tuple[int, ...]
    """Which of the rules matched."""


class _Ruleset:
    __slots__ = ("_chained", "_first", "_memo", "_rules")

    def __init__(self, ruleset: Ruleset, rules: Sequence[_Rule]) -> None:
        self._first = ruleset.mode is Mode.FIRST_MATCH
        self._chained = ruleset.changes is Changes.CHAINED
        self._rules = rules
        paths = {path for rule in rules for path in rule.paths()}
        schedules = {rule.schedule.name: rule.schedule for rule in rules if rule.schedule is not None}
        self._memo: Memo[_Judged] = Memo(paths, schedules.values(), max(VERDICTS_KEPT // max(len(rules), 1), 1))

    def decide(
        self, seen: Seen, change: Changer, verdicts: list[Verdict], branches: list[Branch], shadows: list[Branch]
    ) -> None:
        judged = None
        if not self._chained:
            with suppress(Exception):  # it comes again where each rule is asked in turn, and is told there
                judged = self._judged(seen)
        if judged is None:
            self._ask_in_turn(seen, change, verdicts, branches, shadows)
            return
        first = len(verdicts)
        verdicts += judged.verdicts
        for n in judged.matches:
            rule, verdict = self._rules[n], judged.verdicts[n]
            verdicts[first + n], branch = (_apply if rule.live else _try)(rule, seen, change, (), verdict)
            if branch is not None:
                (branches if rule.live else shadows).append(branch)

    def _judged(self, seen: Seen) -> _Judged:
        """What the rules say, out of memory where all that they look at was seen before. Raises what a rule raises."""
        key = self._memo.key(seen)
        judged = None if key is None else self._memo.get(key)
        if judged is None:
            judged = self._judge(seen)
            if key is not None:
                self._memo.put(key, judged)
        return judged

    def _judge(self, seen: Seen) -> _Judged:
        verdicts: list[Verdict] = []
        taken = ""
        for rule in self._rules:
            verdict = _not_asked(rule, taken) if taken else rule.judge(seen)
            verdicts.append(verdict)
            if verdict.matched and rule.live and self._first:
                taken = rule.rule.name
        return _Judged(tuple(verdicts), tuple(n for n, verdict in enumerate(verdicts) if verdict.matched))

    def _ask_in_turn(
        self, seen: Seen, change: Changer, verdicts: list[Verdict], branches: list[Branch], shadows: list[Branch]
    ) -> None:
        """Rule by rule, each change made before the next rule is asked: in a chain it sees that change."""
        taken = ""
        changes: tuple[Change, ...] = ()
        for rule in self._rules:
            if taken:
                verdicts.append(_not_asked(rule, taken))
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


def _not_asked(rule: _Rule, taken: str) -> Verdict:
    return rule.verdict(False, [f"not asked: {taken} matched first"])


def _apply(
    rule: _Rule, seen: Seen, change: Changer, earlier: tuple[Change, ...], judged: Verdict | None = None
) -> tuple[Verdict, Branch | None]:
    """A rule's verdict and, if it matches, its branch. `earlier`: the changes that the header already carries; `judged`:
    the verdict where it is known already."""
    try:
        verdict = judged or rule.judge(seen)
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
    if any(c.carries for c in earlier):  # what was carried into a tag may have gone on from there
        changes = tuple(replace(c, carries=True) for c in changes)
    return verdict, Branch(rule.ruleset, rule.rule.name, header, earlier + changes, rule.destinations, rule.gather)


def _try(
    rule: _Rule, seen: Seen, change: Changer, earlier: tuple[Change, ...], judged: Verdict | None = None
) -> tuple[Verdict, Branch | None]:
    """`_apply` for a rule in shadow: live traffic is not held for it."""
    try:
        return _apply(rule, seen, change, earlier, judged)
    except Hold as hold:
        return rule.verdict(False, [f"it erred, and would have held the instance: {hold}"]), None
