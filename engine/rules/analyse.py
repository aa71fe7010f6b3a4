"""What is odd about a set of rules: proved from the rules themselves, or seen in history. Each finding says why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.rules.model import Changes, Mode, Rule, Ruleset, State
from engine.rules.proof import Formula, Prover
from engine.rules.whatif import Query, rows_of

__all__ = ["Finding", "analyse", "idle"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at."""

    ruleset: str
    rule: str
    kind: str
    """`contradictory always unreachable covered equal conflict no_destination never_matched split_gathering`."""
    words: str
    """Why, as a sentence."""
    others: tuple[str, ...] = ()
    """Other rules of the ruleset that it is about."""


@dataclass(frozen=True, slots=True)
class _Asked:
    rule: Rule
    formula: Formula


def analyse(rulesets: Sequence[Ruleset]) -> list[Finding]:
    """What can be proved of the rules alone, rulesets and rules by priority. Rules that are off are not looked at."""
    out: list[Finding] = []
    for ruleset in sorted(rulesets, key=lambda r: (r.priority, r.name)):
        prover = Prover()
        rules = [
            _Asked(rule, prover.formula(rule))
            for rule in sorted(ruleset.rules, key=lambda r: (r.priority, r.name))
            if rule.state is not State.OFF
        ]
        for place, asked in enumerate(rules):
            out += _of_rule(ruleset, prover, asked, rules[:place])
    return out


def _of_rule(ruleset: Ruleset, prover: Prover, asked: _Asked, before: Sequence[_Asked]) -> Iterator[Finding]:
    rule = asked.rule
    if not rule.destinations and rule.state is State.LIVE:
        words = "It has no destination: what it matches is delivered nowhere by it."
        yield Finding(ruleset.name, rule.name, "no_destination", words)
    if prover.never(asked.formula):
        yield Finding(ruleset.name, rule.name, "contradictory", "It can never match: its condition contradicts itself.")
        return
    if (rule.when is not None or rule.association is not None) and prover.always(asked.formula):
        yield Finding(ruleset.name, rule.name, "always", "It matches every instance: its condition is always true.")
    if ruleset.changes is Changes.CHAINED and any(earlier.rule.morphs for earlier in before):
        return  # it may see other tags than the earlier rules saw
    yield from _beside(ruleset, prover, asked, before)


def _beside(ruleset: Ruleset, prover: Prover, asked: _Asked, before: Sequence[_Asked]) -> Iterator[Finding]:
    """What earlier rules of the same ruleset leave to a rule."""
    rule = asked.rule
    if ruleset.mode is Mode.FIRST_MATCH:
        yield from _taken(ruleset, prover, asked, [earlier for earlier in before if earlier.rule.state is State.LIVE])
        return
    for earlier in before:
        if not prover.follows(asked.formula, [earlier.formula]):
            continue
        name = earlier.rule.name
        shared = [d for d in rule.destinations if d in earlier.rule.destinations]
        if prover.follows(earlier.formula, [asked.formula]):
            same = _does(rule) == _does(earlier.rule)
            words = f"It matches exactly what {name} matches" + (", and does the same." if same else ": one rule could do both.")
            yield Finding(ruleset.name, rule.name, "equal", words, (name,))
        if shared and rule.morphs != earlier.rule.morphs:
            words = f"What it matches is matched by {name} too, and both send it, changed differently, to {', '.join(shared)}."
            yield Finding(ruleset.name, rule.name, "conflict", words, (name,))


def _taken(ruleset: Ruleset, prover: Prover, asked: _Asked, before: Sequence[_Asked]) -> Iterator[Finding]:
    for earlier in before:
        if prover.follows(asked.formula, [earlier.formula]):
            name = earlier.rule.name
            equal = prover.follows(earlier.formula, [asked.formula])
            words = (
                f"It is never reached: {name} comes first, matches exactly the same, and ends the ruleset."
                if equal
                else f"It is never reached: all that it matches is matched by {name}, which comes first and ends the ruleset."
            )
            yield Finding(ruleset.name, asked.rule.name, "equal" if equal else "covered", words, (name,))
            return
    if len(before) > 1 and prover.follows(asked.formula, [earlier.formula for earlier in before]):
        names = tuple(earlier.rule.name for earlier in before)
        words = f"It is never reached: {', '.join(names)} come first and together match all that it matches."
        yield Finding(ruleset.name, asked.rule.name, "unreachable", words, names)


def _does(rule: Rule) -> tuple[object, ...]:
    return rule.morphs, set(rule.destinations), rule.original_attributes, rule.state


def idle(rulesets: Sequence[Ruleset], query: Query, *, days: int = 30) -> list[Finding]:
    """Rules that were asked in the last days and matched nothing, from history's decisions; and those never asked.

    `query` runs SQL over history's views and gives all the rows. Raises what it raises.
    """
    sql = (
        "SELECT ruleset, rule, count(*) AS asked, count(*) FILTER (matched) AS matched FROM decisions "  # noqa: S608
        f"WHERE \"at\" >= now() - to_days({int(days)}) GROUP BY ruleset, rule"
    )
    seen = {(row["ruleset"], row["rule"]): (row["asked"], row["matched"]) for row in rows_of(query(sql))}
    out = []
    for ruleset in sorted(rulesets, key=lambda r: (r.priority, r.name)):
        for rule in sorted(ruleset.rules, key=lambda r: (r.priority, r.name)):
            asked, matched = seen.get((ruleset.name, rule.name), (0, 0))
            if rule.state is State.OFF or matched:
                continue
            none = f"It matched none of the {asked} instances that it was asked of in the last {days} days."
            words = none if asked else f"It was asked of no instance in the last {days} days."
            out.append(Finding(ruleset.name, rule.name, "never_matched", words))
    return out
