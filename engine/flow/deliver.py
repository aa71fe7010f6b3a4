"""Delivery: one attempt at one delivery. Whatever the destination does, the ledger says what became of each instance."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine.destinations.base import Destination, Outgoing, RetryPolicy
from engine.dicom.content import Content
from engine.dicom.header import Header
from engine.dicom.meta import Meta
from engine.dicom.source import Source
from engine.errors import Permanent, Retry
from engine.flow.journaling import tell_delivery
from engine.flow.recorder import Recorder
from engine.flow.repetition import note_confirmed, settle_repetitions
from engine.flow.rows import Row
from engine.model import Commitments, Outcome, Receipt
from engine.spool.ledger import Attempt, Ledger, LedgerState
from engine.spool.plan import Plan, PlanDelivery, PlanItem
from engine.spool.spool import Spool

__all__ = ["deliver", "next_due"]

log = logging.getLogger(__name__)


class _LazyTags:
    """Tags of an instance as it leaves, read only when a name or metadata asks for one."""

    def __init__(self, path: Path, head: bytes, data_set: Content) -> None:
        self._path, self._head, self._data_set = path, head, data_set
        self._header: Header | None = None

    def text(self, path: str) -> str:
        if self._header is None:
            size = len(self._head) + self._data_set.length
            source = Source(self._data_set.pieces)
            self._header = Header(self._path, size, len(self._head), Meta(self._head), self._data_set, source)
        return self._header.text(path)


def _outgoing(folder: Path, item: PlanItem) -> Outgoing:
    """One planned instance as a destination is handed it."""
    head, data_set = item.content(folder)
    return Outgoing(
        index=item.index,
        sop_class_uid=item.sop_class_uid,
        sop_instance_uid=item.sop_instance_uid,
        transfer_syntax_uid=item.transfer_syntax_uid,
        head=head,
        data_set=data_set,
        tags=_LazyTags(folder / f"{item.index:06d}.dcm", head, data_set),
    )


def next_due(policy: RetryPolicy, attempts: int, now: datetime, asked: float | None, jitter: float) -> datetime:
    """When to try again after `attempts` attempts: exponential, at most `longest_seconds`, +-20 % by `jitter` in [0, 1).

    What the peer asked for (Retry-After, seconds) is the least.
    """
    seconds = min(policy.first_seconds * 2.0 ** min(attempts - 1, 40), policy.longest_seconds)
    seconds *= 0.8 + 0.4 * jitter
    return now + timedelta(seconds=max(seconds, asked or 0.0))


def deliver(
    spool: Spool,
    delivery_id: str,
    destination: Destination,
    recorder: Recorder,
    stop: threading.Event,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    jitter: Callable[[], float] = random.random,
) -> LedgerState | None:
    """Make one attempt at one delivery: what is confirmed is never sent again. None: another worker has it, or it is over.

    Whatever the destination does, the ledger says what became of each instance and when to try again.
    """
    claimed = spool.claim_delivery(delivery_id)
    if claimed is None:
        return None
    folder, plan, delivery, ledger = claimed
    try:
        teller = _Teller(recorder, plan, delivery, destination.kind, spool.node)
        before = after = ledger.state()
        teller.tell(ledger, before, before.attempts[before.told :], replayed=True)
        items = [plan.branches[delivery.branch].items[i] for i in delivery.items]
        items = [item for item in items if not before.settled(item.index)]
        if items:
            ledger.begin(len(before.attempts) + 1)
            rest = settle_repetitions(spool.seen, destination, plan.batch, items, before, ledger)
            if rest:
                outgoing = [_outgoing(folder, i) for i in rest]
                _attempt(ledger, outgoing, destination, stop, spool.commitments, now=now, jitter=jitter)
            else:
                ledger.end("done")
            after = ledger.state()
            note_confirmed(spool.seen, destination, plan.batch, rest, after)
            teller.tell(ledger, after, after.attempts[-1:], replayed=False)
        tell_delivery(spool, folder, plan, delivery, after.attempts[before.told :], after)
        state = spool.settle(folder, plan, delivery, ledger)
    finally:
        ledger.close()
    if state.is_final(ledger.indexes):
        spool.finish(folder, plan)
    return state


def _attempt(
    ledger: Ledger,
    items: list[Outgoing],
    destination: Destination,
    stop: threading.Event,
    commitments: Commitments,
    *,
    now: Callable[[], datetime],
    jitter: Callable[[], float],
) -> None:
    left = {item.index for item in items}
    lock = threading.Lock()

    def report(receipt: Receipt, *together: Receipt) -> None:
        with lock:
            ledger.receipt(receipt, *together)
            left.difference_update(one.index for one in (receipt, *together) if one.outcome is not Outcome.RETRY)

    code, words, asked = "", "", None
    try:
        destination.attempt(items, report, stop, commitments)
    except Retry as e:
        code, words, asked = e.code, str(e), e.after
    except Permanent as e:
        for index in sorted(left):
            report(Receipt(index, Outcome.REFUSED, e.code, str(e)))
    except Exception as e:
        log.exception("delivering to %s went wrong in a way it should not", destination.name)
        words = f"Internal error while delivering: {type(e).__name__}: {e}"
    if not left:
        ledger.end("done")
        return
    state = ledger.state()
    if stop.is_set() and not words:
        ledger.end("retry", words="interrupted: the worker was told to stop", next_at=now().isoformat())
    elif state.since_revived >= destination.retry.attempts:
        given_up = f"given up after {state.since_revived} attempts: {words or (state.last.words if state.last else '')}"
        ledger.end("dead", code or (state.last.code if state.last else ""), given_up)
    else:
        due = next_due(destination.retry, state.since_revived, now(), asked, jitter())
        ledger.end("retry", code, words, due.isoformat())


class _Teller:
    """Writes the attempts of a delivery into history: a row a receipt, and one (index -1) for how the attempt ended."""

    def __init__(
        self, recorder: Recorder, plan: Plan, delivery: PlanDelivery, destination_kind: str, node: str
    ) -> None:
        self._recorder = recorder
        branch = plan.branches[delivery.branch]
        self._uids = {item.index: item.sop_instance_uid for item in branch.items}
        self._origins = {item.index: item.origin for item in branch.items if item.origin is not None}
        self._common = {
            "node": node,
            "delivery": plan.delivery_id(delivery),
            "batch": plan.batch,
            "branch": f"{branch.ruleset}/{branch.rule}",
            "destination": delivery.destination,
            "destination_kind": destination_kind,
        }

    def tell(self, ledger: Ledger, state: LedgerState, attempts: Sequence[Attempt], *, replayed: bool) -> None:
        if not attempts:
            return
        rows = [row for attempt in attempts for row in self._rows(attempt)]
        self._recorder.write("deliveries", rows, replayed=replayed)
        ledger.told(len(state.attempts))

    def _rows(self, attempt: Attempt) -> list[Row]:
        rows = [self._row(attempt, r, r.outcome.value, attempt.began_at) for r in attempt.receipts]
        end = attempt.end
        if end and end.get("words"):
            whole = Receipt(-1, Outcome.RETRY, end.get("code", ""), end["words"])
            row = self._row(attempt, whole, end["state"], end["at"])
            batches = sorted({batch for batch, _ in self._origins.values()})
            rows += [row | {"id": f"{row['id']}/{b}", "batch": b} for b in batches] or [row]
        return rows

    def _row(self, attempt: Attempt, r: Receipt, outcome: str, at: str) -> Row:
        batch, index = self._origins.get(r.index, (self._common["batch"], r.index))  # where it was received
        return self._common | {
            "batch": batch,
            "id": f"{self._common['delivery']}/{attempt.number}/{r.index}",
            "at": at,
            "attempt": attempt.number,
            "index": index,
            "sop_instance_uid": self._uids.get(r.index, ""),
            "outcome": outcome,
            "code": r.code,
            "words": r.words,
            "location": r.location,
            "seconds": r.seconds,
            "bytes": r.size,
        }
