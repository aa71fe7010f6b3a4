"""C-MOVEs that are awaited: records by which a listener, in another process, knows whose images come in.

    moves/<message id>.json     who asked whom; its name is the Message ID, so that no two moves of a node share one
          <message id>.came     the SOP Instance UIDs that have arrived, a line each

They help to tell things apart, and no image depends on them: without a record it belongs to the listener that took it.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from dataclasses import asdict
from pathlib import Path

import orjson

from engine.errors import Retry
from engine.model import Association

__all__ = ["Moves", "SpoolMove"]

_LONGEST = 0xFFFF
_TRIES = 200
_STALE_SECONDS = 6 * 3600.0
"""A record that nothing was added to for so long was left by a process that is gone; its images have come by then."""


class SpoolMove:
    """One awaited C-MOVE, as who asked for it and the listener see it."""

    def __init__(self, record: Path, association: Association) -> None:
        self.association = association
        self.move_id = int(record.stem)
        self._record = record
        self._came = record.with_suffix(".came")

    def arrived(self, sop_instance_uid: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._record)
        fd = os.open(self._came, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, sop_instance_uid.encode("ascii", "replace") + b"\n")
        finally:
            os.close(fd)

    def instances(self) -> set[str]:
        try:
            return {line for line in self._came.read_text("ascii").splitlines() if line}
        except FileNotFoundError:
            return set()

    def done(self) -> None:
        self._record.unlink(missing_ok=True)
        self._came.unlink(missing_ok=True)


class Moves:
    """The awaited moves of one node's spool."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def announce(self, association: Association, peer_ae: str) -> SpoolMove:
        """Raises Retry when every Message ID that was tried is awaited already."""
        self._folder.mkdir(exist_ok=True, mode=0o700)
        self._clear()
        data = orjson.dumps({"association": asdict(association), "peer_ae": peer_ae})
        for number in random.sample(range(1, _LONGEST + 1), _TRIES):
            record = self._folder / f"{number}.json"
            with contextlib.suppress(FileExistsError):
                fd = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                os.write(fd, data)
                os.close(fd)
                return SpoolMove(record, association)
        raise Retry("Too many C-MOVEs are awaited on this node: try again when some have ended.")

    def find(self, originator: str, move_id: int, calling_ae: str) -> SpoolMove | None:
        """The move with this Message ID. Its originator is who asked, or, as some archives fill it in, the archive."""
        record = self._folder / f"{move_id}.json"
        try:
            data = orjson.loads(record.read_bytes())
            association = Association(**data["association"])
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None  # none, or one that is being written in this moment: then nobody was asked yet
        if originator in (association.called_ae, data["peer_ae"], calling_ae):
            return SpoolMove(record, association)
        return None

    def _clear(self) -> None:
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()
