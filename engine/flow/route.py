"""Routing: a ready batch is decided once, in writing, and then only what the decision says is done."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import orjson

from engine.dicom.content import Slice
from engine.dicom.header import Header
from engine.duplicates import Action, Again
from engine.errors import Hold
from engine.flow.decider import Decider
from engine.flow.journaling import tell_routed
from engine.flow.recorder import Recorder
from engine.flow.repetition import Repetitions
from engine.flow.rows import Row, change_rows, decision_row, held_row, instance_row
from engine.model import Gather
from engine.morphs.memo import ChangeMemo
from engine.rules.decide import Branch
from engine.spool.batch import BatchInfo
from engine.spool.plan import EVENTS, BlobWriter, Plan, PlanBranch, PlanDelivery, PlanItem, commit_plan, read_plan
from engine.spool.seen import Print, Seen
from engine.spool.spool import Spool

__all__ = ["route"]

log = logging.getLogger(__name__)


class _Way(NamedTuple):
    """What becomes one delivery: a branch's instances for one destination, and of one series or study if it is gathered."""

    branch: tuple[str, str]
    destination: str
    gather: Gather | None
    gathered_uid: str


class _Leaving(NamedTuple):
    """A branch with what is asked of its header as it leaves: read while an error can still hold the instance."""

    branch: Branch
    series: str
    gather: Gather | None
    uid: str

    @classmethod
    def of(cls, branch: Branch) -> _Leaving:
        series, gather, uid = branch.header.text("SeriesInstanceUID"), branch.gather, ""
        if gather is not None:
            uid = branch.header.text("StudyInstanceUID") if gather.level == "study" else series
            gather = gather if uid else None  # without a UID nobody can say what it belongs to: it goes at once
        return cls(branch, series, gather, uid)


@dataclass
class _Draft:
    """What is being gathered for a plan."""

    blob: BlobWriter
    repetitions: Repetitions
    branches: dict[tuple[str, str], PlanBranch] = field(default_factory=dict)
    wanted: dict[_Way, list[int]] = field(default_factory=dict)
    """A delivery to be -> places in the branch's items."""
    sent: set[tuple[str, Gather | None, int, str]] = field(default_factory=set)
    """(destination, gathering, index, digest): equal results for the same destination go once."""
    held: dict[str, str] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)
    """Of the held ones, those that wait for a part that is away: they are released when it is back."""
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
        plan = _decide(spool.seen, batch, decider(), now())
    _tell(batch.folder, recorder, replayed=replayed)
    spool.fill_box("held", batch, plan.held, plan.revision, plan.waits)
    spool.fill_box("unmatched", batch, dict.fromkeys(plan.unmatched, "no live rule matched"), plan.revision)
    tell_routed(spool, batch, plan)
    routed = spool.route_done(batch)
    spool.open_deliveries(routed, plan)
    if not plan.deliveries:
        spool.finish(routed.folder, plan, lock_held=True)
    return plan


def _decide(seen: Seen, batch: BatchInfo, decider: Decider, now: datetime) -> Plan:
    asked = decider.look_up(_headers(batch) if decider.crosswalk_maps else ())
    with seen.looking() as look:
        draft = _Draft(BlobWriter(batch.folder), Repetitions(batch, decider, look))
        for path in batch.files():
            _decide_one(draft, batch, path, decider, asked, now)
    keys = list(draft.branches)
    plan = Plan(
        batch=batch.id,
        revision=decider.revision,
        decided_at=now.isoformat(),
        branches=list(draft.branches.values()),
        deliveries=[
            PlanDelivery(n, keys.index(way.branch), way.destination, items, way.gather, way.gathered_uid)
            for n, (way, items) in enumerate(draft.wanted.items())
        ],
        held=draft.held,
        waits=draft.waits,
        unmatched=draft.unmatched,
    )
    events = b"\n".join(orjson.dumps([view, rows]) for view, rows in draft.rows.items() if rows)
    commit_plan(batch.folder, plan, draft.blob, events)
    seen.note_received(draft.repetitions.sights.values())
    return plan


def _headers(batch: BatchInfo) -> Iterator[Header]:
    """The headers that can be read; what is wrong with the others is said when they are decided."""
    for path in batch.files():
        with suppress(Hold):
            yield Header.read(path)


def _decide_one(
    draft: _Draft, batch: BatchInfo, path: Path, decider: Decider, asked: ChangeMemo, now: datetime
) -> None:
    index = int(path.stem)
    header: Header | None = None
    try:
        header = Header.read(path)
        sight, again, action = draft.repetitions.look(path, header)
        if action is Action.SKIP:
            draft.rows["instances"].append(_skipped(batch, index, path, header, decider, now, again))
            return
        decision = decider.decide(header, batch.association, batch.received_at, now, asked)
        row = instance_row(batch, index, path, header, decider, now)
        changes = change_rows(batch, index, header, decision, now)
        leaving = [_Leaving.of(branch) for branch in decision.branches]
    except Exception as e:  # noqa: BLE001  (fail closed: whatever it is, this instance is held with its reason)
        reason = _reason(batch, path, e)
        draft.held[path.name] = reason
        if waits_for := getattr(e, "waits_for", ""):
            draft.waits[path.name] = waits_for
        draft.rows["instances"].append(held_row(batch, index, path, header, reason, decider, now))
        return
    live = [v for v in decision.verdicts if v.matched and v.state == "live"]
    if not live:
        draft.unmatched.append(path.name)
    draft.repetitions.sights[sight.uid] = sight
    row["duplicate"] = again or ""
    row["outcome"] = "routed" if live else "unmatched"
    draft.rows["instances"].append(row)
    draft.rows["decisions"] += [decision_row(batch, index, header, v, decider, now) for v in decision.verdicts]
    draft.rows["changes"] += changes
    for one in leaving:
        _add_branch(draft, index, one, sight.print)


def _skipped(
    batch: BatchInfo, index: int, path: Path, header: Header, decider: Decider, now: datetime, again: Again | None
) -> Row:
    row = instance_row(batch, index, path, header, decider, now)
    return row | {"outcome": "skipped", "duplicate": again or ""}


def _reason(batch: BatchInfo, path: Path, error: Exception) -> str:
    """Why it is held. What the engine did not foresee holds that one instance too: the others go on, nothing is skipped.

    Raises the error again when it is the machine's (no memory, a disk that fails): the batch stays and is tried again.
    """
    if isinstance(error, Hold):
        return str(error)
    if isinstance(error, OSError | MemoryError):
        raise error
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"  # not its text, which may quote a patient's values
    log.error("deciding %s of batch %s failed: %s at %s", path.name, batch.id, type(error).__name__, place)
    return f"Internal error while deciding ({type(error).__name__} at {place}): report it, and retry after a repair."


def _add_branch(draft: _Draft, index: int, leaving: _Leaving, received: Print) -> None:
    branch = leaving.branch
    key = (branch.ruleset, branch.rule)
    plan_branch = draft.branches.setdefault(key, PlanBranch(*key))
    header = branch.header
    digest = _digest(header)
    content = received.of_change(orjson.dumps([(c.path, c.after) for c in branch.changes])) if branch.changes else received
    plan_branch.items.append(
        PlanItem(
            index=index,
            sop_class_uid=header.sop_class_uid,
            sop_instance_uid=header.sop_instance_uid,
            transfer_syntax_uid=header.transfer_syntax_uid,
            head=draft.blob.refs([header.head]),
            data_set=draft.blob.refs(header.data_set.pieces),
            series=leaving.series,
            near=content.near,
            whole=content.whole,
        )
    )
    place = len(plan_branch.items) - 1
    for destination in branch.destinations:
        if (destination, leaving.gather, index, digest) not in draft.sent:
            draft.sent.add((destination, leaving.gather, index, digest))
            draft.wanted.setdefault(_Way(key, destination, leaving.gather, leaving.uid), []).append(place)


def _digest(header: Header) -> str:
    """Two branches' results of one received instance are equal when their new bytes and their slices are."""
    digest = sha256(header.head)
    for piece in header.data_set.pieces:
        digest.update(b"S%d+%d" % (piece.offset, piece.length) if isinstance(piece, Slice) else b"B" + piece)
    return digest.hexdigest()


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
