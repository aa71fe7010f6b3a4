"""What both DIMSE benchmarks share: a corpus of files, DCMTK's programs, medians and ratios."""

from __future__ import annotations

import os
import statistics
import struct
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.destinations.base import Outgoing
from engine.dicom.content import Content, Slice
from engine.dicom.file_meta import encode_head

__all__ = ["CT", "EXPLICIT", "SIZES", "compare", "corpus", "dcmtk"]

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
SIZES = {"small": (64, 80), "CT": (512, 512)}
"""Rows and columns at 16 bits: about 11 KB and 525 KB."""


class NoTags:
    """Tags of a made-up instance: none is asked for."""

    def text(self, path: str) -> str:
        return ""


def _element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    value += (b"\0" if vr in (b"UI", b"OW") else b" ") * (len(value) % 2)
    length = struct.pack("<HI", 0, len(value)) if vr == b"OW" else struct.pack("<H", len(value))
    return struct.pack("<HH", group, element) + vr + length + value


def _data_set(uid: str, rows: int, columns: int) -> bytes:
    us = struct.Struct("<H").pack
    return b"".join(
        _element(group, element, vr, value)
        for group, element, vr, value in (
            (0x0008, 0x0016, b"UI", CT.encode()), (0x0008, 0x0018, b"UI", uid.encode()), (0x0008, 0x0060, b"CS", b"CT"),
            (0x0010, 0x0010, b"PN", b"Bench^Mark"), (0x0010, 0x0020, b"LO", b"BENCH-1"),
            (0x0020, 0x000D, b"UI", b"1.2.826.0.1.3680043.10.1530.9"),
            (0x0020, 0x000E, b"UI", b"1.2.826.0.1.3680043.10.1530.9.1"),
            (0x0028, 0x0002, b"US", us(1)), (0x0028, 0x0004, b"CS", b"MONOCHROME2"), (0x0028, 0x0010, b"US", us(rows)),
            (0x0028, 0x0011, b"US", us(columns)), (0x0028, 0x0100, b"US", us(16)), (0x0028, 0x0101, b"US", us(12)),
            (0x0028, 0x0102, b"US", us(11)), (0x0028, 0x0103, b"US", us(0)),
            (0x7FE0, 0x0010, b"OW", os.urandom(rows * columns * 2)),
        )
    )  # fmt: skip


def corpus(folder: Path, size: str, count: int) -> list[Outgoing]:
    """`count` CT images in `folder`, each a Part 10 file with a UID of its own."""
    folder.mkdir(parents=True)
    out = []
    for i in range(count):
        uid = f"1.2.826.0.1.3680043.10.1530.9.1.{i}"
        head, data_set = encode_head(CT, uid, EXPLICIT), _data_set(uid, *SIZES[size])
        path = folder / f"{i:05}.dcm"
        path.write_bytes(head + data_set)
        content = Content((Slice(path, len(head), len(data_set)),))
        out.append(Outgoing(i, CT, uid, EXPLICIT, head, content, NoTags()))
    return out


def dcmtk(name: str, *args: object) -> subprocess.Popen[bytes]:
    """Start one of DCMTK's programs, without Nagle's algorithm."""
    env = os.environ | {"TCP_NODELAY": "1"}
    return subprocess.Popen(
        [name, *map(str, args)], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def compare(title: str, count: int, rounds: int, contenders: Iterable[tuple[str, Callable[[], float]]]) -> None:
    """Run the contenders in turn, `rounds` times; print the median rate of each and its ratio to the first."""
    contenders = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name, _ in contenders}
    for _ in range(rounds):
        for name, run in contenders:
            seconds[name].append(run())
    first = statistics.median(seconds[contenders[0][0]])
    for name, times in seconds.items():
        median = statistics.median(times)
        spread = f"{count / max(times):.0f}-{count / min(times):.0f}"
        print(f"{title:28} {name:24} {count / median:7.0f}/s ({spread:>10})  x{first / median:.2f}", flush=True)
