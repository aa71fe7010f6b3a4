"""Asking about rules: what a draft would have done with what came, and which rules never do anything, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from engine.configuration import Configuration, load_configuration
from engine.rules.analyse import Finding, analyse, idle
from engine.rules.model import GatherLevel, State
from engine.rules.whatif import what_if as ask

if TYPE_CHECKING:
    from engine.operations import Operations

__all__ = ["analysis", "split_gatherings", "what_if"]


def what_if(
    ops: Operations, draft: Configuration | Mapping[str, Any], days: float, samples: int, timeout: float
) -> dict[str, Any]:
    drafted = draft if isinstance(draft, Configuration) else load_configuration(draft)
    live = ops.store.live()
    answer = ask(
        drafted.rulesets,
        live.configuration.rulesets,
        [*{s.name: s for s in (*live.configuration.schedules, *drafted.schedules)}.values()],
        # Conditions look at the values themselves: who may not see patients may not ask either (they would learn by counts).
        lambda sql: ops.history.query(sql, limit=None, timeout_s=timeout),
        since=datetime.now(UTC) - timedelta(days=days),
        samples=samples,
    ).as_json()
    return {"revision": live.revision, "days": days, **answer}


def analysis(ops: Operations, days: int, timeout: float) -> dict[str, Any]:
    live = ops.store.live()
    rulesets = live.configuration.rulesets
    findings = [*analyse(rulesets), *split_gatherings(live.configuration)]
    proved = {(f.ruleset, f.rule) for f in findings if f.kind in ("contradictory", "unreachable")}
    findings += [
        f
        for f in idle(rulesets, lambda sql: ops.history.query(sql, limit=None, timeout_s=timeout), days=days)
        if (f.ruleset, f.rule) not in proved  # that it matched nothing follows from what was proved
    ]
    return {"revision": live.revision, "days": days, "findings": [asdict(f) for f in findings]}


def split_gatherings(configuration: Configuration) -> Iterator[Finding]:
    """Rules that gather what several nodes may receive: each node gathers its own part, and delivers that (decision 0017)."""
    nodes = {node for source in configuration.sources for node in source.instances}
    for ruleset in configuration.rulesets:
        for rule in ruleset.rules:
            if rule.gather is GatherLevel.NONE or rule.state is not State.LIVE:
                continue
            fed = [s for s in configuration.sources if s.enabled and (not rule.sources or {s.name, s.kind} & set(rule.sources))]
            split = [s.name for s in fed if len(set(s.instances) or nodes) > 1]
            if split:
                words = (
                    f"It gathers by {rule.gather.value}, and {', '.join(split)} may run on several nodes: each node gathers "
                    f"and delivers the part that it has received. Name one node in the source's `instances`, or see to it "
                    f"that all of a {rule.gather.value} reaches one node."
                )
                yield Finding(ruleset.name, rule.name, "split_gathering", words)
