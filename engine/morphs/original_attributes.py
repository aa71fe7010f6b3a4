"""The Original Attributes Sequence (0400,0561): what an instance's values were before a modification (PS3.3 C.12.1.1.9)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from engine.dicom.charset import DEFAULT, UTF8, Encodings
from engine.dicom.dictionary import public
from engine.dicom.edit import Node, Sequence, Verbatim
from engine.dicom.encode import check_multiplicity, check_value, encode_values
from engine.dicom.level import Level
from engine.dicom.transcode import copy_element
from engine.dicom.vr import BINARY, CHARSET, SINGLE
from engine.errors import Hold

__all__ = ["ISSUER_OF_PATIENT_ID", "ORIGINAL_ATTRIBUTES", "PATIENT_ID", "Reason", "record", "time_text"]

Reason = Literal["COERCE", "CORRECT"]
"""COERCE: a value was replaced, as in reconciliation; CORRECT: a wrong value was put right (PS3.3 C.12.1.1.9)."""

ORIGINAL_ATTRIBUTES = 0x04000561
MODIFIED_ATTRIBUTES = 0x04000550
NONCONFORMING = 0x04000551
NONCONFORMING_VALUE = 0x04000552
MODIFICATION_TIME = 0x04000562
MODIFYING_SYSTEM = 0x04000563
SOURCE = 0x04000564
REASON = 0x04000565
SELECTOR_ATTRIBUTE = 0x00720026
SELECTOR_VALUE_NUMBER = 0x00720028
SELECTOR_CREATOR = 0x00720056
CHARACTER_SET = 0x00080005
PATIENT_ID, ISSUER_OF_PATIENT_ID = 0x00100020, 0x00100021
LONGEST_RECORDED = 1 << 20
"""A prior value longer than this is recorded with zero length: a record must not double a large object."""


def record(
    root: Node, original: Level, touched: Iterable[int], *, system: str, at: datetime, source: str, reason: Reason
) -> None:
    """Append one item for one modification event to the root's Original Attributes Sequence; earlier items stay.

    `touched`: the top-level tags that changed; a change inside a sequence records the whole prior sequence. `at` is
    aware. Raises Hold when the data set has something else than a sequence at (0400,0561).
    """
    changed = {tag for tag in touched if tag != ORIGINAL_ATTRIBUTES and root.element_bytes(tag) != _bytes(original, tag)}
    if not changed:
        return
    tags = _with_company(original, changed)
    if ORIGINAL_ATTRIBUTES in root and root.vr(ORIGINAL_ATTRIBUTES) != "SQ":
        raise Hold("(0400,0561) Original Attributes Sequence is no sequence here: the change cannot be recorded in it.")
    item = root.add_item(ORIGINAL_ATTRIBUTES)
    for tag, vr, data in _event(system, at, source, reason, item.encodings, item.form.order):
        item.put(tag, vr, data)
    wrong = _prior(original, sorted(tags), item.add_item(MODIFIED_ATTRIBUTES))
    if wrong:
        item.own[NONCONFORMING] = Sequence([], changed=True)
        for tag in wrong:
            _nonconforming(item.add_item(NONCONFORMING), original, tag)


@lru_cache(maxsize=64)
def time_text(at: datetime) -> str:
    """Attribute Modification DateTime (0400,0562): 26 characters."""
    return at.astimezone(UTC).strftime("%Y%m%d%H%M%S.%f+0000")


@lru_cache(maxsize=64)
def _event(
    system: str, at: datetime, source: str, reason: str, codecs: Encodings | None, order: str
) -> tuple[tuple[int, str, bytes], ...]:
    """What an item says of the modification itself, as (tag, VR, value bytes): the same for all images of a batch."""
    return tuple(
        (tag, vr, _text(text[:64], vr, codecs, order))
        for tag, vr, text in (
            (MODIFICATION_TIME, "DT", time_text(at)),
            (MODIFYING_SYSTEM, "LO", system),
            (SOURCE, "LO", source),
            (REASON, "CS", reason),
        )
    )


def _text(text: str, vr: str, codecs: Encodings | None, order: str) -> bytes:
    values = (text,) if text else ()
    try:
        return encode_values(values, vr, codecs, order)
    except UnicodeError:
        return encode_values([v.encode("ascii", "replace").decode() for v in values], vr, UTF8, order)


def _with_company(original: Level, touched: set[int]) -> set[int]:
    """Private elements bring their creator, Patient ID its issuer."""
    tags = set(touched)
    for tag in touched:
        creator = (tag & 0xFFFF0000) | ((tag >> 8) & 0xFF)
        if tag & 0x10000 and tag & 0xFFFF > 0xFF and creator in original.index:
            tags.add(creator)
    if PATIENT_ID in touched and ISSUER_OF_PATIENT_ID in original.index:
        tags.add(ISSUER_OF_PATIENT_ID)
    return tags


def _bytes(level: Level, tag: int) -> bytes:
    entry = level.index.get(tag)
    return level.source.read(entry[1], entry[4]) if entry else b""


def _prior(original: Level, tags: list[int], holder: Node) -> list[int]:
    """Put the prior elements, as they were read, into the item of (0400,0550).

    Returns the tags of those that did not conform to their VR or VM: they go in with zero length.
    """
    wrong = []
    before = Node(original.form, original)
    for tag in tags:
        entry = original.index.get(tag)
        if entry is None:
            continue
        vr = original.vr(tag)
        if entry[4] - entry[1] > LONGEST_RECORDED:
            holder.put(tag, vr, b"")
        elif not _conforms(original, tag):
            holder.put(tag, vr, b"")
            wrong.append(tag)
        elif holder.form == original.form:
            holder.own[tag] = Verbatim(vr, original.raw(tag), original.source.read(entry[1], entry[4]))
        else:
            copy_element(before, tag, holder, tag)
    return wrong


def _conforms(level: Level, tag: int) -> bool:
    """Whether an element's value keeps to its VR and VM. Bytes and sequences always do."""
    vr = level.vr(tag)
    if vr in BINARY or vr == "SQ":
        return True
    if vr in CHARSET and level.encodings == DEFAULT and not level.raw(tag).isascii():
        return False
    try:
        values = level.values(tag, strict=True)
    except ValueError:
        return False
    if any(check_value(str(value), vr) for value in values):
        return False
    known = None if tag & 0x10000 else public(tag)
    return not known or vr in SINGLE or not check_multiplicity(len(values), known.vm)


def _nonconforming(item: Node, original: Level, tag: int) -> None:
    """One item of (0400,0551): which attribute, and its value's bytes as they were."""
    order = item.form.order
    item.put(SELECTOR_ATTRIBUTE, "AT", encode_values((f"{tag:08X}",), "AT", None, order))
    item.put(SELECTOR_VALUE_NUMBER, "US", encode_values(("0",), "US", None, order))
    creator = original.creator_of(tag) if tag & 0x10000 else ""
    if creator:
        item.put(SELECTOR_CREATOR, "LO", _text(creator, "LO", item.encodings, order))
    item.put(NONCONFORMING_VALUE, "OB", original.raw(tag))


