"""Value bytes to values (PS3.5 6.2): the canonical form that rules compare, history keeps and people read."""

from __future__ import annotations

import struct
from functools import lru_cache

from engine.dicom.charset import Encodings, decode_text
from engine.dicom.vr import BINARY, BYTES, NUMBERS, SINGLE

__all__ = ["Value", "as_text", "decode"]

Value = str | int | float

_BOTH_ENDS = frozenset({"AE", "CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI"})
"""Leading spaces mean nothing either (PS3.5 6.2)."""
_PADDING = " \0"
SHORT = 64
"""Bytes of a value whose reading is kept: the images of a series have nearly all values in common."""


def decode(data: bytes, vr: str, codecs: Encodings | None, order: str, *, strict: bool = False) -> tuple[Value, ...]:
    """The values of an element; () for an empty one, and for bytes and sequences (OB, OW, ..., UN, SQ).

    Text: decoded, padding removed, split at the backslash where the VR allows several values. AT: "GGGGEEEE".
    Bytes that are no whole value are dropped, or raise ValueError when `strict` (so does text that cannot be decoded).
    """
    if not data or vr in BINARY or vr == "SQ":
        return ()
    if len(data) <= SHORT:
        return _decode_short(data, vr, codecs, order, strict)
    return _decode(data, vr, codecs, order, strict)


def _decode(data: bytes, vr: str, codecs: Encodings | None, order: str, strict: bool) -> tuple[Value, ...]:
    if vr in NUMBERS or vr == "AT":
        return _numbers(data, vr, order, strict)
    text = decode_text(data, vr, codecs, strict=strict)
    if vr in SINGLE:
        text = text.rstrip(_PADDING)
        return (text,) if text else ()
    if "\\" not in text:
        text = text.strip(_PADDING) if vr in _BOTH_ENDS else text.rstrip(_PADDING)
        return (text,) if text else ()
    if vr in _BOTH_ENDS:
        return tuple(part.strip(_PADDING) for part in text.split("\\"))
    return tuple(part.rstrip(_PADDING) for part in text.split("\\"))


_decode_short = lru_cache(maxsize=4096)(_decode)


def _numbers(data: bytes, vr: str, order: str, strict: bool) -> tuple[Value, ...]:
    size = BYTES[vr]
    count = len(data) // size
    if strict and len(data) % size:
        raise ValueError(f"{len(data)} bytes are no whole number of {vr} values")
    if vr == "AT":
        pairs = struct.unpack_from(f"{order}{2 * count}H", data)
        return tuple(f"{pairs[i]:04X}{pairs[i + 1]:04X}" for i in range(0, 2 * count, 2))
    return struct.unpack_from(f"{order}{count}{NUMBERS[vr]}", data)


def as_text(values: tuple[Value, ...]) -> str:
    """Values as a person reads them, several parted by a backslash."""
    return "\\".join(str(v) for v in values)
