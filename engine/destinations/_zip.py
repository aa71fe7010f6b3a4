"""A ZIP archive as pieces: headers made here, files as they are (stored, not compressed), so that it is written like any
other content, never held in memory, and the same files give the same bytes.

PKWARE's APPNOTE 6.3, with ZIP64 where sizes, offsets or counts need it. Names are UTF-8 (general purpose bit 11).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Final, NamedTuple

from engine.dicom.content import Content, Slice

__all__ = ["Entry", "crc32_of", "distinct", "zip_of"]

_UTF8: Final = 1 << 11
_PLAIN: Final = 20
_ZIP64: Final = 45
_DATE: Final = (1980 - 1980) << 9 | 1 << 5 | 1
"""The first day that the format knows: the time of a delivery would make the same archive another one."""
_FULL: Final = 0xFFFFFFFF
_MANY: Final = 0xFFFF


class Entry(NamedTuple):
    """A file of the archive."""

    name: str
    content: Content
    crc32: int


def crc32_of(content: Content) -> int:
    """Reads all of it. Raises EOFError, OSError."""
    crc = 0
    for chunk in content.chunks():
        crc = zlib.crc32(chunk, crc)
    return crc


def distinct(entries: Iterable[Entry]) -> list[Entry]:
    """With a number before the extension for a name that an earlier entry has."""
    out: list[Entry] = []
    taken: set[str] = set()
    for entry in entries:
        name, number = entry.name, 0
        stem, dot, end = name.rpartition(".") if "." in name else (name, "", "")
        while name in taken:
            number += 1
            name = f"{stem}.{number}{dot}{end}"
        taken.add(name)
        out.append(entry._replace(name=name))
    return out


def zip_of(entries: Iterable[Entry]) -> Content:
    """The archive of these files, in their order."""
    pieces: list[bytes | Slice] = []
    directory: list[bytes] = []
    at = 0
    for entry in entries:
        head, size = _local(entry), entry.content.length
        directory.append(_central(entry, at))
        pieces += [head, *entry.content.pieces]
        at += len(head) + size
    pieces.append(b"".join(directory) + _end(len(directory), sum(map(len, directory)), at))
    return Content(tuple(pieces))


def _local(entry: Entry) -> bytes:
    name, size = entry.name.encode(), entry.content.length
    extra = struct.pack("<HHQQ", 1, 16, size, size) if size >= _FULL else b""
    shown = _FULL if extra else size
    version = _ZIP64 if extra else _PLAIN
    fields = (0x04034B50, version, _UTF8, 0, 0, _DATE, entry.crc32, shown, shown, len(name), len(extra))
    return struct.pack("<IHHHHHIIIHH", *fields) + name + extra


def _central(entry: Entry, at: int) -> bytes:
    name, size = entry.name.encode(), entry.content.length
    large = [size, size] if size >= _FULL else []
    far = [at] if at >= _FULL else []
    values = large + far
    extra = struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values) if values else b""
    shown, version = (_FULL if large else size), (_ZIP64 if values else _PLAIN)
    made_by = 3 << 8 | version  # Unix, so that the permissions below are read
    fields = (
        0x02014B50, made_by, version, _UTF8, 0, 0, _DATE, entry.crc32, shown, shown, len(name), len(extra), 0, 0, 0,
        0o100640 << 16, _FULL if far else at,
    )  # fmt: skip
    return struct.pack("<IHHHHHHIIIHHHHHII", *fields) + name + extra


def _end(count: int, size: int, at: int) -> bytes:
    out = b""
    if count >= _MANY or size >= _FULL or at >= _FULL:
        fields = (0x06064B50, 44, 3 << 8 | _ZIP64, _ZIP64, 0, 0, count, count, size, at)
        out = struct.pack("<IQHHIIQQQQ", *fields) + struct.pack("<IIQI", 0x07064B50, 0, at + size, 1)
    shown = min(count, _MANY)
    return out + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, shown, shown, min(size, _FULL), min(at, _FULL), 0)
