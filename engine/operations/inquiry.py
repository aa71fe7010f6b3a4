"""Asking about rules: what a draft would have done with what came, and which rules never do anything, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from engine.configuration import Configuration, load_configuration
from engine.rules.analyse import analyse, idle
from engine.rules.whatif import what_if as ask

if TYPE_CHECKING:
    from engine.operations import Operations

__all__ = ["analysis", "what_if"]

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
    findings = analyse(rulesets)
    proved = {(f.ruleset, f.rule) for f in findings if f.kind in ("contradictory", "unreachable")}
    findings += [
        f
        for f in idle(rulesets, lambda sql: ops.history.query(sql, limit=None, timeout_s=timeout), days=days)
        if (f.ruleset, f.rule) not in proved  # that it matched nothing follows from what was proved
    ]
    return {"revision": live.revision, "days": days, "findings": [asdict(f) for f in findings]}
