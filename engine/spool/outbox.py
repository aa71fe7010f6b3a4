"""Which deliveries have work: an empty file each, `outbox/<destination>/<delivery>`, whose modification time is when it is due.

`dead/<destination>/<delivery>` stands beside it while a person has to look at refused instances. Both only point: the
ledger says what is left, so an entry made twice, or one too many, does no harm.
"""

from __future__ import annotations

import os
from pathlib import Path

from engine.spool.files import subfolders

__all__ = ["Outbox"]


class Outbox:
    """The pointers to unfinished deliveries of one spool."""

    def __init__(self, spool: Path) -> None:
        self.root = spool / "outbox"
        self.dead_root = spool / "dead"

    def destinations(self) -> list[str]:
        return [f.name for f in subfolders(self.root)]

    def dead_destinations(self) -> list[str]:
        return [f.name for f in subfolders(self.dead_root)]

    def add(self, destination: str, delivery: str, due: float | None = None) -> None:
        """Make the entry, or bring the one that is there to `due` (seconds since the epoch; None: at once)."""
        _touch(self.root / destination / delivery, due)

    def has(self, destination: str, delivery: str) -> bool:
        return (self.root / destination / delivery).exists()

    def remove(self, destination: str, delivery: str) -> None:
        (self.root / destination / delivery).unlink(missing_ok=True)

    def entries(self, destination: str) -> list[tuple[float, str]]:
        """(due, delivery) of all that wait for a destination, first due first, then oldest first."""
        return _entries(self.root / destination)

    def bury(self, destination: str, delivery: str) -> None:
        """Show it among the dead letters."""
        path = self.dead_root / destination / delivery
        if not path.exists():
            _touch(path, None)

    def unbury(self, destination: str, delivery: str) -> None:
        (self.dead_root / destination / delivery).unlink(missing_ok=True)

    def dead(self, destination: str) -> list[tuple[float, str]]:
        return _entries(self.dead_root / destination)


def _touch(path: Path, due: float | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.close(fd)
    os.utime(path, None if due is None else (due, due))


def _entries(folder: Path) -> list[tuple[float, str]]:
    out: list[tuple[float, str]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    out.append((entry.stat().st_mtime, entry.name))
                except FileNotFoundError:
                    continue  # finished in the meantime
    except FileNotFoundError:
        return []
    return sorted(out)
