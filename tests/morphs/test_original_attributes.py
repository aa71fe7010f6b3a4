"""The Original Attributes Sequence after each kind of change, read back with pydicom and with DCMTK (PS3.3 C.12.1.1.9)."""

from __future__ import annotations

import shutil
import struct
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset

from engine.dicom.header import Header
from engine.errors import Hold
from engine.morphs.apply import Changed, Event, change
from tests.dicom.samples import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    SYNTAXES,
    E,
    as_file,
    basics,
    encode,
    header,
    received_files,
    sample,
    text,
)
from tests.morphs.samples import AT, morph
from tests.morphs.test_kinds import CASES, ELEMENTS, R

TIME = "20261124123015.000250+0000"


def record(head: Header, *configs: dict[str, Any], **options: Any) -> Changed:
    wanted: dict[str, Any] = {"original_attributes": True, "system": "AXIOM FLOW", "at": AT, "source": "CT01"} | options
    return change(head, [morph(c) for c in configs], Event(**wanted))


def read(head: Header) -> Dataset:
    ds = pydicom.dcmread(BytesIO(as_file(head)))
    ds.decode()
    return ds


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_one_item_holds_the_prior_values(tmp_path: Path, syntax: str) -> None:
    changed = record(
        header(tmp_path / "in.dcm", ELEMENTS, syntax),
        {"kind": "set", "tag": "PatientName", "value": "Roe^Richard"},
        {"kind": "delete", "tag": "StudyDate"},
        {"kind": "set", "tag": "StationName", "value": "CT01"},
    )
    (item,) = read(changed.header).OriginalAttributesSequence
    assert item.SourceOfPreviousValues == "CT01"
    assert item.AttributeModificationDateTime == TIME
    assert item.ModifyingSystem == "AXIOM FLOW"
    assert item.ReasonForTheAttributeModification == "COERCE"
    (prior,) = item.ModifiedAttributesSequence
    assert {e.keyword: e.value for e in prior} == {"PatientName": "Doe^Jane", "StudyDate": "20260228"}
    assert "NonconformingModifiedAttributesSequence" not in item


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize(("config", "words"), [(c[1], c[4]) for c in CASES], ids=[c[0] for c in CASES])
def test_after_each_kind(tmp_path: Path, config: dict[str, Any], words: list[Any], syntax: str) -> None:
    head = header(tmp_path / "in.dcm", ELEMENTS, syntax)
    if syntax == IMPLICIT and '"' in str(config):
        return  # private elements of unknown VR: test_kinds has them
    changed = record(head, config)
    before, after = read(head), read(changed.header)
    if not words:
        assert changed.header is head
        return
    (item,) = after.OriginalAttributesSequence
    (prior,) = item.ModifiedAttributesSequence
    tops = {path.split(".")[0].split("[")[0] for path, _, _ in words}
    for element in prior:
        assert element == before[element.tag]  # whole, nested ones too
    for top in tops:
        if top in before and not top.startswith("("):
            assert top in prior
    if '(0029,"ACME",01)' in tops and config["kind"] != "copy":
        assert (prior[0x00290010].value, prior[0x00291001].value) == ("ACME", "private")
    if R in tops:
        assert prior.RequestAttributesSequence == before.RequestAttributesSequence
    assert len(prior) <= 3


def test_earlier_items_stay_as_they_are_through_two_passes(tmp_path: Path) -> None:
    first = record(header(tmp_path / "in.dcm", ELEMENTS), {"kind": "set", "tag": "PatientID", "value": "A"})
    (tmp_path / "first.dcm").write_bytes(as_file(first.header))
    stored = Header.read(tmp_path / "first.dcm")
    second = record(stored, {"kind": "suffix", "tag": "PatientID", "value": "B"}, source="", reason="CORRECT")
    (tmp_path / "second.dcm").write_bytes(as_file(second.header))
    one, two = read(Header.read(tmp_path / "second.dcm")).OriginalAttributesSequence
    assert one == read(first.header).OriginalAttributesSequence[0]
    assert one.ModifiedAttributesSequence[0].PatientID == "4711"
    assert two.ModifiedAttributesSequence[0].PatientID == "A"
    assert two.ReasonForTheAttributeModification == "CORRECT"
    assert two.SourceOfPreviousValues == ""  # type 2: there, and empty
    item = first.header.root.raw(0x04000561)
    assert second.header.root.raw(0x04000561).startswith(item)  # byte for byte


def test_nothing_is_recorded_when_switched_off_or_when_nothing_changed(tmp_path: Path) -> None:
    head = header(tmp_path / "in.dcm", ELEMENTS)
    off = record(head, {"kind": "set", "tag": "PatientID", "value": "A"}, original_attributes=False)
    assert "OriginalAttributesSequence" not in read(off.header)
    there_and_back = record(
        head, {"kind": "set", "tag": "PatientID", "value": "A"}, {"kind": "set", "tag": "PatientID", "value": "4711"}
    )
    assert "OriginalAttributesSequence" not in read(there_and_back.header)


def test_patient_id_brings_its_issuer(tmp_path: Path) -> None:
    elements = [*ELEMENTS, text(0x00100021, "LO", "HOSPITAL")]
    elements.sort(key=lambda e: e.tag)
    changed = record(header(tmp_path / "in.dcm", elements), {"kind": "set", "tag": "PatientID", "value": "A"})
    prior = read(changed.header).OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert {e.keyword: e.value for e in prior} == {"PatientID": "4711", "IssuerOfPatientID": "HOSPITAL"}


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_prior_values_that_did_not_conform(tmp_path: Path, syntax: str) -> None:
    elements = sorted([
        *basics(),
        text(0x00080020, "DA", "28.02.2026"),
        text(0x00080060, "CS", "ct"),
        text(0x00100020, "LO", "1\\2"),
        text(0x00100010, "PN", "Good^Name"),
        E(0x00280010, "US", b"\1\2\3\4"),
    ], key=lambda e: e.tag)
    changed = record(
        header(tmp_path / "in.dcm", elements, syntax),
        {"kind": "set", "tag": "StudyDate", "value": "20260228"},
        {"kind": "set", "tag": "Modality", "value": "CT"},
        {"kind": "set", "tag": "PatientID", "value": "1"},
        {"kind": "set", "tag": "PatientName", "value": "New^Name"},
        {"kind": "set", "tag": "Rows", "value": "7"},
    )
    (item,) = read(changed.header).OriginalAttributesSequence
    (prior,) = item.ModifiedAttributesSequence
    assert [(e.keyword, e.value) for e in prior if not e.is_empty] == [("PatientName", "Good^Name")]
    assert {e.keyword for e in prior if e.is_empty} == {"StudyDate", "Modality", "PatientID", "Rows"}
    wrong = {int(i.SelectorAttribute): i.NonconformingDataElementValue for i in item.NonconformingModifiedAttributesSequence}
    assert wrong == {0x00080020: b"28.02.2026", 0x00080060: b"ct", 0x00100020: b"1\\2 ", 0x00280010: b"\1\2\3\4"}


def test_prior_text_keeps_its_character_set_when_the_data_set_turns_to_utf_8(tmp_path: Path) -> None:
    elements = [text(0x00080005, "CS", "ISO_IR 100"), *basics(), text(0x00100010, "PN", "Müller", "latin-1")]
    elements.append(E(0x00400275, "SQ", items=[[text(0x00400007, "LO", "Schädel", "latin-1")]]))
    head = header(tmp_path / "in.dcm", elements)
    changed = record(
        head,
        {"kind": "set", "tag": "PatientName", "value": "Łukasz"},
        {"kind": "set", "tag": f"{R}[0].ScheduledProcedureStepID", "value": "S1"},
    )
    ds = read(changed.header)
    assert (ds.SpecificCharacterSet, ds.PatientName) == ("ISO_IR 192", "Łukasz")
    assert ds.RequestAttributesSequence[0].ScheduledProcedureStepDescription == "Schädel"
    (prior,) = ds.OriginalAttributesSequence[0].ModifiedAttributesSequence
    assert (prior.SpecificCharacterSet, prior.PatientName) == ("ISO_IR 100", "Müller")
    assert prior.RequestAttributesSequence[0].ScheduledProcedureStepDescription == "Schädel"
    later = record(changed.header, {"kind": "set", "tag": "SpecificCharacterSet", "value": "GB18030"})
    one, two = read(later.header).OriginalAttributesSequence
    assert one.ModifiedAttributesSequence[0].PatientName == "Müller"
    assert one.ModifiedAttributesSequence[0].SpecificCharacterSet == "ISO_IR 100"
    assert two.ModifiedAttributesSequence[0].SpecificCharacterSet == "ISO_IR 192"


def test_prior_text_outside_the_default_repertoire_did_not_conform(tmp_path: Path) -> None:
    elements = [*basics(), text(0x00100010, "PN", "Müller", "latin-1")]
    changed = record(header(tmp_path / "in.dcm", elements), {"kind": "set", "tag": "PatientName", "value": "Łukasz"})
    (item,) = read(changed.header).OriginalAttributesSequence
    assert item.NonconformingModifiedAttributesSequence[0].NonconformingDataElementValue == "Müller".encode("latin-1")


def test_a_private_prior_value_that_did_not_conform_names_its_creator(tmp_path: Path) -> None:
    elements = [*basics(), text(0x00290010, "LO", "ACME"), text(0x00291001, "DA", "yesterday")]
    changed = record(header(tmp_path / "in.dcm", elements), {"kind": "delete", "tag": '(0029,"ACME",01)'})
    (item,) = read(changed.header).OriginalAttributesSequence
    (wrong,) = item.NonconformingModifiedAttributesSequence
    assert (wrong.SelectorAttribute, wrong.SelectorAttributePrivateCreator) == (0x00291001, "ACME")
    assert item.ModifiedAttributesSequence[0][0x00290010].value == "ACME"


def test_a_record_that_cannot_be_made_holds(tmp_path: Path) -> None:
    elements = [*basics(), text(0x00100020, "LO", "1"), text(0x04000561, "LO", "nonsense")]
    with pytest.raises(Hold, match="no sequence here"):
        record(header(tmp_path / "in.dcm", elements), {"kind": "set", "tag": "PatientID", "value": "2"})


def test_deleting_the_records_records_nothing_of_them(tmp_path: Path) -> None:
    first = record(header(tmp_path / "in.dcm", ELEMENTS), {"kind": "set", "tag": "PatientID", "value": "A"})
    second = record(first.header, {"kind": "delete", "tag": "OriginalAttributesSequence"})
    assert "OriginalAttributesSequence" not in read(second.header)
    assert second.changes[0].before == "1 item"


def test_a_huge_prior_value_is_recorded_empty(tmp_path: Path) -> None:
    elements = [*basics(), text(0x00290010, "LO", "ACME"), E(0x00291001, "OB", bytes(2 << 20))]
    changed = record(header(tmp_path / "in.dcm", elements), {"kind": "delete", "tag": '(0029,"ACME",01)'})
    assert changed.changes[0].before == f"{2 << 20} bytes"
    prior = read(changed.header).OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert prior[0x00291001].is_empty
    assert len(as_file(changed.header)) < 10_000


def test_records_that_came_as_un_are_kept_and_added_to(tmp_path: Path) -> None:
    record_item = encode([text(0x04000563, "LO", "OTHER")], IMPLICIT)
    value = struct.pack("<HHL", 0xFFFE, 0xE000, len(record_item)) + record_item
    elements = [*basics(), text(0x00100020, "LO", "1"), E(0x04000561, "UN", value)]
    changed = record(header(tmp_path / "in.dcm", elements), {"kind": "set", "tag": "PatientID", "value": "2"})
    one, two = read(changed.header).OriginalAttributesSequence
    assert one.ModifyingSystem == "OTHER"
    assert two.ModifiedAttributesSequence[0].PatientID == "1"


CHANGES: list[dict[str, Any]] = [
    {"kind": "set", "tag": "PatientName", "value": "Roe^Richard"},
    {"kind": "prepend", "tag": "PatientID", "value": "H1-"},
    {"kind": "set", "tag": "InstitutionName", "value": "Żółć"},
    {"kind": "set", "tag": "AccessionNumber", "value": "{Modality}1"},
    {"kind": "set", "tag": '(0029,"AXIOM TEST",10)', "value": "new"},
]


def tool(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.fail(f"{command[0]} is needed for this test: apt-get install {'dcmtk' if 'dcm' in command[0] else 'dicom3tools'}")
    done = subprocess.run(command, capture_output=True, check=False)
    return (done.stdout + done.stderr).decode("utf-8", "replace")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_dcmdump_reads_the_record(tmp_path: Path, syntax: str) -> None:
    changed = record(header(tmp_path / "in.dcm", ELEMENTS, syntax), *CHANGES)
    (tmp_path / "out.dcm").write_bytes(as_file(changed.header))
    dump = tool("dcmdump", "+P", "0400,0561", "+P", "0010,0020", "+P", "0008,0080", str(tmp_path / "out.dcm"))
    for expected in ("(0010,0020) LO [H1-4711]", "(0010,0020) LO [4711]", "(0400,0563) LO [AXIOM FLOW]",
                     f"(0400,0562) DT [{TIME}]", "(0400,0565) CS [COERCE]", "(0008,0080) LO [Żółć]"):
        assert expected in dump
    assert "E:" not in dump


HONEST = [p for p in received_files() if p.name != "SC_rgb_jpeg.dcm"]
"""Without the file that says explicit VR and is implicit: it stays so, and DCMTK guesses otherwise after a change."""


@pytest.mark.parametrize("path", HONEST, ids=lambda p: p.name)
def test_dcmdump_reads_every_output(path: Path, tmp_path: Path) -> None:
    try:
        changed = record(Header.read(path), *CHANGES)
    except Hold:
        return
    (tmp_path / "out.dcm").write_bytes(as_file(changed.header))
    before, after = tool("dcmdump", "-q", str(path)), tool("dcmdump", str(tmp_path / "out.dcm"))
    assert after.count("E:") <= before.count("E:")
    assert "(0010,0010) PN [Roe^Richard]" in after
    assert not [line for line in after.splitlines() if line.startswith("E:")]


VALID = ["CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "rtdose.dcm", "rtplan.dcm",
         "waveform_ecg.dcm", "reportsi.dcm", "test-SR.dcm", "examples_overlay.dcm", "examples_palette.dcm", "JPEG2000.dcm",
         "examples_ybr_color.dcm", "liver_1frame.dcm", "693_J2KI.dcm", "image_dfl.dcm"]


def errors(path: Path) -> set[str]:
    lines = tool("dciodvfy", str(path)).splitlines()
    return {line for line in lines if line.startswith("Error")}


@pytest.mark.parametrize("name", VALID)
def test_dciodvfy_finds_no_new_error(name: str, tmp_path: Path) -> None:
    path = sample(name)
    changed = record(Header.read(path), *CHANGES, {"kind": "delete", "tag": "StudyDescription"})
    (tmp_path / "out.dcm").write_bytes(as_file(changed.header))
    again = record(Header.read(tmp_path / "out.dcm"), {"kind": "suffix", "tag": "PatientID", "value": "-2"})
    (tmp_path / "again.dcm").write_bytes(as_file(again.header))
    before = errors(path)
    assert errors(tmp_path / "out.dcm") <= before
    assert errors(tmp_path / "again.dcm") <= before


def test_a_tag_that_was_not_there_and_is_gone_again_leaves_no_record(tmp_path: Path) -> None:
    made = {"kind": "set", "tag": "StudyComments", "value": "for a while"}
    changed = record(header(tmp_path / "in.dcm", ELEMENTS), made, {"kind": "delete", "tag": "StudyComments"})
    assert "OriginalAttributesSequence" not in read(changed.header)
    assert [c.after for c in changed.changes] == ["for a while", None]
