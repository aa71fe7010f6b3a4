"""A changed header from an edited tree: new bytes spliced in, the pixel data referred to where it stands."""

from __future__ import annotations

import zlib

from engine.dicom.content import Content, Slice
from engine.dicom.edit import Node
from engine.dicom.file_meta import encode_head
from engine.dicom.header import DEFLATED, Header
from engine.dicom.meta import Meta
from engine.dicom.source import Source

__all__ = ["IN_META", "patched", "with_pieces"]

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
IN_META = {SOP_CLASS_UID: 0x00020002, SOP_INSTANCE_UID: 0x00020003}
"""The elements that stand in the file meta too, by the tag that they have there."""


def patched(header: Header, root: Node, *, new_meta: bool = False) -> Header:
    """The header with the tree's changes. A new SOP Instance or Class UID goes into the file meta too (PS3.10 7.1).

    new_meta: nothing of the received preamble and file meta is kept, as where these may tell who the patient is.
    """
    meta = _meta_of(header, root) if new_meta else header.meta
    for tag, in_meta in IN_META.items():
        if root.changed_tag(tag):
            values = root.values(tag)
            meta = meta.with_uid(in_meta, str(values[0]) if values else "")
    return with_pieces(header, meta, root.pieces())


def with_pieces(header: Header, meta: Meta, pieces: tuple[bytes | Slice, ...]) -> Header:
    """The header of the same file with other file meta, and with these pieces as its data set."""
    data_set = Content(pieces)
    if header.transfer_syntax_uid in DEFLATED:
        data_set = Content((_deflate(data_set.read()),))
    changed = Header(header.path, header.size, header.data_offset, meta, data_set, Source(pieces))
    changed.sop_class_uid = changed.sop_class_uid or header.sop_class_uid
    changed.sop_instance_uid = changed.sop_instance_uid or header.sop_instance_uid
    return changed


def _meta_of(header: Header, root: Node) -> Meta:
    sop_class, sop_instance = (
        str((root.values(tag) or (instead,))[0])
        for tag, instead in ((SOP_CLASS_UID, header.sop_class_uid), (SOP_INSTANCE_UID, header.sop_instance_uid))
    )
    return Meta(encode_head(sop_class, sop_instance, header.transfer_syntax_uid))


def _deflate(data: bytes) -> bytes:
    """PS3.5 A.5: raw deflate, a NUL behind it where that makes the length even."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    out = packer.compress(data) + packer.flush()
    return out + b"\0" * (len(out) % 2)
