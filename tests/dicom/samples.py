"""Files to test with: pydicom's test data, and data sets written byte by byte."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data

from engine.dicom.file_meta import encode_head
from engine.dicom.header import Header

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
SYNTAXES = (IMPLICIT, EXPLICIT, DEFLATED, BIG)
CT = "1.2.840.10008.5.1.4.1.1.2"
UID = "1.2.826.0.1.3680043.10.1530.77.1"

_LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
_FOLDER = Path(pydicom.data.__file__).parent / "test_files"
_BROKEN = {"MR_truncated.dcm", "rtplan_truncated.dcm"}


@cache
def received_files() -> tuple[Path, ...]:
    """pydicom's test files that are whole instances with a file meta, as the spool would hold them."""
    found = []
    for path in sorted(_FOLDER.rglob("*")):
        if not path.is_file() or path.name in _BROKEN or path.name.startswith("DICOMDIR"):
            continue
        data = path.read_bytes()
        if data[128:132] != b"DICM":
            continue
        meta = pydicom.dcmread(path, specific_tags=["SOPInstanceUID", "SOPClassUID"])
        if "TransferSyntaxUID" in meta.file_meta and meta.file_meta.get("MediaStorageSOPClassUID"):
            found.append(path)
    return tuple(found)


def sample(name: str) -> Path:
    return next(_FOLDER.rglob(name))


@dataclass
class E:
    """One element to write: raw value bytes, or items (each a list of E)."""

    tag: int
    vr: str
    value: bytes = b""
    items: list[list[E]] | None = None
    undefined: bool = False
    undefined_items: bool = False
    extra: dict[str, Any] = field(default_factory=dict)


def encode(elements: Sequence[E], syntax: str = EXPLICIT) -> bytes:
    """The bytes of a data set, written by rote from PS3.5 7.1 and not by the engine's own code."""
    order = ">" if syntax == BIG else "<"
    return b"".join(_element(e, syntax, order) for e in elements)


def _element(e: E, syntax: str, order: str) -> bytes:
    group, number = e.tag >> 16, e.tag & 0xFFFF
    body = e.value
    if e.items is not None:
        body = b""
        for item in e.items:
            content = encode(item, syntax)
            length = 0xFFFFFFFF if e.undefined_items else len(content)
            body += struct.pack(order + "HHL", 0xFFFE, 0xE000, length) + content
            if e.undefined_items:
                body += struct.pack(order + "HHL", 0xFFFE, 0xE00D, 0)
    length = 0xFFFFFFFF if e.undefined else len(body)
    tail = struct.pack(order + "HHL", 0xFFFE, 0xE0DD, 0) if e.undefined else b""
    if syntax == IMPLICIT:
        return struct.pack(order + "HHL", group, number, length) + body + tail
    if e.vr in _LONG:
        return struct.pack(order + "HH2sHL", group, number, e.vr.encode(), 0, length) + body + tail
    return struct.pack(order + "HH2sH", group, number, e.vr.encode(), length) + body + tail


def text(tag: int, vr: str, value: str, charset: str = "ascii") -> E:
    data = value.encode(charset)
    return E(tag, vr, data + (b"\0" if vr == "UI" else b" ") * (len(data) % 2))


def basics() -> list[E]:
    return [text(0x00080016, "UI", CT), text(0x00080018, "UI", UID)]


def write(path: Path, elements: Sequence[E], syntax: str = EXPLICIT) -> Path:
    """A Part 10 file of these elements, in tag order as given."""
    body = encode(elements, EXPLICIT if syntax in (DEFLATED, JPEG) else syntax)
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-15)
        body = packer.compress(body) + packer.flush()
        body += b"\0" * (len(body) % 2)
    path.write_bytes(encode_head(CT, UID, syntax, "SENDER") + body)
    return path


def header(path: Path, elements: Sequence[E], syntax: str = EXPLICIT) -> Header:
    return Header.read(write(path, elements, syntax))


def as_file(changed: Header) -> bytes:
    """What leaves: head and data set."""
    return changed.head + changed.data_set.read()
