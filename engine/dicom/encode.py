"""Values to value bytes, checked against the value representation (PS3.5 6.2) and the multiplicity (PS3.6)."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache

from engine.dicom.charset import Encodings, encode_text
from engine.dicom.vr import BINARY, FLOATS, INTEGERS, MAX_BYTES, MAX_CHARS, SINGLE

__all__ = ["check_multiplicity", "check_value", "encode_values", "multiplicity", "pad"]

_DA = re.compile(r"[0-9]{8}")
_TM = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9](([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?")
_DT = re.compile(
    r"[0-9]{4}((0[1-9]|1[0-2])((0[1-9]|[12][0-9]|3[01])(([01][0-9]|2[0-3])([0-5][0-9](([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?)?)?)?"
    r"([+-](0[0-9]|1[0-4])[0-5][0-9])?"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_ANY_CONTROL = re.compile(r"[\x00-\x1a\x1c-\x1f\x7f]")
_PATTERNS = {
    "AS": (re.compile(r"[0-9]{3}[DWMY]"), "an age is three digits and D, W, M or Y, such as 045Y"),
    "CS": (re.compile(r"[A-Z0-9 _]*"), "a code string holds capital letters, digits, spaces and underscores only"),
    "DS": (re.compile(r" *[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)? *"), "this is no decimal number"),
    "DT": (_DT, "a date and time is YYYYMMDDHHMMSS.FFFFFF&ZZXX, cut off where less is known"),
    "IS": (re.compile(r" *[+-]?[0-9]+ *"), "this is no whole number"),
    "TM": (_TM, "a time is HHMMSS.FFFFFF, cut off where less is known"),
    "UI": (
        re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*"),
        "a UID is numbers without leading zeros, parted by dots",
    ),
}


@lru_cache(maxsize=2048)  # the values of a series come again and again
def check_value(value: str, vr: str) -> str:
    """What is wrong with one value for a VR, as words for a person; "" when nothing is, as with an empty one."""
    if not value:
        return ""
    if vr in BINARY or vr == "SQ":
        return f"an element of VR {vr} holds {'items' if vr == 'SQ' else 'bytes'}: it takes no text"
    if vr in INTEGERS or vr in FLOATS or vr == "AT":
        return _number_problem(value, vr)
    if vr in MAX_BYTES and len(value) > MAX_BYTES[vr]:
        return f"it is longer than the {MAX_BYTES[vr]} characters that VR {vr} allows"
    if vr in MAX_CHARS and len(value) > MAX_CHARS[vr]:
        return f"it is longer than the {MAX_CHARS[vr]} characters that VR {vr} allows"
    if vr in _PATTERNS and not _PATTERNS[vr][0].fullmatch(value):
        return _PATTERNS[vr][1]
    special = _SPECIAL.get(vr)
    return (special(value) if special else "") or _character_problem(value, vr)


def _character_problem(value: str, vr: str) -> str:
    if vr not in SINGLE and "\\" in value:
        return "a backslash parts values, it cannot stand inside one"
    if (_CONTROL if vr in ("ST", "LT", "UT") else _ANY_CONTROL).search(value):
        return f"it holds control characters, which VR {vr} does not allow"
    if vr == "UR" and (value != value.lstrip() or " " in value.rstrip()):
        return "a URI holds no spaces"
    return ""


def _date_problem(value: str) -> str:
    try:
        datetime.strptime(value if _DA.fullmatch(value) else "", "%Y%m%d")  # noqa: DTZ007  (a date has no zone)
    except ValueError:
        return "a date is YYYYMMDD and a day that exists, such as 20261124"
    return ""


def _integer_string_problem(value: str) -> str:
    return "" if -(2**31) <= int(value) < 2**31 else "it does not fit in 32 bits"


def _name_problem(value: str) -> str:
    groups = value.split("=")
    if len(groups) > 3:
        return "a name has at most three component groups (parted by =)"
    if any(len(group) > 64 for group in groups):
        return "it is longer than the 64 characters that a group of a name allows"
    if any(group.count("^") > 4 for group in groups):
        return "a name has at most five components (parted by ^)"
    return ""


def _title_problem(value: str) -> str:
    return "" if value.strip() else "an AE title of spaces only means nothing"


_SPECIAL: dict[str, Callable[[str], str]] = {
    "AE": _title_problem,
    "DA": _date_problem,
    "IS": _integer_string_problem,
    "PN": _name_problem,
}


def _number_problem(value: str, vr: str) -> str:
    if vr == "AT":
        good = re.fullmatch(r"[0-9A-Fa-f]{8}", value)
        return "" if good else "a tag as a value is eight hex digits, such as 00100020"
    try:
        number = _number(value, vr)
        struct.pack("<" + (INTEGERS | FLOATS)[vr], number)
    except (ValueError, struct.error, OverflowError):
        kind = "number" if vr in FLOATS else "whole number"
        return f"this is no {kind} that VR {vr} can hold"
    return ""


def _number(value: str, vr: str) -> int | float:
    if vr in FLOATS:
        return float(value)
    try:
        return int(value)
    except ValueError:
        number = float(value)
        if not math.isfinite(number) or number != int(number):
            raise
        return int(number)


@lru_cache(maxsize=512)
def multiplicity(vm: str) -> tuple[int, int | None, int]:
    """A dictionary VM as (fewest, most or None, step): "1" (1,1,1), "2-2n" (2,None,2), "1-3" (1,3,1)."""
    first = vm.split(" or ", 1)[0]
    low, _, high = first.partition("-")
    if not low.isdigit():
        return 1, None, 1
    if not high:
        return int(low), int(low), 1
    if high.endswith("n"):
        return int(low), None, int(high[:-1] or 1)
    return int(low), int(high), 1


def check_multiplicity(count: int, vm: str) -> str:
    """What is wrong with a number of values for a VM, as words; "" when nothing is. No value at all is never wrong."""
    low, high, step = multiplicity(vm)
    if count == 0 or (count >= low and (high is None or count <= high) and (count - low) % step == 0):
        return ""
    return f"it has {count} values, and the dictionary allows {vm}"


def encode_values(values: Sequence[str], vr: str, codecs: Encodings | None, order: str) -> bytes:
    """Value bytes, padded to an even length (PS3.5 6.2). Raises UnicodeError when the character set does not hold them,
    ValueError when a number does not fit; other checks are `check_value`'s."""
    if vr in INTEGERS or vr in FLOATS:
        code = (INTEGERS | FLOATS)[vr]
        try:
            return struct.pack(f"{order}{len(values)}{code}", *(_number(v, vr) for v in values))
        except (struct.error, OverflowError) as e:
            raise ValueError(f"a value does not fit VR {vr}") from e
    if vr == "AT":
        tags = [int(v, 16) for v in values]
        return struct.pack(f"{order}{2 * len(tags)}H", *(half for t in tags for half in (t >> 16, t & 0xFFFF)))
    return _encode_text(values[0] if len(values) == 1 else "\\".join(values), vr, codecs)


@lru_cache(maxsize=1024)
def _encode_text(text: str, vr: str, codecs: Encodings | None) -> bytes:
    return pad(encode_text(text, vr, codecs), vr)


def pad(data: bytes, vr: str) -> bytes:
    """To an even length: with a NUL for UIDs and bytes, else a space (PS3.5 6.2)."""
    return data + (b"\0" if vr == "UI" or vr in BINARY else b" ") if len(data) % 2 else data
