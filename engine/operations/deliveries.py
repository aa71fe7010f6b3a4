"""Deliveries that are not finished: seen with the peer's words, tried again, given up on a person's word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import Invalid, Missing, Problem
from engine.operations.outcome import for_each
from engine.spool.files import is_locked
from engine.spool.ledger import Ledger, LedgerState, append
from engine.spool.plan import Plan, PlanDelivery

if TYPE_CHECKING:
    from engine.operations import Operations

__all__ = ["discard", "listing", "retry", "unfinished"]

STATES = ("dead", "sending", "waiting")


def listing(ops: Operations, state: str | None, destination: str | None, limit: int) -> list[dict[str, Any]]:
    if state is not None and state not in STATES:
        words = f"There is no state {state}; a delivery is {', '.join(STATES[:-1])} or {STATES[-1]}."
        raise Invalid([Problem(("state",), words)])
    out: list[dict[str, Any]] = []
    seen: set[str] = set()
    for delivery_id in _ids(ops, state, destination):
        if len(out) >= limit:
            break
        if delivery_id in seen:
            continue
        seen.add(delivery_id)
        item = describe(ops, delivery_id)
        if (item is not None and state in (None, item["state"])) or (item is not None and state == "dead" and item["refused"]):
            out.append(item)
    return out


def _ids(ops: Operations, state: str | None, destination: str | None) -> Iterator[str]:
    outbox = ops.spool.outbox
    if state in (None, "dead"):
        for name in outbox.dead_destinations():
            if destination in (None, name):
                yield from (d for _, d in reversed(outbox.dead(name)))
    if state != "dead":
        for name in outbox.destinations():
            if destination in (None, name):
                yield from (d for _, d in outbox.entries(name))


def unfinished(ops: Operations, destination: str) -> int:
    """So many deliveries to a destination are not over on this node, those among the dead letters included."""
    outbox = ops.spool.outbox
    return len({d for _, d in outbox.entries(destination)} | {d for _, d in outbox.dead(destination)})


def describe(ops: Operations, delivery_id: str) -> dict[str, Any] | None:
    """One unfinished delivery for people; None when it is over."""
    found = ops.spool.locate(delivery_id)
    if found is None:
        return None
    folder, plan, delivery = found
    try:
        ledger = ops.spool.state_of(folder, plan, delivery)
    except FileNotFoundError:
        return None
    indexes = ops.spool.indexes(plan, delivery)
    remaining = [i for i in indexes if not ledger.settled(i)]
    branch = plan.branches[delivery.branch]
    configured = ops.store.live().configuration.destination(delivery.destination)
    words = ledger.last.words if ledger.last else ""
    if configured is None:
        words = f"There is no destination called {delivery.destination} any more: make it again, or discard this. {words}"
    return {
        "id": delivery_id,
        "batch": plan.batch,
        "branch": f"{branch.ruleset}/{branch.rule}",
        "destination": delivery.destination,
        "state": _state(ops, folder, delivery, ledger, remaining),
        "paused": configured is not None and not configured.enabled,
        "attempt": len(ledger.attempts),
        "next_attempt_at": ledger.next_at if remaining else "",
        "instances": len(indexes),
        "confirmed": len(ledger.confirmed),
        "refused": len(ledger.refused),
        "discarded": len(ledger.discarded),
        "remaining": len(remaining),
        "last_code": ledger.last.code if ledger.last else "",
        "last_words": words.strip(),
        "refusals": [
            {"index": r.index, "sop_instance_uid": _uid(plan, delivery, r.index), "code": r.code, "words": r.words}
            for r in list(ledger.refused.values())[:50]
        ],
        "created_at": plan.decided_at,
        "revision": plan.revision,
    }


def _uid(plan: Plan, delivery: PlanDelivery, index: int) -> str:
    return next((i.sop_instance_uid for i in plan.branches[delivery.branch].items if i.index == index), "")


def _state(ops: Operations, folder: Path, delivery: PlanDelivery, ledger: LedgerState, remaining: list[int]) -> str:
    if not remaining:
        return "dead"
    path = ops.spool.ledger_path(folder, delivery.number)
    if ledger.attempts and ledger.attempts[-1].end is None and is_locked(path):
        return "sending"
    return "waiting"


def retry(ops: Operations, ids: Iterable[str], who: str) -> dict[str, Any]:
    def one(delivery_id: str) -> None:
        folder, _plan, delivery = _locate(ops, delivery_id)
        append(ops.spool.ledger_path(folder, delivery.number), {"t": "revive", "who": who})
        ops.spool.outbox.unbury(delivery.destination, delivery_id)
        ops.spool.outbox.add(delivery.destination, delivery_id)
        ops.store.audit.write(who=who, action="retry", family="deliveries", name=delivery_id, detail={})

    answer = for_each(ids, one)
    if answer["done"]:
        ops.wake("deliver")
    return answer


def discard(ops: Operations, ids: Iterable[str], reason: str, who: str) -> dict[str, Any]:
    if not reason.strip():
        raise Invalid([Problem(("reason",), "Say why they are given up: the reason is kept with them in the history.")])

    def one(delivery_id: str) -> None:
        folder, plan, delivery = _locate(ops, delivery_id)
        before = ops.spool.state_of(folder, plan, delivery)
        left = [i for i in ops.spool.indexes(plan, delivery) if i not in before.confirmed]
        append(
            ops.spool.ledger_path(folder, delivery.number), {"t": "discard", "who": who, "reason": reason, "all": True}
        )
        _settle(ops, folder, plan, delivery)
        _tell(ops, plan, delivery, left, len(before.attempts), f"{who}: {reason}")
        ops.store.audit.write(
            who=who, action="discard", family="deliveries", name=delivery_id, detail={"reason": reason, "left": len(left)}
        )

    return for_each(ids, one)


def _locate(ops: Operations, delivery_id: str) -> tuple[Path, Plan, PlanDelivery]:
    found = ops.spool.locate(delivery_id)
    if found is None:
        raise Missing(f"There is no unfinished delivery {delivery_id} any more.")
    return found


def _settle(ops: Operations, folder: Path, plan: Plan, delivery: PlanDelivery) -> None:
    """Bring the outbox in line at once, unless a worker is sending just now: it does so when it is done."""
    ledger = Ledger.try_open(ops.spool.ledger_path(folder, delivery.number), ops.spool.indexes(plan, delivery))
    if ledger is None:
        return
    try:
        state = ops.spool.settle(folder, plan, delivery, ledger)
    finally:
        ledger.close()
    if state.is_final(ledger.indexes):
        ops.spool.finish(folder, plan)


def _tell(
    ops: Operations, plan: Plan, delivery: PlanDelivery, indexes: list[int], attempts: int, words: str
) -> None:
    branch = plan.branches[delivery.branch]
    now = datetime.now(UTC)
    delivery_id = plan.delivery_id(delivery)
    ops.recorder.write(
        "deliveries",
        [
            {
                "id": f"{delivery_id}/discard-{attempts}/{index}",
                "at": now.isoformat(),
                "delivery": delivery_id,
                "batch": plan.batch,
                "branch": f"{branch.ruleset}/{branch.rule}",
                "destination": delivery.destination,
                "attempt": attempts,
                "index": index,
                "sop_instance_uid": _uid(plan, delivery, index),
                "outcome": "discarded",
                "words": words,
            }
            for index in indexes
        ],
    )
