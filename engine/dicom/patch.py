"""A changed header from an edited tree: new bytes spliced in, the pixel data referred to where it stands."""

from __future__ import annotations

import struct
import zlib

from engine.dicom.content import Content
from engine.dicom.edit import Node
from engine.dicom.encode import pad
from engine.dicom.header import DEFLATED, Header, meta_element
from engine.dicom.source import Source

__all__ = ["patched"]

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
MEDIA_SOP_CLASS = 0x00020002
MEDIA_SOP_INSTANCE = 0x00020003


def patched(header: Header, root: Node) -> Header:
    """The header with the tree's changes. A new SOP Instance or Class UID goes into the file meta too (PS3.10 7.1)."""
    pieces = root.pieces()
    head = header.head
    for tag, meta in ((SOP_CLASS_UID, MEDIA_SOP_CLASS), (SOP_INSTANCE_UID, MEDIA_SOP_INSTANCE)):
        if root.changed_tag(tag):
            values = root.values(tag)
            head = _with_meta_uid(head, meta, str(values[0]) if values else "")
    plain = Source(pieces)
    data_set = Content(pieces)
    if header.transfer_syntax_uid in DEFLATED:
        data_set = Content((_deflate(data_set.read()),))
    return Header(header.path, header.size, header.data_offset, head, data_set, plain)


def _deflate(data: bytes) -> bytes:
    """PS3.5 A.5: raw deflate, a NUL behind it where that makes the length even."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    out = packer.compress(data) + packer.flush()
    return out + b"\0" * (len(out) % 2)


def _with_meta_uid(head: bytes, tag: int, uid: str) -> bytes:
    """File meta with one UID replaced or put in, and its group length right; the rest stays as it was."""
    value = pad(uid.encode("ascii"), "UI")
    element = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"UI", len(value)) + value
    start = end = len(head)
    for other, at, _, stop in _meta_spans(head):
        if other == tag:
            start, end = at, stop
            break
        if other > tag:
            start = end = at
            break
    out = head[:start] + element + head[end:]
    for other, _, at, stop in _meta_spans(out):
        if other == 0x00020000 and stop - at == 4:
            return out[:at] + struct.pack("<L", len(out) - stop) + out[stop:]
    return out


def _meta_spans(head: bytes) -> list[tuple[int, int, int, int]]:
    """The file meta's elements as (tag, start, value, end)."""
    out = []
    pos = 132
    while pos + 8 <= len(head):
        group, number = struct.unpack_from("<HH", head, pos)
        _, value, end = meta_element(head, pos)
        out.append((group << 16 | number, pos, value, end))
        pos = end
    return out
