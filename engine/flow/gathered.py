"""What was gathered becomes a batch of its own, with one delivery: by hard links, so that no pixel is copied.

Its instances keep the name of the batch that they were received in (`origin`): history tells their attempts under it.
"""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import orjson

from engine.durable import fsync_dir, write_durably
from engine.flow.recorder import Recorder
from engine.flow.rows import Row
from engine.spool.batch import LOCK, read_batch_file, write_batch_file
from engine.spool.files import try_lock
from engine.spool.gathering import Gathering
from engine.spool.ledger import Ledger
from engine.spool.plan import BLOB, PLAN, Plan, PlanBranch, PlanDelivery, PlanItem, Ref, read_plan
from engine.spool.spool import Spool

__all__ = ["deliver_gathered"]

log = logging.getLogger(__name__)

BUILT = "built"


def deliver_gathered(spool: Spool, recorder: Recorder) -> int:
    """Make a delivery of each gathering whose time has come. Returns how many. May be cut off at any place and done again."""
    count = 0
    for folder in spool.gatherings.end_due():
        fd = try_lock(folder / LOCK)
        if fd is None:
            continue  # another worker is at it
        try:
            count += _make(spool, spool.gatherings.read(folder), recorder)
        finally:
            os.close(fd)
    return count


def _make(spool: Spool, gathering: Gathering, recorder: Recorder) -> bool:
    """The new batch is built under a hidden name; `built` says that it is whole, and only then it gets its own name, once."""
    folder, batch_id = gathering.folder, gathering.folder.name
    hidden, target = (spool.root / "routed" / name for name in (f".{batch_id}", batch_id))
    replayed = (folder / BUILT).exists()
    if not replayed:
        _build(spool, gathering, hidden)
        (folder / BUILT).touch(mode=0o600)
        fsync_dir(folder)
    if hidden.exists():
        hidden.rename(target)
        fsync_dir(target.parent)
    plan = read_plan(target)
    if plan is not None:
        spool.open_deliveries(read_batch_file(target), plan)
    handed = [_hand_over(spool, d, gathering, recorder, replayed=replayed) for d in gathering.members()]
    if all(handed):
        spool.gatherings.remove(folder)
    return all(handed)


def _build(spool: Spool, gathering: Gathering, making: Path) -> None:
    batch_id = gathering.folder.name
    shutil.rmtree(making, ignore_errors=True)
    (making / "ledger").mkdir(parents=True, mode=0o700)
    items: list[PlanItem] = []
    revision, first = 0, None
    for number, delivery_id in enumerate(gathering.members()):
        found = spool.locate(delivery_id)
        if found is None:  # its batch was thrown away by a person
            log.warning("delivery %s of gathering %s is gone", delivery_id, batch_id)
            continue
        source, plan, delivery = found
        first = first or read_batch_file(source)
        revision = max(revision, plan.revision)
        for place in delivery.items:
            item = plan.branches[delivery.branch].items[place]
            items.append(_link(source, making, item, len(items) + 1, number, plan.batch))
    if first is None:
        shutil.rmtree(making)
        return
    now = datetime.now(UTC)
    branch = PlanBranch(gathering.ruleset, gathering.rule, items)
    whole = PlanDelivery(0, 0, gathering.destination, list(range(len(items))))
    plan = Plan(batch_id, revision, now.isoformat(), [branch], [whole], {}, [])
    write_batch_file(making, first.association, first.received_at, spool.node)
    write_durably(making / PLAN, orjson.dumps(asdict(plan)))
    fsync_dir(making)


def _link(source: Path, making: Path, item: PlanItem, index: int, member: int, batch: str) -> PlanItem:
    """One instance in the new batch: its received file and the blob with its new header, under names of their own."""
    names = {f"{item.index:06d}.dcm": f"{index:06d}.dcm", BLOB: f"{BLOB}.{member}"}
    for old, new in names.items():
        if (source / old).exists() and not (making / new).exists():
            (making / new).hardlink_to(source / old)

    def moved(refs: list[Ref]) -> list[Ref]:
        return [(names[name], offset, length) for name, offset, length in refs]

    return replace(
        item, index=index, head=moved(item.head), data_set=moved(item.data_set), origin=item.origin or (batch, item.index)
    )


def _hand_over(spool: Spool, delivery_id: str, gathering: Gathering, recorder: Recorder, *, replayed: bool) -> bool:
    """Close the delivery that was gathered: the new batch has it now. False: somebody looks at its ledger just now."""
    found = spool.locate(delivery_id)
    if found is None or spool.is_final(found[0], found[2]):
        return True  # handed over before a crash
    folder, plan, delivery = found
    ledger = Ledger.try_open(spool.ledger_path(folder, delivery.number), spool.indexes(plan, delivery))
    if ledger is None:
        return False
    try:
        into = gathering.folder.name
        words = f"gathered into {into}" + (f", late: its {gathering.gather.level} went before" if gathering.late else "")
        branch = plan.branches[delivery.branch]
        rows: list[Row] = [
            {
                "id": f"{delivery_id}/gathered/{item.index}",
                "at": datetime.now(UTC).isoformat(),
                "node": spool.node,
                "delivery": delivery_id,
                "batch": plan.batch,
                "branch": f"{branch.ruleset}/{branch.rule}",
                "destination": delivery.destination,
                "attempt": 0,
                "index": item.index,
                "sop_instance_uid": item.sop_instance_uid,
                "outcome": "gathered",
                "words": words,
            }
            for item in (branch.items[i] for i in delivery.items)
        ]
        recorder.write("deliveries", rows, replayed=replayed)
        spool.close_gathered(folder, delivery, ledger, into)
        log.info("delivery %s is gathered into %s", delivery_id, into, extra={"batch": plan.batch, "into": into})
    finally:
        ledger.close()
    spool.finish(folder, plan)
    return True
