"""Where history lies on disk, under which names, and which files count.

history/<view>/day=YYYY-MM-DD/<segment>-<part>.parquet            sealed rows
history/<view>/day=YYYY-MM-DD/<segment>-<part>.replayed.parquet   rows written again by recovery, not yet settled
history/<view>/day=YYYY-MM-DD/merged-<hash>.parquet               rows of many files, and beside it, for a while:
history/<view>/day=YYYY-MM-DD/merged-<hash>.replaces              the names of those files: they no longer count
history/broken/<view>/<segment>.jsonl                             lines that could not be read, kept for a person
history/.lock                                                     held by the one process that seals and compacts
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

import orjson

from engine.durable import fsync_dir

__all__ = ["Sealed", "counting", "day_folders", "is_replayed", "one_at_a_time", "sealed", "write_durably"]

_REPLAYED = ".replayed.parquet"


class Sealed(NamedTuple):
    """The Parquet files of a view that count: every row once, but for `replayed`, which may repeat one of `rows`."""

    rows: list[Path]
    replayed: list[Path]


def is_replayed(file: Path | str) -> bool:
    return str(file).endswith(_REPLAYED)


def day_folders(history_dir: Path, view: str) -> list[tuple[date, Path]]:
    """The day folders of a view, oldest first."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(history_dir / view):
            with contextlib.suppress(ValueError):
                if entry.name.startswith("day="):
                    found.append((date.fromisoformat(entry.name[4:]), Path(entry.path)))
    return sorted(found)


def sealed(history_dir: Path, view: str, skip: frozenset[Path] = frozenset()) -> Sealed:
    """List what counts. Replaced files stay for a while after the merged one has come, so a listing that missed the
    merged one has all of them, and one that saw it finds its list of names (or they are gone, and opening them fails).
    """
    out = Sealed([], [])
    for _, folder in day_folders(history_dir, view):
        for file in counting(folder):
            if file not in skip:
                (out.replayed if is_replayed(file) else out.rows).append(file)
    return out


def counting(folder: Path) -> list[Path]:
    """The Parquet files of a day that count, by name."""
    try:
        names = {entry.name for entry in os.scandir(folder)}
    except FileNotFoundError:  # retired just now
        return []
    replaced: set[str] = set()
    for name in names:
        if name.startswith("merged-") and name.endswith(".parquet"):
            with contextlib.suppress(FileNotFoundError):
                replaced.update(orjson.loads((folder / name).with_suffix(".replaces").read_bytes()))
    return [folder / n for n in sorted(names - replaced) if n.endswith(".parquet") and not n.startswith(".")]


@contextlib.contextmanager
def one_at_a_time(history_dir: Path) -> Iterator[bool]:
    """Whether we are the one process that seals and compacts now; false when another is at it."""
    history_dir.mkdir(parents=True, exist_ok=True)
    fd = os.open(history_dir / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(fd)


def write_durably(path: Path, data: bytes) -> None:
    """Put a whole small file in place of whatever was there; on disk when this returns."""
    tmp = path.with_name(f".{path.name}.tmp")
    with tmp.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    tmp.replace(path)
    fsync_dir(path.parent)
