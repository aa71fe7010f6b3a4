"""The spool's front door: instances become durable files, batches are handed to routing.

An image counts when its file and its folder entry are fsynced; only then may the peer hear success.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from engine.durable import fsync_dir
from engine.errors import OutOfSpace
from engine.model import Association
from engine.spool.batch import LOCK, read_batch_file, write_batch_file
from engine.spool.commitments import SpoolCommitments
from engine.spool.files import try_lock
from engine.spool.journal import Journal
from engine.spool.moves import Moves, SpoolMove

__all__ = ["SpoolBatch", "SpoolIncoming", "SpoolIntake", "new_batch_id"]

log = logging.getLogger(__name__)

SIDE_BY_SIDE = 8


def new_batch_id(now: datetime) -> str:
    """A batch's name: the time, so that names sort by age, and 48 random bits."""
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}-{secrets.token_hex(6)}"


class SpoolIncoming:
    """One instance being received: `NNNNNN.part`, which becomes `NNNNNN.dcm` when it counts."""

    def __init__(self, batch: SpoolBatch, number: int, head: bytes) -> None:
        self._batch = batch
        self.file = batch.folder / f"{number:06d}.part"
        self.path = batch.folder / f"{number:06d}.dcm"
        self.fd = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.write(self.fd, head)

    def commit(self) -> None:
        """Data first, then its name, each fsynced: no crash can leave a name without its data."""
        error = self.settle()
        if error is not None:
            raise error
        self._batch.committed(1)

    def settle(self) -> OSError | None:
        """The data on disk, and its name given; only the name's own fsync is left. What fails is discarded."""
        try:
            os.fdatasync(self.fd)
            self.file.rename(self.path)
        except OSError as e:
            self.discard()
            return e
        os.close(self.fd)
        self.fd = -1
        return None

    def discard(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            self.file.unlink(missing_ok=True)


class SpoolBatch:
    """The batch of one association, STOW request or retrieved study while it is being received."""

    def __init__(self, intake: SpoolIntake, association: Association) -> None:
        self._intake = intake
        now = datetime.now(UTC)
        self.id = new_batch_id(now)
        self.folder = intake.receiving / self.id
        self.count = 0
        self._next = 1
        # Made under a hidden name, which the sweep leaves alone, until its lock is held: from then on a batch in
        # receiving/ whose lock is free was left by a process that is gone.
        making = intake.receiving / f".{self.id}"
        making.mkdir(mode=0o700)
        self._lock = try_lock(making / LOCK)
        write_batch_file(making, association, now, intake.node)
        making.rename(self.folder)
        fsync_dir(intake.receiving)
        self._dir = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def receive(self, head: bytes) -> SpoolIncoming:
        self._intake.require_space()
        incoming = SpoolIncoming(self, self._next, head)
        self._next += 1
        return incoming

    def commit_all(self, incomings: Sequence[SpoolIncoming]) -> list[OSError | None]:
        """Their data is written side by side, which disks do in less time than one after the other; their names at once."""
        with ThreadPoolExecutor(min(len(incomings), SIDE_BY_SIDE)) as pool:
            errors = list(pool.map(SpoolIncoming.settle, incomings))
        self.committed(errors.count(None))
        return errors

    def committed(self, count: int) -> None:
        """Make the names of instances durable that have been settled."""
        os.fsync(self._dir)
        self.count += count

    def seal(self) -> None:
        if self._dir < 0:
            return
        os.close(self._dir)
        self._dir = -1
        ready = hand_on(self.folder, self._intake.ready)
        if self._lock is not None:
            os.close(self._lock)
        if ready:
            log.info("a batch of %d instances is complete", self.count, extra={"batch": self.id})
            self._intake.on_ready()


class SpoolIntake:
    """Where sources put what they receive. Thread-safe; each batch belongs to one thread."""

    def __init__(
        self,
        spool: Path,
        *,
        node: str,
        max_instances: int,
        min_free_bytes: int,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self.receiving = spool / "receiving"
        self.ready = spool / "ready"
        for folder in (self.receiving, self.ready):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.node = node
        self.max_instances = max_instances
        self.on_ready = on_ready
        self._min_free = min_free_bytes
        self._moves = Moves(spool / "moves")
        self.commitments = SpoolCommitments(spool / "commitments")

    def require_space(self) -> None:
        """Raises OutOfSpace below the watermark, early enough that ledgers, routing and delivery can still write."""
        stat = os.statvfs(self.receiving)
        free = stat.f_bavail * stat.f_frsize
        if free < self._min_free:
            raise OutOfSpace(
                f"The spool has {free >> 20} MB free, below its watermark of {self._min_free >> 20} MB: "
                "make room or lower AXIOM_MIN_FREE_MB (16 is the least); senders may try again."
            )

    def open(self, association: Association) -> SpoolBatch:
        self.require_space()
        return SpoolBatch(self, association)

    def await_move(self, association: Association, peer_ae: str) -> SpoolMove:
        return self._moves.announce(association, peer_ae)

    def awaited(self, originator: str, move_id: int, calling_ae: str) -> SpoolMove | None:
        return self._moves.find(originator, move_id, calling_ae)


def hand_on(folder: Path, ready: Path) -> bool:
    """Move a batch that is complete from receiving/ to ready/; one without an instance is thrown away. True: it moved."""
    sizes = []
    for path in list(folder.iterdir()):
        if path.suffix == ".part":
            path.unlink()  # never answered: its sender sends it again
        elif path.suffix == ".dcm":
            sizes.append(path.stat().st_size)
    if sizes:
        Journal(ready.parent).try_write(
            "received", id=f"{folder.name}/received", batch=folder.name, instances=len(sizes), bytes=sum(sizes),
            source=read_batch_file(folder).association.source,
        )  # fmt: skip
        folder.rename(ready / folder.name)
        return True
    for path in list(folder.iterdir()):
        path.unlink()
    folder.rmdir()
    return False
