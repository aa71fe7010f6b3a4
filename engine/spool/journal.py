"""What happened here of late, a line each: what counters, live pages and alerts are made of.

    spool/journal/20261124T10.jsonl     the lines of an hour (UTC); any process appends, one write a line

Readers keep how far they have read in each file. A crash may write a line twice, never lose one that was promised: what is
made of a line carries its `id`. Nothing of a patient stands here. History and ledgers hold the whole truth.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from engine.spool.files import append_line

__all__ = ["Cursor", "Journal"]

log = logging.getLogger(__name__)

Cursor = dict[str, int]
"""How far each file was read: name -> bytes. A file that it does not name was not read at all."""

KEPT_HOURS = 2
MOST_BYTES = 8 << 20
"""So much of a file is read at once: a reader that was away catches up in steps."""


class Journal:
    """The journal of one spool."""

    def __init__(self, spool: Path) -> None:
        self.folder = spool / "journal"

    def write(self, what: str, /, *, sync: bool = False, **fields: Any) -> None:
        """Append a line. `sync` returns only when it is on disk. Raises OSError when the disk says no."""
        now = datetime.now(UTC)
        line = orjson.dumps({"t": what, "at": now.timestamp(), **fields})
        path = self.folder / f"{now:%Y%m%dT%H}.jsonl"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            fd = os.open(path, flags, 0o600)
        except FileNotFoundError:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(path, flags, 0o600)
        try:
            append_line(fd, line)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)

    def try_write(self, what: str, /, **fields: Any) -> None:
        """Append a line that only counts: a disk that says no must not stop the work that is counted."""
        try:
            self.write(what, **fields)
        except OSError as e:
            log.warning("the journal cannot be written, so that its counters are behind: %s", e)

    def end(self) -> Cursor:
        """Where it ends now: a reader that begins here sees only what is to come."""
        return {path.name: path.stat().st_size for path in self._files()}

    def read(self, cursor: Mapping[str, int]) -> tuple[list[dict[str, Any]], Cursor]:
        """The lines behind the cursor, oldest file first, and the cursor behind them (without files that are gone)."""
        lines: list[dict[str, Any]] = []
        after: Cursor = {}
        for path in self._files():
            begin = cursor.get(path.name, 0)
            after[path.name] = begin
            try:
                if path.stat().st_size == begin:
                    continue
                with path.open("rb") as file:
                    file.seek(begin)
                    data = file.read(MOST_BYTES)
            except FileNotFoundError:
                continue
            whole = data[: data.rfind(b"\n") + 1]  # what follows is being written
            after[path.name] = begin + len(whole)
            lines += [line for raw in whole.splitlines() if (line := _parse(raw)) is not None]
        return lines, after

    def forget(self, cursor: Mapping[str, int], now: datetime | None = None) -> None:
        """Remove the files of past hours that `cursor` has read to their end."""
        oldest = f"{(now or datetime.now(UTC)) - timedelta(hours=KEPT_HOURS):%Y%m%dT%H}.jsonl"
        for path in self._files():
            if path.name < oldest and cursor.get(path.name) == path.stat().st_size:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.jsonl"))


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        line = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None  # torn by a full disk or a crash
    return line if isinstance(line, dict) and "t" in line else None
