"""What rules would have done, and what is odd about them: asked of the history, within its limits of time and rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from engine.configuration import load_configuration
from engine.errors import Invalid, Problem
from engine.history.reader import is_truncated
from engine.rules.analyse import analyse, idle
from engine.rules.whatif import Query, what_if

if TYPE_CHECKING:
    from engine.operations import Operations

__all__ = ["analysis", "foresee"]

MOST_GROUPS = 100_000


def foresee(
    ops: Operations, draft: Mapping[str, Any], since: datetime | None, samples: int, timeout: float
) -> dict[str, Any]:
    """What the draft would have matched, against the live rules. `draft`: a document; families that it does not name
    are the live ones. Raises Invalid when it does not hold, or when history cannot answer it in time."""
    live = ops.store.live().configuration
    drafted = load_configuration({**live.document(), **draft})
    schedules = {s.name: s for s in (*live.schedules, *drafted.schedules)}
    answer = what_if(
        drafted.rulesets, live.rulesets, list(schedules.values()), _query(ops, timeout), since=since, samples=samples
    )
    now = {s.name: s for s in live.schedules}
    for name, schedule in schedules.items():
        if name in now and now[name] != schedule:
            answer.notes.append(f"The schedule {name} differs in the draft: the live rules were asked with the draft's.")
    return answer.as_json()


def analysis(ops: Operations, days: int, timeout: float) -> list[dict[str, Any]]:
    """Findings on the live rules: what can be proved, then which matched nothing in the last days. Raises Invalid when
    history cannot answer in time."""
    rulesets = ops.store.live().configuration.rulesets
    findings = [*analyse(rulesets), *idle(rulesets, _query(ops, timeout), days=days)]
    return [asdict(finding) | {"others": list(finding.others)} for finding in findings]


def _query(ops: Operations, timeout: float) -> Query:
    def query(sql: str) -> Any:
        table = ops.history.query(sql, limit=MOST_GROUPS, timeout_s=timeout)
        if is_truncated(table):
            words = f"The answer has more than {MOST_GROUPS:,} groups: ask of fewer rules, or of fewer days."
            raise Invalid([Problem(("since",), words)])
        return table

    return query
