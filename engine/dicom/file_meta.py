"""DICOM File Meta Information (PS3.10 7.1): the head of every file in the spool."""

from __future__ import annotations

import struct

__all__ = ["IMPLEMENTATION_CLASS_UID", "IMPLEMENTATION_VERSION_NAME", "encode_head"]

IMPLEMENTATION_CLASS_UID = "1.2.826.0.1.3680043.10.1530.1"
IMPLEMENTATION_VERSION_NAME = "AXIOM_FLOW_0_1"


def _element(group_element: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr in (b"UI", b"OB") else b" "
    head = struct.pack("<HH", group_element >> 16, group_element & 0xFFFF) + vr
    if vr == b"OB":
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def encode_head(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae: str = ""
) -> bytes:
    """Preamble, `DICM` and file meta for a data set, as bytes: what precedes the data set in a Part 10 file.

    `source_ae` goes into (0002,0016) Source Application Entity Title when given.
    """
    body = (
        _element(0x00020001, b"OB", b"\0\1")
        + _element(0x00020002, b"UI", sop_class_uid.encode("ascii", "replace"))
        + _element(0x00020003, b"UI", sop_instance_uid.encode("ascii", "replace"))
        + _element(0x00020010, b"UI", transfer_syntax_uid.encode("ascii", "replace"))
        + _element(0x00020012, b"UI", IMPLEMENTATION_CLASS_UID.encode())
        + _element(0x00020013, b"SH", IMPLEMENTATION_VERSION_NAME.encode())
    )
    if source_ae.strip():
        body += _element(0x00020016, b"AE", source_ae.strip().encode("ascii", "replace")[:16])
    return bytes(128) + b"DICM" + _element(0x00020000, b"UL", struct.pack("<I", len(body))) + body
