"""Walks the bytes of a data set to an index of its elements, without decoding or copying any value (PS3.5 7.1).

An index entry is `(vr, start, value, stop, end)`: the VR as written ("" in implicit VR), where the element begins,
where its value begins and ends, and where the next element begins (`end` is `stop` but for undefined lengths, whose
delimiter stands between the two).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from engine.dicom.source import Source
from engine.dicom.vr import LONG, SHORT
from engine.errors import Hold

__all__ = ["BIG", "DEEPEST", "EXPLICIT", "IMPLICIT", "Entry", "Form", "Item", "heads_inside", "items", "place", "sniff", "walk"]

Entry = tuple[str, int, int, int, int]

UNDEFINED: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
BULK: Final = 1 << 16
"""Values longer than this that do not stand in a window already are stepped over unread."""
DEEPEST: Final = 64
LARGEST_HEADER: Final = 1 << 28


class Form(NamedTuple):
    """How a data set is written: explicit or implicit VR, and the byte order's `struct` sign."""

    explicit: bool
    order: str
    tag_vr: struct.Struct
    tag_length: struct.Struct
    length: struct.Struct


def _form(explicit: bool, order: str) -> Form:
    head, item, length = (struct.Struct(order + code) for code in ("HH2sH", "HHL", "L"))
    return Form(explicit, order, head, item, length)


EXPLICIT: Final = _form(True, "<")
IMPLICIT: Final = _form(False, "<")
BIG: Final = _form(True, ">")


class Item(NamedTuple):
    """An item of a sequence: its content is `start` to `stop`; `undefined` tells how its length is written."""

    start: int
    stop: int
    undefined: bool


class _Short(Exception):
    """A signal between the functions here: the window ends before what is being walked does."""


def place(tag: int, at: int) -> str:
    """For messages: which element, and at which byte of the data set."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) at byte {at} of the data set"


def sniff(data: bytes, form: Form) -> Form:
    """The form that the bytes really have: some writers declare explicit VR and write implicit, or the other way round.

    Only little endian is judged, by the first element's VR bytes.
    """
    if form.order == ">" or len(data) < 8:
        return form
    if form.explicit:
        return form if data[4:6] in SHORT or data[4:6] in LONG or data[4:6].isupper() else IMPLICIT
    (length,) = form.length.unpack_from(data, 4)
    if length + 8 > len(data) and data[4:6] in SHORT and length != UNDEFINED:
        return EXPLICIT
    return form


def walk(source: Source, form: Form, index: dict[int, Entry] | None = None, at: int = 0) -> dict[int, Entry]:
    """Index a data set. The order of the keys is that of the bytes; of a tag that comes twice the last counts.

    index: what the elements are put into, one after the other; `at`: where the walk begins, behind those that it has.
    Raises Hold, with the place, when the bytes are no data set or end too early.
    """
    index = {} if index is None else index
    total = source.length
    base, window = source.window(at, 1) if at < total else (0, b"")
    while at < total:
        at = _scan(source, window, at, base, index, form)
        if at >= total:
            break
        step = _far(source, at, index, form)
        if step is None:
            break
        at, (base, window) = step
    return index


def _scan(source: Source, data: bytes, at: int, base: int, index: dict[int, Entry], form: Form) -> int:
    """Index the elements that stand wholly in this window; returns where the first one begins that does not.

    This is the loop that reading a header spends its time in: places are those of the data set, so that little is added.
    """
    size = base + len(data)
    last = size - 8
    tag_vr, tag_length, long_length = form.tag_vr.unpack_from, form.tag_length.unpack_from, form.length.unpack_from
    short = SHORT
    explicit = form.explicit
    met = 0
    while at <= last:
        value = at + 8
        if explicit:
            group, element, code, length = tag_vr(data, at - base)
            if code in short:  # asked and then looked up: faster than `get`
                vr = short[code]
            elif code in LONG:
                if at + 12 > size:
                    break
                vr = LONG[code]
                (length,) = long_length(data, value - base)
                value += 4
            else:
                vr, length, value = _odd_vr(data, at - base, form)
                value += base
        else:
            group, element, length = tag_length(data, at - base)
            vr = ""
        stop = end = value + length
        if end > size:
            if length != 0xFFFFFFFF:
                break
            try:
                stop = base + _skip_items(data, value - base, form if vr != "UN" else IMPLICIT, 0)
            except _Short:
                break
            end = stop + 8
        tag = group << 16 | element
        if group == 0xFFFE or (tag == 0 and not length):
            break
        index[tag] = (vr, at, value, stop, end)
        met += 1
        at = end
    source.elements += met
    return at


def _odd_vr(data: bytes, pos: int, form: Form) -> tuple[str, int, int]:
    """VR bytes that are in no table: a VR yet to be defined (32-bit length, PS3.5 6.2), else implicit VR strayed in."""
    code = data[pos + 4 : pos + 6]
    if code.isalpha() and code.isupper():
        if data[pos + 6 : pos + 8] == b"\0\0" and pos + 12 <= len(data):
            return "UN", form.length.unpack_from(data, pos + 8)[0], pos + 12
        return "UN", form.tag_vr.unpack_from(data, pos)[3], pos + 8
    return "", form.tag_length.unpack_from(data, pos)[2], pos + 8


def heads_inside(data: bytes, pos: int, form: Form, vr: str) -> list[tuple[int, int]]:
    """Of a value of undefined length that begins at `pos`: where all the bytes stand that its end depends on, (from, to)."""
    met: list[tuple[int, int]] = []
    _skip_items(data, pos, form if vr != "UN" else IMPLICIT, 0, met)
    return met


def _skip_items(data: bytes, pos: int, form: Form, depth: int, met: list[tuple[int, int]] | None = None) -> int:
    """Where the sequence delimiter stands of a value of undefined length that begins at `pos`. `met`: see `heads_inside`."""
    unpack, size = form.tag_length.unpack_from, len(data)
    if depth > DEEPEST:
        raise Hold(f"The data set's sequences are nested more than {DEEPEST} deep.")
    while True:
        if pos + 8 > size:
            raise _Short
        group, element, length = unpack(data, pos)
        tag = group << 16 | element
        if met is not None:
            met.append((pos, pos + 8))
        if tag == SEQUENCE_END:
            return pos
        if tag != ITEM:
            raise Hold(f"A sequence is broken: {place(tag, pos)} stands where an item is expected.")
        pos += 8
        pos = _skip_elements(data, pos, form, depth, met) if length == UNDEFINED else pos + length


def _skip_elements(data: bytes, pos: int, form: Form, depth: int, met: list[tuple[int, int]] | None = None) -> int:
    """Where the item delimiter of an item of undefined length ends."""
    size = len(data)
    while True:
        if pos + 8 > size:
            raise _Short
        tag, vr, length, value = _element(data, pos, form)
        if met is not None:
            met.append((pos, value))
        if tag == ITEM_END:
            return pos + 8
        if tag >> 16 == 0xFFFE:
            raise Hold(f"A sequence is broken: {place(tag, pos)} stands inside an item.")
        if length == UNDEFINED:
            pos = _skip_items(data, value, IMPLICIT if vr == "UN" else form, depth + 1, met) + 8
        else:
            pos = value + length


def _element(data: bytes, pos: int, form: Form) -> tuple[int, str, int, int]:
    """The element at `pos`: tag, VR, length, where its value begins."""
    if not form.explicit:
        group, element, length = form.tag_length.unpack_from(data, pos)
        return group << 16 | element, "", length, pos + 8
    group, element, code, length = form.tag_vr.unpack_from(data, pos)
    tag = group << 16 | element
    if group == 0xFFFE:
        return tag, "", form.tag_length.unpack_from(data, pos)[2], pos + 8
    if code in SHORT:
        return tag, SHORT[code], length, pos + 8
    if code in LONG:
        if pos + 12 > len(data):
            raise _Short
        return tag, LONG[code], form.length.unpack_from(data, pos + 8)[0], pos + 12
    return tag, *_odd_vr(data, pos, form)


def _far(
    source: Source, at: int, index: dict[int, Entry], form: Form
) -> tuple[int, tuple[int, bytes]] | None:
    """One element that no window holds yet: step over it if it is long, else load it. None: the data set ends here."""
    total = source.length
    base, data = source.window(at, 12)
    rest = data[at - base :]
    if total - at < 8 or rest[:8] == bytes(8):
        if not source.read(at, min(total, at + BULK)).strip(b"\0"):
            return None  # padding after the last element, as some writers leave it
        if total - at < 8:
            raise Hold(f"The data set is cut off: its last {total - at} bytes are no element.")
    try:
        tag, vr, length, value = _element(data, at - base, form)
    except _Short:
        raise Hold(f"The data set is cut off within {place(0, at)}.") from None
    value += base
    if tag >> 16 == 0xFFFE or (tag == 0 and not length):
        raise Hold(f"The data set is broken: {place(tag, at)} is no element.")
    if length == UNDEFINED:
        return _far_undefined(source, at, (tag, vr, value), index, form)
    if value + length > total:
        raise Hold(
            f"The data set is cut off: {place(tag, at)} says that it is {length} bytes long, {total - value} are there."
        )
    end = value + length
    if length <= BULK:
        return at, source.window(at, end - at)
    index[tag] = (vr, at, value, end, end)
    source.elements += 1
    source.stepped_over = min(source.stepped_over, at)
    return end, source.window(end, 1)


def _far_undefined(
    source: Source, at: int, element: tuple[int, str, int], index: dict[int, Entry], form: Form
) -> tuple[int, tuple[int, bytes]]:
    tag, vr, value = element
    if tag >> 16 == 0x7FE0 or vr in ("OB", "OW"):
        stop = _skip_fragments(source, value, tag, form)
        index[tag] = (vr, at, value, stop, stop + 8)
        source.elements += 1
        source.stepped_over = min(source.stepped_over, at)
        return stop + 8, source.window(stop + 8, 1)
    have = BULK
    while True:
        base, data = source.window(at, have)
        try:
            _skip_items(data, value - base, form if vr != "UN" else IMPLICIT, 0)
        except _Short:
            if at + have >= source.length:
                raise Hold(f"The data set is cut off within {place(tag, at)}.") from None
            if have >= LARGEST_HEADER:
                raise Hold(f"{place(tag, at)} is longer than {LARGEST_HEADER >> 20} MB.") from None
            have *= 4
            continue
        return at, (base, data)


def _skip_fragments(source: Source, pos: int, tag: int, form: Form) -> int:
    """Encapsulated pixel data (PS3.5 A.4): from fragment to fragment, reading only their lengths."""
    while True:
        if pos + 8 > source.length:
            raise Hold(f"The data set is cut off within the fragments of {place(tag, pos)}.")
        group, element, length = form.tag_length.unpack(source.read(pos, pos + 8))
        item = group << 16 | element
        if item == SEQUENCE_END:
            return pos
        if item != ITEM or length == UNDEFINED:
            raise Hold(f"The pixel data is broken: {place(item, pos)} stands where a fragment is expected.")
        pos += 8 + length


def items(data: bytes, form: Form) -> list[Item]:
    """The items of a sequence's value (without its delimiter). Raises Hold when they are broken."""
    out: list[Item] = []
    pos, size = 0, len(data)
    while pos < size:
        if size - pos < 8:
            raise Hold(f"A sequence is cut off: its last {size - pos} bytes are no item.")
        group, element, length = form.tag_length.unpack_from(data, pos)
        tag = group << 16 | element
        if tag == SEQUENCE_END:
            break
        if tag != ITEM:
            raise Hold(f"A sequence is broken: ({group:04X},{element:04X}) stands where an item is expected.")
        pos += 8
        if length == UNDEFINED:
            try:
                end = _skip_elements(data, pos, form, 0)
            except _Short:
                raise Hold("A sequence is cut off within an item of undefined length.") from None
            out.append(Item(pos, end - 8, True))
            pos = end
        else:
            if pos + length > size:
                raise Hold("A sequence is cut off: an item is longer than the sequence that holds it.")
            out.append(Item(pos, pos + length, False))
            pos += length
    return out
