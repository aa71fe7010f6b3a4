"""Turns a data set to another character set, nested items included, and moves items between data sets."""

from __future__ import annotations

import struct

from engine.dicom.charset import Encodings, decode_text, encode_text, encodings
from engine.dicom.decode import Value
from engine.dicom.edit import Node, Sequence, Verbatim
from engine.dicom.encode import encode_values
from engine.dicom.level import CHARACTER_SET
from engine.dicom.vr import BINARY, BYTES, CHARSET
from engine.errors import Hold

__all__ = ["copy_element", "turn_to"]

ORIGINAL_ATTRIBUTES = 0x04000561
_ESCAPE = b"\x1b"


def turn_to(root: Node, names: tuple[str, ...]) -> None:
    """Re-encode every text of the data set and its items and set (0008,0005) to `names`.

    An item of an Original Attributes Sequence that names its own character set keeps it: it is a record.
    Raises Hold when a text cannot be read in its old character set, or written in the new one.
    """
    codecs = encodings(names)
    if codecs is None:
        raise Hold(f"The character set {'/'.join(names)} is unknown.")
    _turn(root, names, codecs, record=False)
    root.put(CHARACTER_SET, "CS", encode_values(names, "CS", None, "<"))


def _turn(node: Node, names: tuple[str, ...], codecs: Encodings, *, record: bool) -> None:
    old = node.encodings
    nested = node.parent is not None
    if record and nested and CHARACTER_SET in node:
        return
    for tag in node.tags():
        vr = node.vr(tag)
        if vr == "SQ":
            for item in node.items(tag):
                _turn(item, names, codecs, record=record or tag == ORIGINAL_ATTRIBUTES)
        elif vr in CHARSET:
            data = node.raw(tag)
            if not data.isascii() or _ESCAPE in data:
                node.put(tag, vr, _again(tag, data, vr, old, codecs))
    if nested and CHARACTER_SET in node:
        node.put(CHARACTER_SET, "CS", encode_values(names, "CS", None, "<"))


def _again(tag: int, data: bytes, vr: str, old: Encodings | None, new: Encodings) -> bytes:
    try:
        text = decode_text(data, vr, old, strict=True).rstrip(" \0")
    except UnicodeError as e:
        raise Hold(
            f"({tag >> 16:04X},{tag & 0xFFFF:04X}) cannot be read in the data set's character set, which must be "
            f"changed to hold a new value: {e}."
        ) from e
    try:
        out = encode_text(text, vr, new)
    except UnicodeError as e:
        raise Hold(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) cannot be written in the new character set: {e}.") from e
    return out + b" " * (len(out) % 2)


def copy_element(source: Node, tag: int, target: Node, to: int) -> None:
    """Copy an element, with its items, between data sets that may differ in form and character set.

    Raises UnicodeError when a text does not go into the target's character set, Hold when it cannot be read.
    """
    vr = source.vr(tag)
    if vr != "SQ":
        value = _value_for(source, tag, vr, target)
        as_read = source.level is not None and tag not in source.own and source.level.index[tag][0] != "UN"
        if as_read and tag == to and source.form == target.form and value == source.raw(tag):
            target.own[to] = Verbatim(vr, value, source.element_bytes(tag))  # an odd length stays odd
        else:
            target.put(to, vr, value)
        return
    given = source.sequence(tag)
    # lengths stay as they are written: in implicit VR an undefined one is all that tells a private sequence from bytes
    copies = Sequence([], undefined=given.undefined, changed=True)
    target.own[to] = copies
    for item in given.items:
        node = target.add_item(to)
        copies.items[-1].undefined = item.undefined
        for inner in item.node.tags():
            if inner != CHARACTER_SET and inner & 0xFFFF:
                copy_element(item.node, inner, node, inner)


def _value_for(source: Node, tag: int, vr: str, target: Node) -> bytes:
    data = source.raw(tag)
    if vr in CHARSET and (not data.isascii() or _ESCAPE in data) and source.encodings != target.encodings:
        try:
            text = decode_text(data, vr, source.encodings, strict=True)
        except UnicodeError as e:
            raise Hold(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) cannot be read in its character set: {e}.") from e
        out = encode_text(text.rstrip(" \0"), vr, target.encodings)
        return out + b" " * (len(out) % 2)
    if source.form.order != target.form.order:
        return _swapped(data, vr)
    return data


def _swapped(data: bytes, vr: str) -> bytes:
    """Numbers in the other byte order."""
    size = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8, "AT": 2}.get(vr, 0 if vr in BINARY else BYTES.get(vr, 0))
    code = {2: "H", 4: "L", 8: "Q"}.get(size)
    if code is None:
        return data
    count = len(data) // size
    values: tuple[Value, ...] = struct.unpack(f"<{count}{code}", data[: count * size])
    return struct.pack(f">{count}{code}", *values)


