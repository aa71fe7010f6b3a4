"""Which bytes a change touches, and which it leaves: lengths, repeated tags, nested items, sequences that came as UN."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from engine.morphs.apply import Event, change
from tests.dicom.samples import BIG, EXPLICIT, IMPLICIT, E, as_file, basics, encode, text
from tests.morphs.samples import AT, morph
from tests.morphs.test_kinds import ELEMENTS, R, run, values


def test_a_changed_header_can_be_changed_again(tmp_path: Path) -> None:
    elements = [*ELEMENTS, E(0x7FE00010, "OW", bytes(300_000))]
    first = run(tmp_path, {"kind": "set", "tag": "PatientID", "value": "A"}, elements=elements)
    second = change(first.header, [morph({"kind": "suffix", "tag": "PatientID", "value": "B"})],
                    Event(False, "AXIOM", AT))
    assert values(second.header, "PatientID") == [("AB",)]
    assert [type(p).__name__ for p in second.header.data_set.pieces] == ["bytes", "Slice"]
    theirs = pydicom.dcmread(BytesIO(as_file(second.header)))
    assert (theirs.PatientID, len(theirs.PixelData)) == ("AB", 300_000)


def test_an_element_that_comes_twice_is_changed_once_and_for_all(tmp_path: Path) -> None:
    elements = [*basics(), text(0x00100020, "LO", "1"), text(0x00100020, "LO", "2"), text(0x00180015, "CS", "HEAD")]
    changed = run(tmp_path, {"kind": "set", "tag": "PatientID", "value": "3"}, elements=elements)
    assert changed.header.data_set.read() == encode([*basics(), text(0x00100020, "LO", "3"), text(0x00180015, "CS", "HEAD")])
    gone = run(tmp_path, {"kind": "delete", "tag": "PatientID"}, elements=elements)
    assert gone.header.data_set.read() == encode([*basics(), text(0x00180015, "CS", "HEAD")])


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_group_lengths_follow(tmp_path: Path, syntax: str) -> None:
    order = ">" if syntax == BIG else "<"

    def with_length(group: int, elements: list[E]) -> list[E]:
        return [E(group << 16, "UL", struct.pack(order + "L", len(encode(elements, syntax)))), *elements]

    inner = with_length(0x0040, [text(0x00400009, "SH", "S1")])
    patient = [text(0x00100010, "PN", "Doe^Jane"), text(0x00100020, "LO", "4711")]
    elements = [*with_length(0x0008, basics()), *with_length(0x0010, patient), E(0x00400275, "SQ", items=[inner])]
    configs = [{"kind": "set", "tag": "PatientID", "value": "0815-0815"}, {"kind": "delete", "tag": "PatientName"},
               {"kind": "set", "tag": f"{R}[0].ScheduledProcedureStepID", "value": "S123456"}]
    changed = run(tmp_path, *configs, syntax=syntax, elements=elements)
    inner = with_length(0x0040, [text(0x00400009, "SH", "S123456")])
    wanted = [*with_length(0x0008, basics()), *with_length(0x0010, [text(0x00100020, "LO", "0815-0815")]),
              E(0x00400275, "SQ", items=[inner])]
    assert changed.header.data_set.read() == encode(wanted, syntax)


def test_length_to_end_is_dropped_when_it_would_be_wrong(tmp_path: Path) -> None:
    elements = [E(0x00080001, "UL", struct.pack("<L", 1234)), *basics(), text(0x00100020, "LO", "4711")]
    changed = run(tmp_path, {"kind": "set", "tag": "PatientID", "value": "47"}, elements=elements)
    assert changed.header.data_set.read() == encode([*basics(), text(0x00100020, "LO", "47")])


@pytest.mark.parametrize("undefined", [False, True])
def test_a_nested_change_keeps_all_other_bytes(tmp_path: Path, undefined: bool) -> None:
    style = {"undefined": undefined, "undefined_items": undefined}

    def data(step: str) -> list[E]:
        item = [text(0x00400009, "SH", step), E(0x00400008, "SQ", items=[[E(0x00100020, "LO", b"odd")], []], **style)]
        return [*basics(), E(0x00400275, "SQ", items=[[], sorted(item, key=lambda e: e.tag)], **style)]

    config = {"kind": "set", "tag": f"{R}[1].ScheduledProcedureStepID", "value": "S123"}
    changed = run(tmp_path, config, elements=data("S1"))
    assert changed.header.data_set.read() == encode(data("S123"))


def test_sequences_that_came_as_un_are_changed_in_place(tmp_path: Path) -> None:
    items = encode([text(0x00400009, "SH", "S1")], IMPLICIT)
    value = struct.pack("<HHL", 0xFFFE, 0xE000, len(items)) + items
    for undefined in (False, True):
        elements = [*basics(), E(0x00400275, "UN", value, undefined=undefined)]
        config = {"kind": "set", "tag": f"{R}[0].ScheduledProcedureStepID", "value": "S22"}
        changed = run(tmp_path, config, elements=elements)
        assert values(changed.header, f"{R}[*].ScheduledProcedureStepID") == [("S22",)]
        assert pydicom.dcmread(BytesIO(as_file(changed.header)))[0x00400275].value[0].ScheduledProcedureStepID == "S22"


def test_numbers_swap_their_bytes_between_a_big_endian_data_set_and_a_un_sequence(tmp_path: Path) -> None:
    items = encode([E(0x00280010, "US", struct.pack("<H", 300))], IMPLICIT)
    value = struct.pack("<HHL", 0xFFFE, 0xE000, len(items)) + items
    elements = [*basics(), E(0x00081140, "UN", value)]
    changed = run(tmp_path, {"kind": "copy", "tag": "ReferencedImageSequence", "to": R}, elements=elements, syntax=BIG)
    assert values(changed.header, f"{R}[0].Rows") == [(300,)]
    assert pydicom.dcmread(BytesIO(as_file(changed.header)))[0x00400275].value[0].Rows == 300
