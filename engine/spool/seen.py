"""What this node has received and delivered of late, by SOP Instance UID: so that what comes again is known for it.

One SQLite file. It is no promise: what it has lost is taken for new, and sent. Only what is surely the same is ever skipped.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from engine.duplicates import Again

__all__ = ["Print", "Seen", "Sight", "print_of"]

log = logging.getLogger(__name__)

EDGE = 64 << 10
TABLES = """
CREATE TABLE IF NOT EXISTS received (
    uid TEXT PRIMARY KEY, series TEXT, near TEXT, whole TEXT, place TEXT, at REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sent (
    destination TEXT, uid TEXT, series TEXT, near TEXT, whole TEXT, place TEXT, at REAL, PRIMARY KEY (destination, uid)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Print:
    """What tells contents apart: `near` by length and both ends, `whole` by every byte ("" where nobody asked for it)."""

    near: str
    whole: str

    def of_change(self, change: bytes) -> Print:
        """The print of what a rule made of it."""
        near, whole = (sha256(p.encode() + change).hexdigest() if p else "" for p in (self.near, self.whole))
        return Print(near, whole)


def print_of(path: Path, data_offset: int, *, whole: bool) -> Print:
    """The print of a file's data set, which begins at `data_offset`."""
    with path.open("rb", buffering=0) as f:
        size = os.fstat(f.fileno()).st_size
        head = os.pread(f.fileno(), EDGE, data_offset)
        tail = os.pread(f.fileno(), EDGE, max(data_offset, size - EDGE))
        near = sha256(b"%d:" % (size - data_offset) + head + tail).hexdigest()
        if not whole:
            return Print(near, "")
        digest = sha256()
        f.seek(data_offset)
        while chunk := f.read(1 << 20):
            digest.update(chunk)
        return Print(near, digest.hexdigest())


@dataclass(frozen=True, slots=True)
class Sight:
    """One instance as it was seen: in which series, with which content, where (`batch/file`) and when."""

    uid: str
    series: str
    print: Print
    place: str
    at: float = 0.0

    def again(self, earlier: Sight) -> Again | None:
        """How this one repeats an earlier one; None when that is itself, decided again."""
        if self.place == earlier.place:
            return None
        if self.series != earlier.series:
            return Again.OTHER_SERIES
        both = self.print.whole and earlier.print.whole
        same = self.print.whole == earlier.print.whole if both else self.print.near == earlier.print.near
        return Again.SAME_BYTES if same else Again.OTHER_BYTES

    def surely_same(self, earlier: Sight) -> bool:
        """Whether every byte was compared."""
        return bool(self.print.whole) and self.print.whole == earlier.print.whole


class Seen:
    """The file; any number of processes and threads may use it."""

    def __init__(self, spool: Path) -> None:
        self._path = spool / "seen.db"

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._connect()
        except sqlite3.DatabaseError as e:
            aside = self._path.with_name(f"seen.db.damaged-{int(time.time())}")
            log.error("%s is damaged (%s): put aside as %s, duplicates are remembered anew", self._path, e, aside.name)  # noqa: TRY400
            self._path.rename(aside)
            for rest in ("-wal", "-shm"):
                Path(f"{self._path}{rest}").unlink(missing_ok=True)
            connection = self._connect()
        with closing(connection), connection:
            yield connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=30)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")  # what a power cut takes is sent again
            connection.executescript(TABLES)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def looking(self) -> Iterator[Callable[[str], Sight | None]]:
        """Inside the block: what was received under a SOP Instance UID, if anything."""
        with self._open() as connection:

            def look(uid: str) -> Sight | None:
                found = connection.execute(
                    "SELECT uid, series, near, whole, place, at FROM received WHERE uid = ?", (uid,)
                ).fetchone()
                return _sight(found) if found else None

            yield look

    def sent(self, destination: str, uids: Iterable[str]) -> dict[str, Sight]:
        """What a destination has confirmed of these UIDs, as they left."""
        sql = "SELECT uid, series, near, whole, place, at FROM sent WHERE destination = ? AND uid = ?"
        with self._open() as connection:
            rows = [connection.execute(sql, (destination, uid)).fetchone() for uid in uids]
        return {row[0]: _sight(row) for row in rows if row}

    def note_received(self, sights: Iterable[Sight]) -> None:
        self._note("INSERT OR REPLACE INTO received VALUES (?, ?, ?, ?, ?, ?)", (), sights)

    def note_sent(self, destination: str, sights: Iterable[Sight]) -> None:
        self._note("INSERT OR REPLACE INTO sent VALUES (?, ?, ?, ?, ?, ?, ?)", (destination,), sights)

    def _note(self, sql: str, bound: tuple[str, ...], sights: Iterable[Sight]) -> None:
        now = time.time()
        rows = [(*bound, s.uid, s.series, s.print.near, s.print.whole, s.place, now) for s in sights]
        if rows:
            with self._open() as connection:
                connection.executemany(sql, rows)

    def forget(self, seconds: float) -> None:
        """Forget what is older."""
        if self._path.exists():
            with self._open() as connection:
                for table in ("received", "sent"):
                    connection.execute(f"DELETE FROM {table} WHERE at < ?", (time.time() - seconds,))  # noqa: S608


def _sight(row: tuple[Any, ...]) -> Sight:
    return Sight(row[0], row[1], Print(row[2], row[3]), row[4], row[5])
