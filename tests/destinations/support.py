"""What the destination tests share: instances to send, and a list that takes receipts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from engine.destinations.base import Destination, Outgoing
from engine.dicom.content import Content, Slice
from engine.dicom.file_meta import encode_head
from engine.dicom.header import Header
from engine.model import Receipt

__all__ = ["CT", "deliver", "explicit", "instance", "instances"]

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def explicit(tag: int, vr: str, value: bytes) -> bytes:
    """One element, explicit VR little endian."""
    value += b" " * (len(value) % 2) if vr != "UI" else b"\0" * (len(value) % 2)
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + vr.encode()
    if vr in ("OW", "OB", "UT"):
        return head + b"\0\0" + len(value).to_bytes(4, "little") + value
    return head + len(value).to_bytes(2, "little") + value


def instance(
    folder: Path, index: int, *, patient: str = "4711", uid: str = "", pixels: bytes = b"\1\2" * 5000
) -> Outgoing:
    """A received CT instance as it leaves unchanged: a file of the spool, and its data set as a slice of it."""
    uid = uid or f"1.2.3.{index}"
    data = b"".join(
        [
            explicit(0x00080005, "CS", b"ISO_IR 192"),
            explicit(0x00080016, "UI", CT.encode()),
            explicit(0x00080018, "UI", uid.encode()),
            explicit(0x00080060, "CS", b"CT"),
            explicit(0x00100020, "LO", patient.encode()),
            explicit(0x0020000D, "UI", b"1.2.3"),
            explicit(0x0020000E, "UI", b"1.2.3.99999"),
            explicit(0x7FE00010, "OW", pixels),
        ]
    )
    head = encode_head(CT, uid, EXPLICIT)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{index:06}-{len(list(folder.iterdir()))}.dcm"
    file.write_bytes(head + data)
    header = Header.read(file)
    return Outgoing(index, CT, uid, EXPLICIT, head, Content((Slice(file, len(head), len(data)),)), header)


def instances(folder: Path, count: int) -> list[Outgoing]:
    return [instance(folder, i) for i in range(count)]


def deliver(
    destination: Destination, outgoing: Sequence[Outgoing], stop: threading.Event | None = None
) -> list[Receipt]:
    """Deliver, and give the receipts in the order in which they came."""
    receipts: list[Receipt] = []
    destination.deliver(outgoing, lambda *told: receipts.extend(told), stop or threading.Event())
    return receipts
