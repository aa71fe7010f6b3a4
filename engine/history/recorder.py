"""Writing history: rows go as JSON lines to a segment of this process alone, one append a call.

    history/segments/<view>/<writer>.jsonl            being written; `<writer>` is the pid and a random token
    history/segments/<view>/<writer>-<ns>.sealing     renamed by the sealer: nobody writes to it any more

A writer holds `flock` on its segment for the length of one append, and looks whether the name still leads to the file
that it has open; the sealer renames first and takes the lock second. So a row goes either into a file that the sealer
will still read, or into a new one. A kill at any moment leaves whole lines and at most one torn last line.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
import weakref
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from engine.durable import write_all
from engine.history.columns import VIEWS

__all__ = ["Recorder"]

_COLUMNS = {view: frozenset(columns) for view, columns in VIEWS.items()}
_TIMES = {name for columns in VIEWS.values() for name, kind in columns.items() if kind == "time"}


class Recorder:
    """Appends rows to the history; one for each process, used by any of its threads, and safe across a fork.

    `node` fills the column of that name in rows that do not say it.
    """

    def __init__(self, history_dir: Path, node: str = "") -> None:
        self._segments = history_dir / "segments"
        self._node = node
        self._open: dict[str, int] = {}
        weakref.finalize(self, _close, self._open)  # a descriptor that nobody can reach any more is not kept
        self._fresh()
        weak = weakref.WeakMethod(self._in_child)
        os.register_at_fork(after_in_child=lambda: (method := weak()) and method())

    def _fresh(self) -> None:
        self._writer = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._lock = threading.Lock()

    def _in_child(self) -> None:
        """A forked child writes segments of its own, and holds no copy of its parent's locks open."""
        self._fresh()
        _close(self._open)

    def write(
        self, view: str, rows: Sequence[Mapping[str, Any]], *, replayed: bool = False, sync: bool = False
    ) -> None:
        """Append the rows to a view's segment: all of them or, when this raises, none.

        Each row has an `id` made from what it tells; `at` is now where it is not given. Times are aware datetimes, text
        columns take anything JSON for `header`. `replayed` marks rows written again by crash recovery: readers count
        them only where no other row has their id. `sync` returns only when they are on disk.
        Raises ValueError for an unknown view or column or a row without an id; OSError when the disk says no.
        """
        if not rows:
            return
        known = _COLUMNS.get(view)
        if known is None:
            raise ValueError(f"The history has no view called {view!r}; there are {', '.join(VIEWS)}.")
        now = datetime.now(UTC)
        lines = b"".join(_line(self._complete(view, known, row, now, replayed)) for row in rows)
        with self._lock:
            self._append(view, lines, sync)

    def close(self) -> None:
        """Let go of the segments; they are sealed like any other. A later write begins new ones."""
        with self._lock:
            _close(self._open)

    def _complete(
        self, view: str, known: frozenset[str], row: Mapping[str, Any], now: datetime, replayed: bool
    ) -> dict[str, Any]:
        if not row.keys() <= known:
            raise ValueError(f"The view {view} has no column {', '.join(sorted(row.keys() - known))}.")
        if not row.get("id"):
            raise ValueError(f"A row of {view} has no id: without one it could be counted twice.")
        out = {"at": now, "node": self._node, **row, "replayed": replayed or bool(row.get("replayed"))}
        for name, value in out.items():
            if name in _TIMES and value is not None:
                out[name] = _utc(view, name, value)
        header = out.get("header")
        if header is not None and not isinstance(header, str):
            out["header"] = _dumps(header).decode()
        return out

    def _append(self, view: str, lines: bytes, sync: bool) -> None:
        path = self._segments / view / f"{self._writer}.jsonl"
        fd = self._locked(view, path)
        try:
            start = os.fstat(fd).st_size
            try:
                write_all(fd, lines)
            except OSError:
                os.ftruncate(fd, start)  # a full disk may have taken a part: all or nothing
                raise
            if sync:
                os.fsync(fd)
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)

    def _locked(self, view: str, path: Path) -> int:
        """The view's segment, open and locked, and still under its own name (the sealer may just have taken it)."""
        while True:
            fd = self._open.get(view)
            if fd is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
                self._open[view] = fd
            fcntl.flock(fd, fcntl.LOCK_EX)
            try:
                named = path.stat()
            except FileNotFoundError:
                named = None
            if named is not None and os.path.samestat(named, os.fstat(fd)):
                return fd
            del self._open[view]
            os.close(fd)  # and the lock with it


def _close(descriptors: dict[str, int]) -> None:
    while descriptors:
        os.close(descriptors.popitem()[1])


def _utc(view: str, name: str, value: Any) -> Any:
    """A time in UTC: the day that a row belongs to is read from it."""
    if isinstance(value, str):
        if value.endswith(("Z", "+00:00")):
            return value
        value = datetime.fromisoformat(value)
    if value.tzinfo is None:
        raise ValueError(f"The time in {view}.{name} has no zone.")
    return value.astimezone(UTC)


def _line(row: dict[str, Any]) -> bytes:
    return _dumps(row, orjson.OPT_APPEND_NEWLINE)


def _dumps(value: Any, option: int = 0) -> bytes:
    try:
        return orjson.dumps(value, option=option | orjson.OPT_UTC_Z)
    except TypeError:  # text with lone surrogates is not UTF-8: keep the row, with a ? for each
        return orjson.dumps(_encodable(value), option=option | orjson.OPT_UTC_Z)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_encodable(k): _encodable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(v) for v in value]
    return value
