"""What is being gathered: seen with its end, and sent at once on a person's word."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from engine.operations.outcome import for_each

if TYPE_CHECKING:
    from engine.operations import Operations

__all__ = ["listing", "send_now"]


def listing(ops: Operations, limit: int) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for gathering in ops.spool.gatherings.listing()[:limit]:
        try:
            ends_at, instances, batches = gathering.due, len(gathering.instances()), len(gathering.members())
        except FileNotFoundError:
            continue  # it ended in this moment
        out.append(
            {
                "id": gathering.key,
                "branch": f"{gathering.ruleset}/{gathering.rule}",
                "destination": gathering.destination,
                "level": gathering.gather.level,
                "uid": gathering.uid,
                "instances": instances,
                "expected": gathering.expected,
                "batches": batches,
                "opened_at": _iso(gathering.opened_at),
                "ends_at": _iso(ends_at),
                "late": gathering.late,
            }
        )
    return out


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def send_now(ops: Operations, ids: Iterable[str], who: str) -> dict[str, Any]:
    def one(key: str) -> None:
        ops.spool.gatherings.send_now(key)
        ops.store.audit.write(who=who, action="send now", family="gatherings", name=key, detail={})

    answer = for_each(ids, one)
    if answer["done"]:
        ops.wake("route")
    return answer
