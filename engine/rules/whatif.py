"""What-if: what draft rules would have matched and sent of the logged instances, against what the live rules match.

One pass over history answers it: rows with equal modality, source, outcome and answers are counted together. What FIRST_MATCH
leaves out and where branches go is worked out on these few groups.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from engine.rules.model import Changes, Mode, Rule, Ruleset, Schedule, State
from engine.rules.sql import quote
from engine.rules.to_sql import ToSql

__all__ = ["Count", "Query", "WhatIf", "rows_of", "what_if"]

Query = Callable[[str], Any]
"""Runs SQL over history's views; gives all the rows, as mappings or as an Arrow table."""

BITS = 62
"""Answers packed into one integer column, where there are many: DuckDB groups by few wide columns faster than by many."""
FEW = 16
"""So many conditions have a column each: that is the faster below (no sums are made for each row)."""
SHOWN = (
    "id", "sop_instance_uid", "patient_id", "accession_number", "study_date", "modality", "source", "calling_ae", "received_at",
)  # fmt: skip
"""What a sample shows of an instance."""


@dataclass(slots=True)
class Count:
    """Instances (or, for destinations, copies sent) by the draft and by the live rules."""

    draft: int = 0
    live: int = 0
    gained: int = 0
    """The draft's, not the live rules'."""
    lost: int = 0
    """The live rules', not the draft's."""

    def add(self, draft: bool, live: bool, n: int) -> None:
        self.draft += n * draft
        self.live += n * live
        self.gained += n * (draft and not live)
        self.lost += n * (live and not draft)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The answer."""

    instances: int
    """Looked at."""
    total: Count
    rules: dict[str, Count]
    """By `ruleset/rule`."""
    modalities: dict[str, Count]
    sources: dict[str, Count]
    destinations: dict[str, Count]
    unmatched_then: int
    """Instances that matched no rule when they came, and that the draft matches."""
    gained: list[dict[str, Any]]
    """Samples, each with the `rules` that match it in the draft and in the live rules."""
    lost: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    """What the answer could not take into account."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Side:
    """The draft's or the live rules, each rule with its place among the bits."""

    rulesets: tuple[tuple[Ruleset, tuple[tuple[Rule, int], ...]], ...]

    def matches(self, answers: Sequence[bool]) -> list[tuple[Ruleset, Rule]]:
        """The rules that take an instance whose conditions were answered so."""
        out = []
        for ruleset, rules in self.rulesets:
            for rule, place in rules:
                if answers[place]:
                    out.append((ruleset, rule))
                    if ruleset.mode is Mode.FIRST_MATCH:
                        break
        return out


def what_if(
    draft: Rule | Ruleset | Sequence[Ruleset], live: Sequence[Ruleset], schedules: Sequence[Schedule], query: Query, *,
    since: datetime | None = None, samples: int = 5,
) -> WhatIf:  # fmt: skip
    """Ask history. `draft`: a rule (judged by itself, beside the live rules), a ruleset (it takes the place of the live
    one of its name) or all rulesets. Rules in shadow count as live in the draft, not among the live ones; rules that
    are off count nowhere. `since`: only what was received from then on.

    Raises ValueError when a rule names a schedule that is not there; whatever `query` raises.
    """
    compiler = ToSql(schedules)
    conditions: dict[str, int] = {}
    drafted = _side(_rulesets(draft, live), compiler, conditions, shadows=True)
    living = _side(live, compiler, conditions, shadows=False)
    source = _answers(compiler, list(conditions), since)
    groups = [_Group.of(row, len(conditions), drafted, living) for row in rows_of(query(_counting(len(conditions), source)))]
    answer = _counted(groups)
    gained, lost = ([g for g in groups if g.draft and not g.live], [g for g in groups if g.live and not g.draft])
    return WhatIf(
        **answer,
        gained=_samples(query, source, gained, samples),
        lost=_samples(query, source, lost, samples),
        notes=[
            f"The ruleset {ruleset.name} chains changes: its rules were asked of the tags as received."
            for ruleset, _ in (*drafted.rulesets, *living.rulesets)
            if ruleset.changes is Changes.CHAINED
        ],
    )


def _rulesets(draft: Rule | Ruleset | Sequence[Ruleset], live: Sequence[Ruleset]) -> list[Ruleset]:
    if isinstance(draft, Rule):
        return [Ruleset(name="draft", priority=0, rules=[draft])]
    if isinstance(draft, Ruleset):
        return [*(ruleset for ruleset in live if ruleset.name != draft.name), draft]
    return list(draft)


def _side(rulesets: Iterable[Ruleset], compiler: ToSql, conditions: dict[str, int], *, shadows: bool) -> _Side:
    asked = {State.LIVE, State.SHADOW} if shadows else {State.LIVE}
    out = []
    for ruleset in sorted(rulesets, key=lambda r: (r.priority, r.name)):
        rules = []
        for rule in sorted(ruleset.rules, key=lambda r: (r.priority, r.name)):
            if rule.state in asked:
                sql = compiler.rule(rule)
                rules.append((rule, conditions.setdefault(sql, len(conditions))))
        out.append((ruleset, tuple(rules)))
    return _Side(tuple(out))


def _answers(compiler: ToSql, conditions: list[str], since: datetime | None) -> str:
    """A query of every instance with its answers in b0, b1, ..."""
    wide = _width(len(conditions))
    packed = [_packed(conditions[at : at + wide]) for at in range(0, len(conditions), wide)]
    bits = "".join(f", {sql} AS b{n}" for n, sql in enumerate(packed))
    extract = f", {compiler.extract} AS x" if compiler.extract is not None else ""
    where = "" if since is None else f" WHERE received_at >= CAST({quote(since.isoformat())} AS TIMESTAMPTZ)"
    return f"SELECT *{bits} FROM (SELECT *{extract} FROM instances{where})"  # noqa: S608  (made by to_sql, which quotes)


def _counting(conditions: int, source: str) -> str:
    keys = ", ".join(["modality", "source", "outcome", *_columns(conditions)])
    return f"SELECT {keys}, count(*) AS n FROM ({source}) GROUP BY ALL"  # noqa: S608


def _width(conditions: int) -> int:
    """Answers in one column."""
    return 1 if conditions <= FEW else BITS


def _packed(conditions: list[str]) -> str:
    if len(conditions) == 1:
        return f"({conditions[0]})"
    bits = " + ".join(f"CASE WHEN {sql} THEN {1 << i} ELSE 0 END" for i, sql in enumerate(conditions))
    return f"CAST({bits} AS BIGINT)"


def _columns(conditions: int) -> list[str]:
    wide = _width(conditions)
    return [f"b{n}" for n in range((conditions + wide - 1) // wide)]


@dataclass(frozen=True, slots=True)
class _Group:
    """Instances of which all rules say the same."""

    modality: str
    source: str
    outcome: str
    n: int
    bits: tuple[int, ...]
    draft: tuple[tuple[Ruleset, Rule], ...]
    live: tuple[tuple[Ruleset, Rule], ...]

    @classmethod
    def of(cls, row: Mapping[str, Any], conditions: int, draft: _Side, live: _Side) -> _Group:
        bits, wide = tuple(row[name] for name in _columns(conditions)), _width(conditions)
        answers = [bool(bits[i // wide] >> (i % wide) & 1) for i in range(conditions)]
        named = (row["modality"] or "", row["source"] or "", row["outcome"] or "")
        return cls(*named, row["n"], bits, tuple(draft.matches(answers)), tuple(live.matches(answers)))

    @property
    def where(self) -> str:
        return " AND ".join(f"b{n} = {bits}" for n, bits in enumerate(self.bits)) or "true"


def _counted(groups: list[_Group]) -> dict[str, Any]:
    total = Count()
    rules: defaultdict[str, Count] = defaultdict(Count)
    modalities: defaultdict[str, Count] = defaultdict(Count)
    sources: defaultdict[str, Count] = defaultdict(Count)
    destinations: defaultdict[str, Count] = defaultdict(Count)
    for g in groups:
        taken = bool(g.draft), bool(g.live)
        for count in (total, modalities[g.modality], sources[g.source]):
            count.add(*taken, g.n)
        for by, of in ((rules, _names), (destinations, _sent)):
            draft, live = of(g.draft), of(g.live)
            for name in draft | live:
                by[name].add(name in draft, name in live, g.n)
    return {
        "instances": sum(g.n for g in groups),
        "total": total,
        "rules": dict(sorted(rules.items())),
        "modalities": dict(sorted(modalities.items())),
        "sources": dict(sorted(sources.items())),
        "destinations": dict(sorted(destinations.items())),
        "unmatched_then": sum(g.n for g in groups if g.draft and g.outcome == "unmatched"),
    }


def _names(matches: Sequence[tuple[Ruleset, Rule]]) -> set[str]:
    return {f"{ruleset.name}/{rule.name}" for ruleset, rule in matches}


def _sent(matches: Sequence[tuple[Ruleset, Rule]]) -> set[str]:
    return {destination for _, rule in matches for destination in rule.destinations}


def _samples(query: Query, source: str, groups: list[_Group], samples: int) -> list[dict[str, Any]]:
    if not groups or samples <= 0:
        return []
    by_bits = {g.bits: g for g in groups}
    where = " OR ".join(f"({g.where})" for g in by_bits.values())
    bits = [f"b{n}" for n in range(len(groups[0].bits))]
    sql = f"SELECT {', '.join([*SHOWN, *bits])} FROM ({source}) WHERE {where} LIMIT {int(samples)}"  # noqa: S608
    rows = rows_of(query(sql))
    out = []
    for row in rows:
        group = by_bits[tuple(row[name] for name in bits)]
        shown = {name: row[name] for name in SHOWN}
        out.append(shown | {"rules": {"draft": sorted(_names(group.draft)), "live": sorted(_names(group.live))}})
    return out


def rows_of(result: Any) -> list[Mapping[str, Any]]:
    """What a `Query` gave, as mappings."""
    rows: list[Mapping[str, Any]] = result.to_pylist() if hasattr(result, "to_pylist") else list(result)
    return rows


