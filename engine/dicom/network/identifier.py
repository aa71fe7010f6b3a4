"""Identifiers of queries: keys to bytes and matches from bytes, each in its character set (PS3.4 C.2.2, C.4.1)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from engine.dicom.charset import DEFAULT, encodings
from engine.dicom.dictionary import implicit_vr
from engine.dicom.encode import encode_values
from engine.dicom.header import form_of, level_as_json
from engine.dicom.level import CHARACTER_SET, Level
from engine.dicom.source import Source
from engine.dicom.vr import LONG
from engine.dicom.walk import Form
from engine.errors import Hold, Invalid, Problem

__all__ = ["decode_identifier", "encode_identifier"]

_BOTH = {"US or SS": "US", "OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "OW"}


def encode_identifier(keys: Mapping[int, str], transfer_syntax: str, character_set: str = "ISO_IR 192") -> bytes:
    """A query's keys (text as it is matched; "" asks for the value) as a data set in ascending order.

    `character_set` (several values parted by a backslash) goes into (0008,0005), for archives answer in the one that
    they are asked in; "" leaves it out, and only ASCII can be asked. Raises Invalid when it does not hold the text, or
    a value does not fit its tag.
    """
    form = form_of(transfer_syntax)
    codecs = encodings(tuple(character_set.split("\\"))) if character_set else DEFAULT
    if codecs is None:
        raise Invalid([Problem(("character_set",), f"{character_set} is no Specific Character Set that is known.")])
    keys = {CHARACTER_SET: character_set, **keys} if character_set else dict(keys)
    out = []
    for tag, value in sorted(keys.items()):
        vr = implicit_vr(tag)
        vr = _BOTH.get(vr, vr)
        try:
            data = encode_values([value], vr, codecs, form.order) if value else b""
        except UnicodeError as e:
            words = f"{character_set or 'ASCII'} does not hold every character of it: choose another character set. ({e})"
            raise Invalid([Problem((f"({tag >> 16:04X},{tag & 0xFFFF:04X})",), words)]) from e
        except ValueError as e:
            raise Invalid([Problem((f"({tag >> 16:04X},{tag & 0xFFFF:04X})",), f"{e}.")]) from e
        out.append(_element(tag, vr, data, form))
    return b"".join(out)


def _element(tag: int, vr: str, data: bytes, form: Form) -> bytes:
    numbers = struct.pack(form.order + "HH", tag >> 16, tag & 0xFFFF)
    if not form.explicit:
        return numbers + struct.pack(form.order + "L", len(data)) + data
    code = vr.encode()
    if code in LONG:
        return numbers + code + struct.pack(form.order + "HL", 0, len(data)) + data
    return numbers + code + struct.pack(form.order + "H", len(data)) + data


def decode_identifier(data: bytes, transfer_syntax: str, character_set: str = "") -> dict[str, Any]:
    """A match as `Header.as_json` writes a header: `{"00100010": {"vr": "PN", "Value": ["A^B"]}}`.

    `character_set` is how text is read when the match does not say what it is in. Raises Hold on broken bytes.
    """
    form = form_of(transfer_syntax)
    said = Source((_element(CHARACTER_SET, "CS", _padded(character_set), form),))
    around = Level(said, form) if character_set else None
    level = Level(Source((data,)), form, around)
    found = level_as_json(level)
    if around is None or CHARACTER_SET in level.index:
        return found
    try:
        for tag in level.index:
            level.values(tag, strict=True)
    except (ValueError, Hold):  # it is not in that character set either: read it plainly
        return level_as_json(Level(Source((data,)), form))
    return found


def _padded(text: str) -> bytes:
    data = text.encode("ascii", "replace")
    return data + b" " * (len(data) % 2)
