"""The way through, as plain functions: route a batch, deliver a delivery. No queue, no clock of its own, no globals.

route:   ready batch -> read headers -> decide -> change -> plan (the decision) -> history, boxes, outbox
deliver: outbox entry -> the plan's bytes -> destination -> ledger -> history
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import orjson

from engine.configuration import Configuration
from engine.destinations.base import Destination, Outgoing, RetryPolicy
from engine.dicom.content import Content, Slice
from engine.dicom.header import Header
from engine.errors import Hold, Permanent, Retry
from engine.model import Association, Change, Outcome, Receipt, Verdict
from engine.morphs.apply import change
from engine.rules.columns import COLUMNS, columns_of, value_of
from engine.rules.decide import Branch, Decision, Rulebook
from engine.rules.model import Rule
from engine.spool.batch import BatchInfo
from engine.spool.ledger import Attempt, Ledger, LedgerState
from engine.spool.plan import EVENTS, BlobWriter, Plan, PlanBranch, PlanDelivery, PlanItem, commit_plan, read_plan
from engine.spool.spool import Spool

__all__ = ["Decider", "Recorder", "deliver", "next_due", "route"]

log = logging.getLogger(__name__)

Row = dict[str, Any]


class Recorder(Protocol):
    """Where history goes (engine.history.Recorder)."""

    def write(self, view: str, rows: Sequence[Mapping[str, Any]], *, replayed: bool = False) -> None: ...


@dataclass(frozen=True)
class Decider:
    """One revision, ready to decide: the compiled rules and what a change must know."""

    revision: int
    rulebook: Rulebook
    original_attributes: bool
    """The setting; a rule's own `original_attributes` overrides it."""
    system: str = "AXIOM FLOW"
    """(0400,0563) Modifying System."""
    history_headers: bool = True

    @classmethod
    def of(cls, revision: int, configuration: Configuration, **options: Any) -> Decider:
        rulebook = Rulebook(configuration.ordered_rulesets(), configuration.schedules)
        return cls(revision=revision, rulebook=rulebook, **options)

    def decide(self, header: Header, association: Association, received_at: datetime, now: datetime) -> Decision:
        """What the rules say of one instance, with its changed branches. Raises Hold when it cannot be decided."""

        def changer(rule: Rule, header: Header) -> tuple[Header, tuple[Change, ...]]:
            wanted = self.original_attributes if rule.original_attributes is None else rule.original_attributes
            changed = change(
                header,
                rule.morphs,
                original_attributes=wanted,
                system=self.system,
                at=now,
                source=association.calling_ae or association.source,
            )
            return changed.header, changed.changes

        return self.rulebook.decide(header, association, received_at, changer)


@dataclass
class _Draft:
    """What is being gathered for a plan."""

    blob: BlobWriter
    branches: dict[tuple[str, str], PlanBranch] = field(default_factory=dict)
    wanted: dict[tuple[tuple[str, str], str], list[int]] = field(default_factory=dict)
    """(branch, destination) -> places in the branch's items."""
    sent: set[tuple[str, int, str]] = field(default_factory=set)
    """(destination, index, digest): equal results for the same destination go once."""
    held: dict[str, str] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    rows: dict[str, list[Row]] = field(default_factory=lambda: {"instances": [], "decisions": [], "changes": []})


def route(
    spool: Spool,
    batch: BatchInfo,
    decider: Callable[[], Decider],
    recorder: Recorder,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Plan:
    """Take one ready batch (its lock held) to its outbox entries. Every step may be cut off and done again.

    Before the plan's rename, routing starts afresh; after it, only what the plan says is re-created.
    """
    plan = read_plan(batch.folder)
    replayed = plan is not None
    if plan is None:
        plan = _decide(batch, decider(), now())
    _tell(batch.folder, recorder, replayed=replayed)
    spool.fill_box("held", batch, plan.held, plan.revision)
    spool.fill_box("unmatched", batch, dict.fromkeys(plan.unmatched, "no live rule matched"), plan.revision)
    routed = spool.route_done(batch)
    spool.open_deliveries(routed, plan)
    if not plan.deliveries:
        spool.finish(routed.folder, plan, lock_held=True)
    return plan


def _decide(batch: BatchInfo, decider: Decider, now: datetime) -> Plan:
    draft = _Draft(BlobWriter(batch.folder))
    for path in batch.files():
        _decide_one(draft, batch, path, decider, now)
    keys = list(draft.branches)
    plan = Plan(
        batch=batch.id,
        revision=decider.revision,
        decided_at=now.isoformat(),
        branches=list(draft.branches.values()),
        deliveries=[
            PlanDelivery(n, keys.index(key), destination, items)
            for n, ((key, destination), items) in enumerate(draft.wanted.items())
        ],
        held=draft.held,
        unmatched=draft.unmatched,
    )
    events = b"\n".join(orjson.dumps([view, rows]) for view, rows in draft.rows.items() if rows)
    commit_plan(batch.folder, plan, draft.blob, events)
    return plan


def _decide_one(draft: _Draft, batch: BatchInfo, path: Path, decider: Decider, now: datetime) -> None:
    index = int(path.stem)
    header: Header | None = None
    try:
        header = Header.read(path)
        decision = decider.decide(header, batch.association, batch.received_at, now)
        row = _instance_row(batch, index, path, header, decider, now)
        changes = _change_rows(batch, index, header, decision)
    except Hold as hold:
        draft.held[path.name] = str(hold)
        draft.rows["instances"].append(_held_row(batch, index, path, header, str(hold), decider, now))
        return
    live = [v for v in decision.verdicts if v.matched and v.state == "live"]
    if not live:
        draft.unmatched.append(path.name)
    row["outcome"] = "routed" if live else "unmatched"
    draft.rows["instances"].append(row)
    draft.rows["decisions"] += [_decision_row(batch, index, header, v, decider, now) for v in decision.verdicts]
    draft.rows["changes"] += changes
    for branch in decision.branches:
        _add_branch(draft, index, branch)


def _add_branch(draft: _Draft, index: int, branch: Branch) -> None:
    key = (branch.ruleset, branch.rule)
    plan_branch = draft.branches.setdefault(key, PlanBranch(*key))
    header = branch.header
    digest = _digest(header)
    plan_branch.items.append(
        PlanItem(
            index=index,
            sop_class_uid=header.sop_class_uid,
            sop_instance_uid=header.sop_instance_uid,
            transfer_syntax_uid=header.transfer_syntax_uid,
            head=draft.blob.refs([header.head]),
            data_set=draft.blob.refs(header.data_set.pieces),
        )
    )
    place = len(plan_branch.items) - 1
    for destination in branch.destinations:
        if (destination, index, digest) not in draft.sent:
            draft.sent.add((destination, index, digest))
            draft.wanted.setdefault((key, destination), []).append(place)


def _digest(header: Header) -> str:
    """Two branches' results of one received instance are equal when their new bytes and their slices are."""
    digest = sha256(header.head)
    for piece in header.data_set.pieces:
        digest.update(b"S%d+%d" % (piece.offset, piece.length) if isinstance(piece, Slice) else b"B" + piece)
    return digest.hexdigest()


# --- history rows -------------------------------------------------------------------------------------


def _base(batch: BatchInfo, index: int, header: Header | None, now: datetime) -> Row:
    return {
        "at": now.isoformat(),
        "node": batch.node,
        "batch": batch.id,
        "index": index,
        "sop_instance_uid": header.sop_instance_uid if header else "",
    }


def _origin(batch: BatchInfo, index: int, path: Path, decider: Decider, now: datetime) -> Row:
    a = batch.association
    return {
        "id": f"{batch.id}/{index}",
        "source": a.source,
        "source_kind": a.source_kind,
        "calling_ae": a.calling_ae,
        "called_ae": a.called_ae,
        "source_ip": a.source_ip,
        "user": a.user,
        "tls_subject": a.tls_subject,
        "received_at": batch.received_at.isoformat(),
        "routed_at": now.isoformat(),
        "bytes": path.stat().st_size,
        "revision": decider.revision,
        "held_reason": "",
    }


def _instance_row(
    batch: BatchInfo, index: int, path: Path, header: Header, decider: Decider, now: datetime
) -> Row:
    row = _base(batch, index, header, now) | _origin(batch, index, path, decider, now)
    row["sop_class_uid"] = header.sop_class_uid
    row["transfer_syntax_uid"] = header.transfer_syntax_uid
    row |= columns_of(header)
    row["header"] = orjson.dumps(header.as_json()).decode() if decider.history_headers else None
    return row


def _held_row(
    batch: BatchInfo, index: int, path: Path, header: Header | None, reason: str, decider: Decider, now: datetime
) -> Row:
    """What can be said of an instance that could not be decided: as much of its header as can be read."""
    row = _base(batch, index, header, now) | _origin(batch, index, path, decider, now)
    row |= {"outcome": "held", "held_reason": reason}
    if header is not None:
        row["sop_class_uid"] = header.sop_class_uid
        row["transfer_syntax_uid"] = header.transfer_syntax_uid
        for column in COLUMNS:
            try:
                row[column] = value_of(header, column)
            except Hold:
                row[column] = None  # this may be the very value that is broken; the reason says so
    return row


def _decision_row(
    batch: BatchInfo, index: int, header: Header, verdict: Verdict, decider: Decider, now: datetime
) -> Row:
    return _base(batch, index, header, now) | {
        "id": f"{batch.id}/{index}/{verdict.ruleset}/{verdict.rule}",
        "ruleset": verdict.ruleset,
        "rule": verdict.rule,
        "state": verdict.state,
        "matched": verdict.matched,
        "reasons": list(verdict.reasons),
        "destinations": list(verdict.destinations),
        "revision": decider.revision,
    }


def _change_rows(batch: BatchInfo, index: int, header: Header, decision: Decision) -> list[Row]:
    now = datetime.now(UTC)
    rows = []
    for state, branches in (("live", decision.branches), ("shadow", decision.shadows)):
        for branch in branches:
            for n, c in enumerate(branch.changes):
                rows.append(
                    _base(batch, index, header, now)
                    | {
                        "id": f"{batch.id}/{index}/{branch.ruleset}/{branch.rule}/{n}",
                        "ruleset": branch.ruleset,
                        "rule": branch.rule,
                        "state": state,
                        "path": c.path,
                        "tag": c.tag,
                        "vr": c.vr,
                        "before": c.before,
                        "after": c.after,
                        "morph": c.morph,
                    }
                )
    return rows


def _tell(folder: Path, recorder: Recorder, *, replayed: bool) -> None:
    """Hand the decision's rows to history, once; after a crash in between they are told again, marked as replayed."""
    file = folder / EVENTS
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        view, rows = orjson.loads(line)
        recorder.write(view, rows, replayed=replayed)
    file.unlink()


# --- delivery -----------------------------------------------------------------------------------------


class _LazyTags:
    """Tags of an instance as it leaves, read only when a name or metadata asks for one."""

    def __init__(self, path: Path, head: bytes, data_set: Content) -> None:
        self._path, self._head, self._data_set = path, head, data_set
        self._header: Header | None = None

    def text(self, path: str) -> str:
        if self._header is None:
            size = len(self._head) + self._data_set.length
            self._header = Header(self._path, size, len(self._head), self._head, self._data_set, None)
        return self._header.text(path)


def outgoing(folder: Path, item: PlanItem) -> Outgoing:
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
        before = ledger.state()
        teller.tell(ledger, before, before.attempts[before.told :], replayed=True)
        items = [plan.branches[delivery.branch].items[i] for i in delivery.items]
        items = [item for item in items if not before.settled(item.index)]
        if items:
            ledger.begin(len(before.attempts) + 1)
            _attempt(ledger, [outgoing(folder, i) for i in items], destination, stop, now=now, jitter=jitter)
            after = ledger.state()
            teller.tell(ledger, after, after.attempts[-1:], replayed=False)
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
    *,
    now: Callable[[], datetime],
    jitter: Callable[[], float],
) -> None:
    left = {item.index for item in items}
    lock = threading.Lock()

    def report(receipt: Receipt) -> None:
        with lock:
            ledger.receipt(receipt)
            if receipt.outcome is not Outcome.RETRY:
                left.discard(receipt.index)

    code, words, asked = "", "", None
    try:
        destination.deliver(items, report, stop)
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
            rows.append(self._row(attempt, whole, end["state"], end["at"]))
        return rows

    def _row(self, attempt: Attempt, r: Receipt, outcome: str, at: str) -> Row:
        return self._common | {
            "id": f"{self._common['delivery']}/{attempt.number}/{r.index}",
            "at": at,
            "attempt": attempt.number,
            "index": r.index,
            "sop_instance_uid": self._uids.get(r.index, ""),
            "outcome": outcome,
            "code": r.code,
            "words": r.words,
            "location": r.location,
            "seconds": r.seconds,
            "bytes": r.size,
        }
