"""Gatherings: deliveries of several batches that wait for the rest of their series or study, to be delivered together.

    gathering/open/<key>/    one rule, destination and study: about.json, `due` (its modification time is when it ends),
                             members/<batch>.<delivery> (the SOP Instance UIDs, a line each)
    gathering/ended/<batch>/ the same after its end, under the name of the batch that it becomes
    gathering/before/<key>   when one of this key ended: what comes after it is late

A delivery moves one way: open, ended, then its own ledger is final. So who looks in this order never misses it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from engine.durable import fsync_dir, write_durably
from engine.errors import Missing
from engine.model import Gather
from engine.spool.files import is_id, locked, subfolders
from engine.spool.intake import new_batch_id
from engine.spool.plan import Plan, PlanDelivery

__all__ = ["Gathering", "Gatherings"]


@dataclass(frozen=True, slots=True)
class Gathering:
    """One gathering as it stands."""

    folder: Path
    ruleset: str
    rule: str
    destination: str
    gather: Gather
    uid: str
    """The Study or Series Instance UID as it leaves."""
    opened_at: float
    """Seconds since the epoch."""
    late: bool
    """One of the same study or series was delivered before: these came after its end."""
    expected: int
    """How many instances the sources said the study has; 0: unknown."""

    @property
    def key(self) -> str:
        return self.folder.name

    @property
    def due(self) -> float:
        """When it ends unless more comes, seconds since the epoch. Raises FileNotFoundError when it has ended."""
        return (self.folder / "due").stat().st_mtime

    def members(self) -> list[str]:
        """Ids of its deliveries, in the order of their batches."""
        return sorted(f.name for f in self._member_files())

    def instances(self) -> set[str]:
        """The SOP Instance UIDs that have come, as they leave."""
        return {uid for f in self._member_files() for uid in f.read_text().split()}

    def _member_files(self) -> list[Path]:
        return [f for f in (self.folder / "members").iterdir() if f.suffix != ".tmp"]


class Gatherings:
    """All gatherings of one spool. Any number of processes may use them."""

    def __init__(self, spool: Path) -> None:
        self.root = spool / "gathering"
        self._open, self._ended, self._before = (self.root / n for n in ("open", "ended", "before"))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One at a time: each of these is a few small files."""
        for folder in (self._open, self._ended, self._before):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.root / "lock"):
            yield

    def join(self, plan: Plan, delivery: PlanDelivery, *, expected: int = 0) -> None:
        """Let a delivery join the gathering of its key, which is made at the first; twice makes it once. Durable on return."""
        gather = delivery.gather
        assert gather is not None
        branch = plan.branches[delivery.branch]
        uids = [branch.items[i].sop_instance_uid for i in delivery.items]
        with self._changing():
            folder = self._open / _key(plan, delivery)
            if self.has(plan, delivery):
                return
            if not (folder / "about.json").exists():
                (folder / "members").mkdir(parents=True, exist_ok=True, mode=0o700)
                about = {
                    "ruleset": branch.ruleset, "rule": branch.rule, "destination": delivery.destination,
                    "level": gather.level, "quiet": gather.quiet, "at_most": gather.at_most, "uid": delivery.gathered_uid,
                    "opened_at": time.time(), "late": (self._before / folder.name).exists(), "expected": expected,
                }  # fmt: skip
                write_durably(folder / "about.json", orjson.dumps(about))
                fsync_dir(self._open)
            write_durably(folder / "members" / plan.delivery_id(delivery), "\n".join(uids).encode())
            self._set_due(folder, gather, expected)

    def _set_due(self, folder: Path, gather: Gather, expected: int) -> None:
        """The end moves with each image; when all that were announced are there it has come."""
        gathering = _read(folder)
        expected = max(expected, gathering.expected)
        due = min(time.time() + gather.quiet, gathering.opened_at + gather.at_most)
        if gather.level == "study" and 0 < expected <= len(gathering.instances()):
            due = 0.0
        (folder / "due").touch(mode=0o600)
        os.utime(folder / "due", (due, due))
        if expected != gathering.expected:
            about: dict[str, Any] = orjson.loads((folder / "about.json").read_bytes())
            write_durably(folder / "about.json", orjson.dumps(about | {"expected": expected}))

    def has(self, plan: Plan, delivery: PlanDelivery) -> bool:
        """Whether a delivery is in a gathering that is open or has ended. Ask for its final ledger after this, not before."""
        name = plan.delivery_id(delivery)
        if (self._open / _key(plan, delivery) / "members" / name).exists():
            return True
        return any((folder / "members" / name).exists() for folder in subfolders(self._ended))

    def has_work(self) -> bool:
        """Whether one is due, or has ended and is not yet a delivery."""
        now = time.time()
        return bool(subfolders(self._ended)) or any(_due(folder) <= now for folder in subfolders(self._open))

    def end_due(self) -> list[Path]:
        """End those whose time has come; gives the folders of all that have ended and are not yet a delivery."""
        now = time.time()
        for folder in [f for f in subfolders(self._open) if _due(f) <= now]:
            with self._changing():
                if _due(folder) > time.time():  # one more image came between the look and the lock
                    continue
                marker = self._before / folder.name
                marker.touch(mode=0o600)
                os.utime(marker)
                folder.rename(self._ended / new_batch_id(datetime.now(UTC)))
                fsync_dir(self._ended)
        return subfolders(self._ended)

    def listing(self) -> list[Gathering]:
        """Those that are open, first due first."""
        found = []
        for folder in subfolders(self._open):
            try:
                gathering = _read(folder)
                found.append((gathering.due, gathering))
            except FileNotFoundError:
                continue  # ended, or only now being made
        return [gathering for _, gathering in sorted(found, key=lambda pair: pair[0])]

    def read(self, folder: Path) -> Gathering:
        """One that has ended."""
        return _read(folder)

    def remove(self, folder: Path) -> None:
        """Remove one that has become a delivery: out of sight at once, so that a crash leaves no half of it."""
        gone = self.root.parent / "removing" / f"gathering-{folder.name}"
        folder.rename(gone)
        shutil.rmtree(gone)

    def send_now(self, key: str) -> None:
        """End one on a person's word. Raises Missing."""
        folder = self._open / key
        with self._changing():
            if not is_id(key) or not (folder / "about.json").is_file():
                raise Missing(f"There is no gathering {key} any more: it is being delivered, or was.")
            (folder / "due").touch(mode=0o600)
            os.utime(folder / "due", (0, 0))

    def forget_before(self, seconds: float) -> None:
        """Forget ends that are older: what comes then is a new gathering, not a late one."""
        with self._changing():
            for marker in self._before.iterdir():
                if time.time() - marker.stat().st_mtime > seconds:
                    marker.unlink()


def _key(plan: Plan, delivery: PlanDelivery) -> str:
    branch = plan.branches[delivery.branch]
    gather = delivery.gather
    assert gather is not None
    parts = (branch.ruleset, branch.rule, delivery.destination, gather.level, delivery.gathered_uid)
    return sha256("\0".join(parts).encode()).hexdigest()[:32]


def _due(folder: Path) -> float:
    """When an open one ends. One whose making a crash cut off has no time yet: at once, with what it holds."""
    try:
        return (folder / "due").stat().st_mtime
    except FileNotFoundError:
        return 0.0 if (folder / "about.json").exists() and any((folder / "members").iterdir()) else float("inf")


def _read(folder: Path) -> Gathering:
    about = orjson.loads((folder / "about.json").read_bytes())
    return Gathering(
        folder=folder,
        ruleset=about["ruleset"],
        rule=about["rule"],
        destination=about["destination"],
        gather=Gather(about["level"], about["quiet"], about["at_most"]),
        uid=about["uid"],
        opened_at=about["opened_at"],
        late=about["late"],
        expected=about["expected"],
    )
