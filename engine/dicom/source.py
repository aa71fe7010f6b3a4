"""Random access to bytes that stand partly in memory and partly in a file, read in windows, never more than asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from engine.dicom.content import Slice
from engine.errors import Hold

__all__ = ["Source"]

WINDOW: Final = 1 << 15


class Source:
    """A run of pieces as one address space that begins at 0. Windows read once are kept."""

    __slots__ = ("_windows", "elements", "fd", "length", "pieces", "stepped_over")

    def __init__(self, pieces: tuple[bytes | Slice, ...], windows: list[tuple[int, bytes]] | None = None) -> None:
        self.pieces = pieces
        self.length = sum(len(p) if isinstance(p, bytes) else p.length for p in pieces)
        self.stepped_over = self.length
        """Where the first element begins that the walk stepped over unread; the end when there is none."""
        self.fd: int | None = None
        """The received file while it stands open, for what is read of it then: it need not be opened again."""
        self.elements = 0
        """How many elements the walk met: more than the index has where a tag comes twice."""
        self._windows = windows if windows is not None else _in_memory(pieces)

    def window(self, at: int, need: int) -> tuple[int, bytes]:
        """Where a buffer begins that holds `need` bytes from `at` (fewer only where the bytes end), and the buffer."""
        stop = min(at + need, self.length)
        for base, data in self._windows:
            if base <= at and stop <= base + len(data):
                return base, data
        data = self._load(at, min(max(stop, at + WINDOW), self.length))
        self._windows.append((at, data))
        return at, data

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to before `stop`. Raises Hold when the file has become shorter than it was."""
        for base, data in self._windows:
            if base <= start and stop <= base + len(data):
                return data[start - base : stop - base]
        return self._load(start, stop)

    def cut(self, start: int, stop: int) -> Iterator[bytes | Slice]:
        """The pieces between two places, without reading anything."""
        at = 0
        for piece in self.pieces:
            length = len(piece) if isinstance(piece, bytes) else piece.length
            a, b = max(start, at) - at, min(stop, at + length) - at
            if a < b:
                yield piece[a:b] if isinstance(piece, bytes) else Slice(piece.path, piece.offset + a, b - a)
            at += length

    def _load(self, start: int, stop: int) -> bytes:
        return b"".join(p if isinstance(p, bytes) else _pread(p, self.fd) for p in self.cut(start, stop))


def _in_memory(pieces: tuple[bytes | Slice, ...]) -> list[tuple[int, bytes]]:
    out, at = [], 0
    for piece in pieces:
        if isinstance(piece, bytes):
            out.append((at, piece))
            at += len(piece)
        else:
            at += piece.length
    return out


def _pread(piece: Slice, open_fd: int | None) -> bytes:
    try:
        fd = os.open(piece.path, os.O_RDONLY | os.O_CLOEXEC) if open_fd is None else open_fd
        try:
            data = os.pread(fd, piece.length, piece.offset)
        finally:
            if open_fd is None:
                os.close(fd)
    except OSError as e:
        raise Hold(f"The received file cannot be read: {e.strerror}.") from e
    if len(data) != piece.length:
        raise Hold("The received file is shorter than it was when its header was read.")
    return data
