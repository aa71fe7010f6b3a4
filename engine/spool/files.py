"""Small durable file operations: what the spool's promises are made of."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["append_line", "is_id", "is_locked", "locked", "subfolders", "try_lock"]

_ID = re.compile(r"[A-Za-z0-9-]{1,128}")


def is_id(text: str) -> bool:
    """Whether this can be the name of a folder of ours. It may come from a request: it must not be a path, and not longer than
    a name may be."""
    return _ID.fullmatch(text) is not None


def append_line(fd: int, line: bytes) -> None:
    """Append one line by one write to a descriptor opened with O_APPEND: whole, or torn only as the last one."""
    written = os.write(fd, line + b"\n")
    if written != len(line) + 1:
        # A short write (disk full): end the torn line, so that the next one stands alone.
        os.write(fd, b"\n")
        raise OSError(f"only {written} of {len(line) + 1} bytes of a ledger line could be written")


def try_lock(path: Path, *, create: bool = True) -> int | None:
    """Take the lock file `path` if nobody has it; returns its descriptor (close it to release), None if it is taken.

    The kernel gives the lock back when its process ends, however it ends: so a lock is a claim that needs no sweeping.
    Returns None too when the file is gone (and `create` is false): its folder has moved on.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    try:
        fd = os.open(path, flags, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        still_there = path.stat().st_ino == os.fstat(fd).st_ino
    except (BlockingIOError, FileNotFoundError):
        still_there = False
    if not still_there:  # taken, or its folder was renamed between the open and the lock: that state is over
        os.close(fd)
        return None
    return fd


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock file right now: for showing. A worker that tries at this moment tries again."""
    fd = try_lock(path, create=False)
    if fd is None:
        return path.exists()
    os.close(fd)
    return False


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold the lock file `path`, waiting for it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def subfolders(path: Path) -> list[Path]:
    """The folders in `path` by name, oldest batch first (their names begin with the time); none if it is not there."""
    try:
        with os.scandir(path) as entries:
            names = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith("."))
    except FileNotFoundError:
        return []
    return [path / name for name in names]
