"""Headers written byte by byte (explicit VR little endian), so that a test can say anything a file might say."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from engine.dicom.file_meta import encode_head
from engine.dicom.header import Header
from engine.dicom.paths import TagPath
from engine.dicom.vr import NUMBERS
from engine.model import Association
from engine.rules.columns import columns_of

LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_FOLDER = TemporaryDirectory(prefix="rules")
_numbers = itertools.count()
SENDER = Association("modalities", "dimse_listener", "CT01", "AXIOM", "10.1.2.3")

Elements = Mapping[int, tuple[str, Any]]
"""Tag -> (VR, value): text, bytes, a number, a list of these, or for SQ a list of Elements."""


def element(tag: int, vr: str, value: Any) -> bytes:
    data = encoded(vr, value)
    if len(data) % 2:
        data += b"\0" if vr in ("UI", "OB", "UN") else b" "
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    return head + (struct.pack("<HI", 0, len(data)) if vr in LONG else struct.pack("<H", len(data))) + data


def encoded(vr: str, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if vr == "SQ":
        items = [data_set(item) for item in value]
        return b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
    if isinstance(value, str):
        return value.encode()
    values = value if isinstance(value, Sequence) else [value]
    if vr in NUMBERS:
        return b"".join(struct.pack(f"<{NUMBERS[vr]}", one) for one in values)
    if vr == "AT":
        return b"".join(struct.pack("<HH", one >> 16, one & 0xFFFF) for one in values)
    return "\\".join(map(str, values)).encode()


def data_set(elements: Elements) -> bytes:
    return b"".join(element(tag, *elements[tag]) for tag in sorted(elements))


def header(elements: Elements | None = None, **keywords: Any) -> Header:
    """A header of these elements, and of others by keyword with the dictionary's VR; UTF-8."""
    return Header.read(file(elements, **keywords))


def file(elements: Elements | None = None, **keywords: Any) -> Path:
    """The same as a file."""
    everything = {0x00080005: ("CS", "ISO_IR 192")} | dict(elements or {})
    for keyword, value in keywords.items():
        path = TagPath.parse(keyword)
        tag = path.steps[0].tag
        assert tag is not None
        everything[tag] = (path.vr.split(" or ")[0], value)
    path = Path(_FOLDER.name) / f"{next(_numbers)}.dcm"
    path.write_bytes(encode_head(CT, "1.2.3.4", EXPLICIT_LITTLE) + data_set(everything))
    return path


def row(one: Header, association: Association = SENDER, received_at: Any = None) -> dict[str, Any]:
    """What history keeps of it: the columns that rules ask for."""
    return {
        **columns_of(one),
        "transfer_syntax_uid": one.transfer_syntax_uid,
        "source": association.source,
        "source_kind": association.source_kind,
        "calling_ae": association.calling_ae,
        "called_ae": association.called_ae,
        "source_ip": association.source_ip,
        "tls_subject": association.tls_subject,
        "user": association.user,
        "received_at": received_at,
        "header": orjson.dumps(one.as_json()).decode(),
    }
