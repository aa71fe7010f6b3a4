"""Small durable file operations that every part which keeps a promise on disk shares."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["fsync_dir", "replace_file", "write_all", "write_durably"]


def fsync_dir(path: Path) -> None:
    """Make a folder's entries durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write all of it: the kernel may take less at once (a full disk, more than 2 GB). Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def replace_file(path: Path, data: bytes) -> None:
    """Put a small file in the place of the former, so that a reader sees one or the other whole. Not made durable."""
    tmp = path.with_name(path.name + ".tmp")
    tmp.write_bytes(data)
    tmp.replace(path)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file that is either wholly there or not at all, also after a power cut: tmp, fsync, rename, fsync folder."""
    tmp = path.with_name(path.name + ".tmp")
    fd = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    tmp.rename(path)
    fsync_dir(path.parent)
