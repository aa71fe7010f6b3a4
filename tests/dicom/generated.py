"""Hypothesis strategies for data sets with all that DICOM allows, and some that it does not."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

from tests.dicom.samples import BIG, SYNTAXES, UID, E, basics, encode, text

_TEXTS = {
    0x00080008: ("CS", ["ORIGINAL\\PRIMARY", "DERIVED\\SECONDARY\\OTHER", ""]),
    0x00080020: ("DA", ["20260228", ""]),
    0x00080050: ("SH", ["A4711", "A4711 ", ""]),
    0x00080060: ("CS", ["CT", "MR"]),
    0x00081030: ("LO", ["Head", "Head\\Neck", "Thorax routine"]),
    0x00100010: ("PN", ["Doe^Jane", "Doe^Jane=D^J", ""]),
    0x00100020: ("LO", ["4711", "0815"]),
    0x00104000: ("LT", ["a\\b", "one\r\ntwo"]),
    0x00180050: ("DS", ["1.5", "0.5\\0.25"]),
    0x00200013: ("IS", ["7", "12"]),
    0x00400009: ("SH", ["SPS1", "SPS22"]),
}
_SEQUENCES = [0x00081110, 0x00081140, 0x00400275, 0x0040A730]


@st.composite
def _texts(draw: st.DrawFn) -> list[E]:
    out = []
    for tag in draw(st.sets(st.sampled_from(sorted(_TEXTS)), max_size=7)):
        vr, values = _TEXTS[tag]
        element = text(tag, vr, draw(st.sampled_from(values)))
        if draw(st.integers(0, 9)) == 0 and vr in ("LO", "SH", "CS") and element.value:
            element.value = element.value.strip() + b"X" * (1 - len(element.value.strip()) % 2)  # an odd length
        out.append(element)
    return out


@st.composite
def _private(draw: st.DrawFn, depth: int, order: str) -> list[E]:
    if not draw(st.booleans()):
        return []
    block = draw(st.integers(0x10, 0x13))
    out = [text(0x00290000 | block, "LO", draw(st.sampled_from(["ACME", "OTHER"])))]
    out.append(text(0x00290000 | block << 8 | 0x10, "LO", draw(st.sampled_from(["p1", "p22"]))))
    out.append(E(0x00290000 | block << 8 | 0x20, "OB", draw(st.binary(max_size=9)).ljust(4, b"\0")[:4]))
    if depth < 2 and draw(st.booleans()):
        out.append(draw(_sequence(0x00290000 | block << 8 | 0x30, depth, order)))
    return out


@st.composite
def _sequence(draw: st.DrawFn, tag: int, depth: int, order: str) -> E:
    items = draw(st.lists(_level(depth + 1, order), max_size=3))
    return E(tag, "SQ", items=items, undefined=draw(st.booleans()), undefined_items=draw(st.booleans()))


@st.composite
def _level(draw: st.DrawFn, depth: int, order: str) -> list[E]:
    out = draw(_texts()) + draw(_private(depth, order))
    if draw(st.booleans()):
        out.append(E(0x00280010, "US", struct.pack(order + "H", draw(st.integers(0, 65535)))))
    if draw(st.booleans()):
        out.append(E(0x00189087, "FD", struct.pack(order + "d", draw(st.floats(-1e6, 1e6)))))
    if depth < 3:
        for tag in draw(st.sets(st.sampled_from(_SEQUENCES), max_size=2)):
            out.append(draw(_sequence(tag, depth, order)))
    return sorted(out, key=lambda e: e.tag)


@st.composite
def data_sets(draw: st.DrawFn) -> tuple[str, list[E]]:
    """A transfer syntax and a data set in it: nested and private sequences of defined and undefined length, odd lengths,
    group lengths, elements after the pixel data."""
    syntax = draw(st.sampled_from(SYNTAXES))
    order = ">" if syntax == BIG else "<"
    out = sorted(basics() + draw(_level(0, order)), key=lambda e: e.tag)
    out = [e for e in out if e.tag != 0x00080018 or e.value.strip(b"\0") == UID.encode()]
    if draw(st.booleans()):
        out.append(E(0x7FE00010, "OW", bytes(range(64)) * draw(st.sampled_from([1, 2000]))))
        if draw(st.booleans()):
            out.append(E(0xFFFCFFFC, "OB", bytes(6)))
    for group in (0x0008, 0x0010) if draw(st.booleans()) else ():
        inside = encode([e for e in out if e.tag >> 16 == group], syntax)
        if inside:
            out.append(E(group << 16, "UL", struct.pack(order + "L", len(inside))))
    return syntax, sorted(out, key=lambda e: e.tag)
