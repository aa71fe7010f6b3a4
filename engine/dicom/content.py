"""Bytes that leave, as pieces: new header bytes and ranges of files. Pixel data is never copied on the way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = ["Content", "Slice"]


class Slice(NamedTuple):
    """A range of a file."""

    path: Path
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Content:
    """An ordered run of pieces, each bytes in memory or a `Slice`."""

    pieces: tuple[bytes | Slice, ...]

    @property
    def length(self) -> int:
        return sum(len(p) if isinstance(p, bytes) else p.length for p in self.pieces)

    def chunks(self, size: int = 1 << 20) -> Iterator[bytes]:
        """The bytes in order, at most `size` at a time. Raises EOFError if a file is shorter than its slice says."""
        for piece in self.pieces:
            if isinstance(piece, bytes):
                for start in range(0, len(piece), size):
                    yield piece[start : start + size]
                continue
            fd = os.open(piece.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                at, left = piece.offset, piece.length
                while left:
                    chunk = os.pread(fd, min(size, left), at)
                    if not chunk:
                        raise EOFError(f"{piece.path.name} ends before its slice does ({left} bytes are missing)")
                    yield chunk
                    at += len(chunk)
                    left -= len(chunk)
            finally:
                os.close(fd)

    def read(self) -> bytes:
        """All of it in memory: for tests and small objects."""
        return b"".join(self.chunks())

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()
