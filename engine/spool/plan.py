"""What was decided for a batch, written before anything is done about it. The rename to `plan` is the decision.

The plan names received files and, for what was changed, ranges of `blob` (the new header bytes): pixel data stays where
it was received. A retry reads the same plan, so it sends the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from engine.dicom.content import Content, Slice
from engine.durable import fsync_dir
from engine.model import Gather

__all__ = ["BLOB", "PLAN", "BlobWriter", "Plan", "PlanBranch", "PlanDelivery", "PlanItem", "Ref", "commit_plan", "read_plan"]

PLAN = "plan"
BLOB = "blob"
EVENTS = "events"

Ref = tuple[str, int, int]
"""A range of a file in the batch's folder: name, offset, length."""


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One instance as it leaves by one branch."""

    index: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    head: list[Ref]
    data_set: list[Ref]
    origin: tuple[str, int] | None = None
    """Of a gathered one: the batch that it was received in, and its index there."""
    series: str = ""
    """Its Series Instance UID as it leaves."""
    near: str = ""
    whole: str = ""
    """What tells its content from others (seen.Print)."""

    def content(self, folder: Path) -> tuple[bytes, Content]:
        """The head's bytes, and the data set as slices of files in `folder`."""
        return self._slices(folder, self.head).read(), self._slices(folder, self.data_set)

    @staticmethod
    def _slices(folder: Path, refs: list[Ref]) -> Content:
        return Content(tuple(Slice(folder / name, offset, length) for name, offset, length in refs))


@dataclass(frozen=True, slots=True)
class PlanBranch:
    """What one live match makes of the batch: its rule, and the instances as it changed them."""

    ruleset: str
    rule: str
    items: list[PlanItem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PlanDelivery:
    """One branch to one destination. Its id is the batch's with the delivery's number: made twice, it is one."""

    number: int
    branch: int
    destination: str
    items: list[int]
    """Places in the branch's items (an instance that another branch sends there unchanged alike is left out)."""
    gather: Gather | None = None
    """It joins a gathering (gathering.py) and is not delivered by itself."""
    gathered_uid: str = ""
    """The Study or Series Instance UID, as it leaves, that it is gathered by."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The decision for a whole batch, pinned to one revision."""

    batch: str
    revision: int
    decided_at: str
    branches: list[PlanBranch]
    deliveries: list[PlanDelivery]
    held: dict[str, str]
    """File name -> why it could not be decided or changed."""
    unmatched: list[str]
    """Names of the files that no live rule matched."""
    waits: dict[str, str] = field(default_factory=dict)
    """File name -> the part that was away, of those held until it is back."""

    def delivery_id(self, delivery: PlanDelivery) -> str:
        return f"{self.batch}.{delivery.number}"


class BlobWriter:
    """Puts new header bytes into the batch's `blob` as they come, and answers with references to them.

    They go to the disk at once, since the headers of enhanced multi-frame images may be many megabytes each.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / BLOB
        self._file: BinaryIO | None = None
        self._at = 0

    def refs(self, pieces: Iterable[bytes | Slice]) -> list[Ref]:
        """References for pieces: bytes go into the blob, slices point into the received file they come from."""
        out: list[Ref] = []
        for piece in pieces:
            if isinstance(piece, bytes):
                out.append((BLOB, self._at, len(piece)))
                self._write(piece)
            else:
                out.append((piece.path.name, piece.offset, piece.length))
        return out

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self._file = self._path.open("wb")
        self._file.write(data)
        self._at += len(data)

    def finish(self) -> None:
        """Make it durable."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


def _write_fsynced(path: Path, parts: Sequence[bytes]) -> None:
    with path.open("wb") as f:
        f.writelines(parts)
        f.flush()
        os.fsync(f.fileno())


def commit_plan(folder: Path, plan: Plan, blob: BlobWriter, events: bytes) -> None:
    """Write blob, events and plan, fsync them, and rename `plan.tmp` to `plan`: from then on it is decided.

    `events` are the history rows of this decision; they stay in the folder until they are told (see flow.finish).
    """
    blob.finish()
    _write_fsynced(folder / EVENTS, [events])
    _write_fsynced(folder / "plan.tmp", [orjson.dumps(asdict(plan))])
    (folder / "plan.tmp").rename(folder / PLAN)
    fsync_dir(folder)


def read_plan(folder: Path) -> Plan | None:
    """The batch's plan, or None while it is undecided."""
    try:
        data: dict[str, Any] = orjson.loads((folder / PLAN).read_bytes())
    except FileNotFoundError:
        return None
    return Plan(
        batch=data["batch"],
        revision=data["revision"],
        decided_at=data["decided_at"],
        branches=[
            PlanBranch(b["ruleset"], b["rule"], [PlanItem(**i) for i in b["items"]]) for b in data["branches"]
        ],
        deliveries=[_read_delivery(d) for d in data["deliveries"]],
        held=data["held"],
        unmatched=data["unmatched"],
        waits=data.get("waits", {}),
    )


def _read_delivery(data: dict[str, Any]) -> PlanDelivery:
    gather = data.pop("gather", None)
    return PlanDelivery(**data, gather=Gather(**gather) if gather else None)
