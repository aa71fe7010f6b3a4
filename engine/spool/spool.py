"""One node's spool: the folders, and what moves between them. State is where a folder stands; moves are atomic renames.

    receiving/ -> ready/ -> routed/ -> kept/        batches
    held/  unmatched/                               instances that wait for a person, or for a later rule: batches too
    outbox/<destination>/  dead/<destination>/      pointers to deliveries with work, or with refused instances
    gathering/                                      pointers to deliveries that wait for the rest of their study (gathering.py)

Who works on a batch holds its lock, who works on a delivery holds its ledger's: the kernel returns both when a process ends.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson

from engine.durable import fsync_dir, write_durably
from engine.errors import Conflict, Missing
from engine.spool.batch import LOCK, BatchInfo, read_batch_file, remove_batch, write_batch_file
from engine.spool.commitments import SpoolCommitments
from engine.spool.files import is_id, locked, subfolders, try_lock
from engine.spool.gathering import Gatherings
from engine.spool.intake import SpoolIntake, hand_on
from engine.spool.journal import Journal
from engine.spool.ledger import Ledger, LedgerState, read_state
from engine.spool.outbox import Outbox
from engine.spool.plan import Plan, PlanDelivery, read_plan
from engine.spool.seen import Seen

__all__ = ["BOXES", "Spool"]

log = logging.getLogger(__name__)

BOXES = ("held", "unmatched")
STATES = ("receiving", "ready", "routed", "kept", *BOXES, "outbox", "dead", "gathering", "removing")


class Spool:
    """A spool folder. Any number of processes may work on it; one (the supervisor) sweeps it."""

    def __init__(self, root: Path, *, node: str) -> None:
        self.root = root
        self.node = node
        self.outbox = Outbox(root)
        self.gatherings = Gatherings(root)
        self.seen = Seen(root)
        self.commitments = SpoolCommitments(root / "commitments")
        self.journal = Journal(root)

    def make(self) -> None:
        """Make the folders. Raises OSError where that is not allowed."""
        for name in STATES:
            (self.root / name).mkdir(parents=True, exist_ok=True, mode=0o700)

    def intake(
        self, *, max_instances: int, min_free_bytes: int, on_ready: Callable[[], None] = lambda: None
    ) -> SpoolIntake:
        """The front door for sources."""
        return SpoolIntake(
            self.root, node=self.node, max_instances=max_instances, min_free_bytes=min_free_bytes, on_ready=on_ready
        )

    # --- batches ---------------------------------------------------------------------------------

    def batches(self, state: str) -> list[Path]:
        """Folders of the batches in a state, oldest first."""
        return subfolders(self.root / state)

    def has_ready(self) -> bool:
        return bool(self.batches("ready"))

    @contextmanager
    def claim(self, folder: Path) -> Iterator[BatchInfo | None]:
        """Take a batch in ready/, with its lock held inside the block; None if another has it or it has moved on."""
        fd = try_lock(folder / LOCK)
        if fd is None:
            yield None
            return
        try:
            yield read_batch_file(folder)
        finally:
            os.close(fd)

    def route_done(self, batch: BatchInfo) -> BatchInfo:
        """ready/ -> routed/: its plan stands. Call with the batch's lock held."""
        target = self.root / "routed" / batch.id
        (batch.folder / "ledger").mkdir(exist_ok=True, mode=0o700)
        batch.folder.rename(target)
        return batch.moved(target)

    def open_deliveries(self, batch: BatchInfo, plan: Plan) -> None:
        """Make the outbox entry of each delivery that is not final, or let it join its gathering. Twice makes it once."""
        for delivery in plan.deliveries:
            if not self._final_ledger(batch.folder, delivery.number).exists():
                self._open(batch, plan, delivery)

    def _open(self, batch: BatchInfo, plan: Plan, delivery: PlanDelivery) -> None:
        if delivery.gather is None:
            self.outbox.add(delivery.destination, plan.delivery_id(delivery))
        else:
            self.gatherings.join(plan, delivery, expected=batch.association.study_instances)

    # --- deliveries ------------------------------------------------------------------------------

    def locate(self, delivery_id: str) -> tuple[Path, Plan, PlanDelivery] | None:
        """A delivery's batch folder, plan and place in it; None when the batch is gone or finished."""
        batch_id, _, number = delivery_id.rpartition(".")
        if not is_id(batch_id) or not re.fullmatch("[0-9]{1,9}", number):
            return None
        folder = self.root / "routed" / batch_id
        plan = read_plan(folder)
        if plan is None or int(number) >= len(plan.deliveries):
            return None
        return folder, plan, plan.deliveries[int(number)]

    @staticmethod
    def ledger_path(folder: Path, number: int) -> Path:
        return folder / "ledger" / f"{number}.jsonl"

    @staticmethod
    def _final_ledger(folder: Path, number: int) -> Path:
        return folder / "ledger" / f"{number}.final.jsonl"

    def is_final(self, folder: Path, delivery: PlanDelivery) -> bool:
        """Whether nothing is left of it."""
        return self._final_ledger(folder, delivery.number).exists()

    def close_gathered(self, folder: Path, delivery: PlanDelivery, ledger: Ledger, into: str) -> None:
        """Its instances are in another batch now, which delivers them. The ledger's lock is held."""
        ledger.gathered(into)
        ledger.path.rename(self._final_ledger(folder, delivery.number))

    def claim_delivery(self, delivery_id: str) -> tuple[Path, Plan, PlanDelivery, Ledger] | None:
        """Take a delivery; None when another has it, or nothing is left of it (its outbox entry is then removed)."""
        found = self.locate(delivery_id)
        if found is None:
            return None
        folder, plan, delivery = found
        if self._final_ledger(folder, delivery.number).exists():
            self.outbox.remove(delivery.destination, delivery_id)
            self.finish(folder, plan)
            return None
        path = self.ledger_path(folder, delivery.number)
        try:
            ledger = Ledger.try_open(path, self.indexes(plan, delivery))
        except FileNotFoundError:
            return None  # the batch was finished in the meantime
        if ledger is None:
            return None
        if self._final_ledger(folder, delivery.number).exists():  # made final between the look and the lock
            path.unlink(missing_ok=True)
            ledger.close()
            return None
        return folder, plan, delivery, ledger

    @staticmethod
    def indexes(plan: Plan, delivery: PlanDelivery) -> list[int]:
        """The instances of a delivery, by their index in the batch."""
        items = plan.branches[delivery.branch].items
        return [items[i].index for i in delivery.items]

    def state_of(self, folder: Path, plan: Plan, delivery: PlanDelivery) -> LedgerState:
        """A delivery's state, for showing."""
        indexes = self.indexes(plan, delivery)
        final = self._final_ledger(folder, delivery.number)
        return read_state(final if final.exists() else self.ledger_path(folder, delivery.number), indexes)

    def settle(self, folder: Path, plan: Plan, delivery: PlanDelivery, ledger: Ledger) -> LedgerState:
        """After an attempt or a person's word: bring outbox and dead letters in line with the ledger. Lock held."""
        state = ledger.state()
        delivery_id = plan.delivery_id(delivery)
        if state.refused:
            self.outbox.bury(delivery.destination, delivery_id)
        else:
            self.outbox.unbury(delivery.destination, delivery_id)
        if state.is_final(ledger.indexes):
            ledger.path.rename(self._final_ledger(folder, delivery.number))
            self.outbox.remove(delivery.destination, delivery_id)
        elif all(state.settled(i) for i in ledger.indexes):
            self.outbox.remove(delivery.destination, delivery_id)  # the rest is a person's
        else:
            due = datetime.fromisoformat(state.next_at).timestamp() if state.next_at else None
            self.outbox.add(delivery.destination, delivery_id, due)
        return state

    def finish(self, folder: Path, plan: Plan, *, lock_held: bool = False) -> bool:
        """routed/ -> kept/ when every delivery is final. The last look is under the batch's lock.

        `lock_held`: the caller has it already; taking it once more would wait for oneself.
        """
        try:
            with nullcontext() if lock_held else locked(folder / LOCK):
                if not all(self._final_ledger(folder, d.number).exists() for d in plan.deliveries):
                    return False
                target = self.root / "kept" / folder.name
                folder.rename(target)
                os.utime(target)  # retention counts from here
        except FileNotFoundError:
            return False  # another worker finished it first
        return True

    @contextmanager
    def slot(self, destination: str, parallel: int) -> Iterator[bool]:
        """One of a destination's parallel places, over all worker processes; False when all are taken."""
        folder = self.root / "outbox" / destination
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        slots = self.root / "slots"
        slots.mkdir(exist_ok=True, mode=0o700)
        for n in range(parallel):
            fd = try_lock(slots / f"{destination}.{n}")
            if fd is not None:
                try:
                    yield True
                finally:
                    os.close(fd)
                return
        yield False

    # --- boxes: held and unmatched ---------------------------------------------------------------

    def fill_box(
        self, box: str, batch: BatchInfo, reasons: Mapping[str, str], revision: int, waits: Mapping[str, str] = {}
    ) -> None:
        """Put instances of a batch aside, by hard links inside the spool, as a batch of their own.

        waits: of some files, the part that was away and that they wait for.
        """
        target = self.root / box / batch.id
        if not reasons or target.exists():
            return
        making = self.root / box / f".{batch.id}"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        for name in reasons:
            (making / name).hardlink_to(batch.folder / name)
        write_durably(
            making / "box.json",
            orjson.dumps(
                {"reasons": dict(reasons), "revision": revision, "at": datetime.now(UTC).isoformat(), "waits": dict(waits)}
            ),
        )
        write_batch_file(making, batch.association, batch.received_at, batch.node, batch.replay_of)
        making.rename(target)
        fsync_dir(target.parent)

    def release(self, box: str, batch_id: str) -> str:
        """Send a box through routing again, under the name `<batch>-rN`; returns that. Raises Missing, Conflict."""
        folder = self._box(box, batch_id)
        base, _, tries = batch_id.partition("-r")
        new_id = f"{base}-r{int(tries or 0) + 1}"
        fd = try_lock(folder / LOCK)
        if fd is None:
            raise Conflict(f"{batch_id} is being worked on right now: try again in a moment.")
        try:
            info = replace(read_batch_file(folder), replay_of=batch_id)
            write_batch_file(folder, info.association, info.received_at, info.node, info.replay_of)
            folder.rename(self.root / "ready" / new_id)
        finally:
            os.close(fd)
        return new_id

    def discard_box(self, box: str, batch_id: str) -> None:
        """Throw a box away for good, on a person's word. Raises Missing."""
        remove_batch(self._box(box, batch_id))

    def box_reasons(self, box: str, batch_id: str) -> dict[str, object]:
        """`box.json`: {"reasons": {file: reason}, "revision", "at", "waits": {file: the part that was away}}."""
        data: dict[str, object] = orjson.loads((self._box(box, batch_id) / "box.json").read_bytes())
        return data

    def _box(self, box: str, batch_id: str) -> Path:
        folder = self.root / box / batch_id
        if box not in BOXES or not is_id(batch_id) or not folder.is_dir():
            raise Missing(f"There is nothing called {batch_id} among the {box} any more.")
        return folder

    # --- what the sweep does ---------------------------------------------------------------------

    def adopt_orphans(self) -> int:
        """Finish the batches in receiving/ whose process is gone; returns how many moved on."""
        count = 0
        for folder in self.batches("receiving"):
            fd = try_lock(folder / LOCK)
            if fd is None:
                continue
            try:
                count += hand_on(folder, self.root / "ready")
            finally:
                os.close(fd)
        for folder in (self.root / "receiving").glob(".*"):
            self._drop_if_old(folder)
        return count

    @staticmethod
    def _drop_if_old(folder: Path) -> None:
        """A folder that was never finished being made holds nothing that was answered for."""
        try:
            if time.time() - folder.stat().st_mtime > 3600:
                shutil.rmtree(folder)
        except FileNotFoundError:
            return

    def repair_routed(self, folder: Path) -> bool:
        """Re-create what a crash left out after the plan: outbox entries, the move to kept/. True: nothing was missing."""
        plan = read_plan(folder)
        if plan is None:
            return True
        missing = False
        open_left = False
        for delivery in plan.deliveries:
            delivery_id = plan.delivery_id(delivery)
            if self._final_ledger(folder, delivery.number).exists():
                continue
            open_left = True
            if delivery.gather is not None:
                if not self.gatherings.has(plan, delivery) and not self.is_final(folder, delivery):
                    self._open(read_batch_file(folder), plan, delivery)
                continue
            if self.outbox.has(delivery.destination, delivery_id):
                continue
            state = self.state_of(folder, plan, delivery)
            if state.refused:
                self.outbox.bury(delivery.destination, delivery_id)
            if not all(state.settled(i) for i in self.indexes(plan, delivery)):
                self.outbox.add(delivery.destination, delivery_id)
                missing = True
        if not open_left:
            self.finish(folder, plan)
        return not missing

    def clear_removing(self) -> None:
        """Finish removals that a crash cut off."""
        for folder in self.batches("removing"):
            shutil.rmtree(folder, ignore_errors=True)

    def retire(self, state: str, older_than_seconds: float, *, at_most: int | None = None) -> int:
        """Remove batches of kept/ or unmatched/ whose time is over; returns how many."""
        count = 0
        now = time.time()
        for folder in self.batches(state):
            if at_most is not None and count >= at_most:
                break
            try:
                if now - folder.stat().st_mtime > older_than_seconds:
                    remove_batch(folder)
                    count += 1
            except FileNotFoundError:
                continue
        return count
