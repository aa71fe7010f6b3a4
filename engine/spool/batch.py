"""A batch's folder: its association, its files. The folder's place says its state; its lock says who works on it.

    <batch>/batch.json     who sent it, when, to which node
            000001.dcm ... the instances, Part 10, as received
            lock           held (flock) by whoever receives, routes or finishes it
            plan, blob     what was decided, once it is            (plan.py)
            ledger/N.jsonl what became of each delivery            (ledger.py)
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import orjson

from engine.durable import write_durably
from engine.model import Association

__all__ = ["LOCK", "BatchInfo", "read_batch_file", "remove_batch", "write_batch_file"]

LOCK = "lock"


@dataclass(frozen=True, slots=True)
class BatchInfo:
    """What is known of a batch without looking into its instances."""

    id: str
    folder: Path
    association: Association
    received_at: datetime
    """When the batch was opened: schedules look at this, so that a backlog does not change a decision."""
    node: str
    replay_of: str = ""
    """The batch whose held or unmatched instances these are, when a person sent them through again."""

    def files(self) -> list[Path]:
        """The instances in the order of their arrival."""
        return sorted(self.folder.glob("[0-9]*.dcm"))

    def moved(self, folder: Path) -> BatchInfo:
        return replace(self, folder=folder)


def write_batch_file(folder: Path, association: Association, at: datetime, node: str, replay_of: str = "") -> None:
    """Write `batch.json`, durably."""
    data = {"association": asdict(association), "received_at": at.isoformat(), "node": node, "replay_of": replay_of}
    write_durably(folder / "batch.json", orjson.dumps(data))


def read_batch_file(folder: Path) -> BatchInfo:
    """Read `batch.json`. Raises OSError or ValueError when it is not there or broken."""
    data = orjson.loads((folder / "batch.json").read_bytes())
    return BatchInfo(
        id=folder.name,
        folder=folder,
        association=Association(**data["association"]),
        received_at=datetime.fromisoformat(data["received_at"]),
        node=data["node"],
        replay_of=data.get("replay_of", ""),
    )


def remove_batch(folder: Path) -> None:
    """Remove a batch for good: first out of its state by a rename, so that a crash leaves nothing half there."""
    gone = folder.parent.parent / "removing" / folder.name
    gone.parent.mkdir(exist_ok=True, mode=0o700)
    folder.rename(gone)
    shutil.rmtree(gone)
