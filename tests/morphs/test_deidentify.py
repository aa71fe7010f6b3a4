"""De-identification: nothing of what PS3.15 Table E.1-1 takes away is left anywhere, and what stays belongs together."""

from __future__ import annotations

import struct
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c
from hypothesis import HealthCheck, given, settings
from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.sr.codedict import codes
from pydicom.uid import UID_dictionary

from engine.dicom.header import Header
from engine.errors import Hold
from engine.morphs.apply import Changed, Event, change
from engine.morphs.profile_table import CODES
from tests.dicom.generated import data_sets
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
    write,
)  # fmt: skip
from tests.morphs.samples import AT, morph
from tests.morphs.test_original_attributes import VALID, errors

KEY = "env:TEST_MORPH_KEY"
ANYBODY = {"per": "{PatientID|nobody}"}
TABLE = {t[0] << 16 | t[1] for t in dicomfields_2026c.ALL_TAGS if len(t) == 2}
SAYS_NOTHING = {"REMOVED", "000Y", "19000101", "19000101000000", "000000", "0", "http://removed.invalid", str(bytes(8))}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_MORPH_KEY", "a secret of this test")


def hide(head: Header, *before: dict[str, Any], **options: Any) -> Changed:
    chain = [*before, {"kind": "deidentify", "key": KEY} | options]
    return change(head, [morph(c) for c in chain], Event(True, "AXIOM", AT))


def read(head: Header) -> Dataset:
    ds = pydicom.dcmread(BytesIO(as_file(head)))
    ds.decode()
    return ds


def everything(ds: Dataset) -> list[pydicom.DataElement]:
    out = []
    for element in ds:
        out.append(element)
        for item in element.value if element.VR == "SQ" else ():
            out += everything(item)
    return out


def values_of(element: pydicom.DataElement) -> set[str]:
    value = element.value
    many = value if isinstance(value, list | pydicom.multival.MultiValue) else [value]
    return {str(v) for v in many if v not in (None, "", b"")}


def nothing_is_left(before: Dataset, after: Dataset) -> None:
    """Of the table's attributes no value is what it was anywhere, and nothing private and no curve or overlay is there."""
    old: dict[int, set[str]] = {}
    for element in everything(before):
        if element.VR != "SQ" and element.tag in TABLE:
            old.setdefault(element.tag, set()).update(values_of(element) - SAYS_NOTHING - UID_dictionary.keys())
    for element in everything(after):
        assert not element.tag.is_private
        assert element.tag.group >> 8 not in (0x50, 0x60)
        if element.VR != "SQ":
            assert not values_of(element) & old.get(element.tag, set()), element
        elif element.tag not in (0x00081111, 0x00081140, 0x00082112):
            assert element.tag not in TABLE or len(element.value) < 2, element
    assert "OriginalAttributesSequence" not in after
    assert after.PatientIdentityRemoved == "YES"


@pytest.mark.parametrize("path", received_files(), ids=lambda p: p.name)
def test_nothing_is_left_in_any_received_file(path: Path) -> None:
    head = Header.read(path)
    if 0x00080016 not in head.root.index:
        with pytest.raises(Hold, match="no SOP Class UID"):
            hide(head, **ANYBODY)
        return
    changed = hide(head, **ANYBODY, burned_in="pass")
    before, after = pydicom.dcmread(path), read(changed.header)
    nothing_is_left(before, after)
    assert after.get("PixelData") == before.get("PixelData")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "out.dcm").write_bytes(as_file(changed.header))
        assert Header.read(Path(folder) / "out.dcm").as_json() == changed.header.as_json()


@pytest.mark.parametrize("options", [{}, {
    "dates": "modified", "retain_device_identity": True, "retain_patient_characteristics": True,
    "retain_institution_identity": True, "retain_uids": True,
}], ids=["profile", "options"])  # fmt: skip
@pytest.mark.parametrize("name", VALID)
def test_dciodvfy_finds_no_new_error(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    changed = hide(Header.read(sample(name)), **ANYBODY, **options)
    (tmp_path / "out.dcm").write_bytes(as_file(changed.header))
    assert errors(tmp_path / "out.dcm") <= errors(sample(name))


CANARY = b"CANARY"
_CANARIES = {
    "AE": "CANARY", "AS": "099Y", "CS": "CANARY", "DA": "19471231", "DS": "1947.1947", "DT": "19471231131313.131313",
    "IS": "19471947", "TM": "131313.131313", "UI": "1.2.19471947.1", "UR": "http://CANARY",
}  # fmt: skip
PLANTED = (CANARY, b"099Y", b"19471231", b"1947.1947", b"131313.131313", b"19471947")


def _vr(tag: int) -> str:
    return str(dictionary_VR(tag)).split(" or ")[0]


def _planted(tags: list[int]) -> list[E]:
    out = []
    for tag in tags:
        vr = _vr(tag)
        if vr in ("OB", "UN"):
            out.append(E(tag, vr, CANARY))
        elif vr != "SQ":
            out.append(text(tag, vr, _CANARIES.get(vr, "CANARY")))
    return out


KNOWN = sorted(t for t in TABLE if t >> 16 >= 8 and t in pydicom.datadict.DicomDictionary)
PRIVATE = [
    text(0x00290010, "LO", "CANARY CREATOR"), text(0x00291001, "LO", "CANARY"), E(0x00291002, "UN", CANARY),
    E(0x00291003, "SQ", items=[[text(0x00100010, "PN", "CANARY"), text(0x00081030, "LO", "CANARY")]]),
    text(0x00291105, "LO", "CANARY"),
]  # fmt: skip
ODD = [
    text(0x00000010, "LO", "CANARY"), text(0x00020016, "AE", "CANARY"), text(0x00080000, "LO", "CANARY"),
    text(0x00080003, "LO", "CANARY"), text(0x0040A067, "PN", "CANARY"), text(0x00142006, "PN", "CANARY"),
    E(0x50003000, "OW", CANARY), text(0x50000030, "LO", "CANARY"), E(0x60003000, "OW", CANARY),
    text(0x60004000, "LT", "CANARY"), text(0x60020022, "LO", "CANARY"),
    E(0x04000500, "SQ", items=[[E(0x04000520, "OB", CANARY)]]),
]  # fmt: skip


def _everywhere() -> list[E]:
    """Canaries in each attribute of the table, at the top, in items of sequences that stay, and of those that go."""
    tags = [t for t in KNOWN if t not in (0x00080018, 0x00100020)]
    inner = sorted(_planted([*tags, 0x00080018, 0x00100020]) + PRIVATE, key=lambda e: e.tag)
    out = {e.tag: e for e in [*basics(), *_planted(tags), *PRIVATE, *ODD, text(0x00100020, "LO", "CANARY")]}
    for tag in [t for t in KNOWN if _vr(t) == "SQ"] + [0x00080110, 0x00400440, 0x52009229]:
        deep = E(0x00081115, "SQ", items=[inner, inner], undefined=True, undefined_items=True)
        out[tag] = E(tag, "SQ", items=[[deep], inner] if tag != 0x00081115 else [inner])
    out[0x00080018] = text(0x00080018, "UI", "1.2.19471947.7")
    out[0x7FE00010] = E(0x7FE00010, "OW", bytes(range(64)))
    out[0xFFFCFFFC] = E(0xFFFCFFFC, "OB", CANARY)
    return [out[tag] for tag in sorted(out)]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_no_canary_survives(tmp_path: Path, syntax: str) -> None:
    path = write(tmp_path / "in.dcm", _everywhere(), syntax)
    data = bytearray(path.read_bytes())
    data[:6] = CANARY  # in the preamble
    path.write_bytes(data)
    assert [planted for planted in PLANTED if planted not in plain(Header.read(path))] == []
    changed = hide(Header.read(path), per="{PatientID}")
    out = changed.header.head + plain(changed.header)
    assert [planted for planted in PLANTED if planted in out] == []
    after = read(changed.header)
    assert after.PixelData == bytes(range(64))
    assert [str(e.tag) for e in everything(after) if e.tag.is_private] == []


def plain(head: Header) -> bytes:
    """The data set's bytes, inflated."""
    return head.plain.read(0, head.plain.length)


@pytest.mark.parametrize("tag", [0x00080016, 0x00080018])
def test_an_instance_that_would_be_left_without_its_uids_is_held(tmp_path: Path, tag: int) -> None:
    wrong = [text(tag, "PN", "1.2.3") if e.tag == tag else e for e in basics()]  # a name: it goes
    with pytest.raises(Hold, match=r"The data set has no SOP .* UID to go on with"):
        hide(header(tmp_path / "in.dcm", [*wrong, text(0x00100020, "LO", "1")], EXPLICIT))


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG])
def test_what_hides_in_broken_structure_goes_or_is_held(tmp_path: Path, syntax: str) -> None:
    twice = [*basics(), text(0x00080060, "CS", "CANARY"), text(0x00080060, "CS", "CT"), text(0x00100020, "LO", "1")]
    inner = [text(0x00080100, "SH", "CANARY"), text(0x00080100, "SH", "1")]
    code = E(0x00082218, "SQ", items=[inner])
    as_bytes = E(0x00081115, "OB", CANARY)  # a sequence by the dictionary, bytes as it is written
    head = header(tmp_path / "in.dcm", sorted([*twice, code, as_bytes], key=lambda e: e.tag), syntax)
    assert CANARY not in as_file(hide(head).header)
    order = ">" if syntax == BIG else "<"
    item = encode([text(0x00080100, "SH", "1")], syntax)
    body = struct.pack(order + "HHL", 0xFFFE, 0xE000, len(item)) + item + struct.pack(order + "HHL", 0xFFFE, 0xE0DD, 0)
    behind = E(0x00082218, "SQ", body + CANARY)
    head = header(tmp_path / "in.dcm", [*basics(), behind, text(0x00100020, "LO", "1")], syntax)
    assert CANARY not in as_file(hide(head).header)
    long = bytes(1 << 17) + CANARY
    path = write(tmp_path / "in.dcm", [*basics(), text(0x00100020, "LO", "1")], syntax)
    path.write_bytes(path.read_bytes() + long)
    with pytest.raises(Hold, match="belong to no element"):
        hide(Header.read(path))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data_sets())
def test_on_generated_data_sets(data: tuple[str, list[E]]) -> None:
    _generated(data)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(data_sets())
def test_on_thousands_of_generated_data_sets(data: tuple[str, list[E]]) -> None:
    _generated(data)


def _generated(data: tuple[str, list[E]]) -> None:
    syntax, elements = data
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "in.dcm", elements, syntax)
        changed = hide(Header.read(path), **ANYBODY)
        before = pydicom.dcmread(path)
        nothing_is_left(before, read(changed.header))
        assert read(changed.header).get("PixelData") == before.get("PixelData")
        out = plain(changed.header)
        for word in (b"Doe^", b"4711", b"0815", b"Thorax", b"p22", b"ACME", b"20260228", b"SPS1"):
            assert word not in out
        again = hide(changed.header, **ANYBODY)
        assert again.header.sop_instance_uid != changed.header.sop_instance_uid


def study(instance: str, patient: str = "4711", *more: E) -> list[E]:
    reference = [text(0x00081150, "UI", "1.2.840.10008.5.1.4.1.1.2"), text(0x00081155, "UI", "1.2.3.1")]
    made = [
        text(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.2"), text(0x00080018, "UI", instance),
        text(0x00080020, "DA", "20260228"), text(0x0008002A, "DT", "20260301101112.5+0100"), text(0x00080030, "TM", "1011"),
        text(0x00080080, "LO", "General"), text(0x00081010, "SH", "CT7"), text(0x00081030, "LO", "head ROUTINE"),
        text(0x0008103E, "LO", "Jane Doe's head"), E(0x00081140, "SQ", items=[reference]),
        text(0x00100010, "PN", "Doe^Jane"), text(0x00100020, "LO", patient), text(0x00100030, "DA", "19800101"),
        text(0x00100040, "CS", "F"), text(0x00101010, "AS", "046Y"), text(0x0020000D, "UI", "1.2.3"),
        text(0x00200052, "UI", "1.2.840.10008.1.4.1.1"),
    ]  # fmt: skip
    return sorted([*made, *more], key=lambda e: e.tag)


def test_what_belongs_together_stays_together(tmp_path: Path) -> None:
    one = read(hide(header(tmp_path / "1.dcm", study("1.2.3.1")), dates="modified").header)
    two = read(hide(header(tmp_path / "2.dcm", study("1.2.3.2"), IMPLICIT), dates="modified").header)
    assert one.StudyInstanceUID == two.StudyInstanceUID != "1.2.3"
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert two.ReferencedImageSequence[0].ReferencedSOPInstanceUID == one.SOPInstanceUID
    assert two.ReferencedImageSequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert one.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"  # everybody's
    assert one.PatientID == two.PatientID == str(one.PatientName)
    assert one.StudyDate == two.StudyDate != "20260228"
    other = read(hide(header(tmp_path / "3.dcm", study("1.2.3.1", "0815")), dates="modified").header)
    assert other.PatientID != one.PatientID
    assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID


def test_the_single_morphs_with_the_same_key_make_the_same(tmp_path: Path) -> None:
    head = header(tmp_path / "1.dcm", study("1.2.3.1"))
    single = [
        {"kind": "remap_uid", "tag": "StudyInstanceUID", "key": KEY},
        {"kind": "shift_dates", "tag": "StudyDate", "days": -365, "key": KEY},
        {"kind": "shift_dates", "tag": "AcquisitionDateTime", "days": -365, "key": KEY},
    ]
    plain = read(change(head, [morph(c) for c in single], Event(False, "A", AT)).header)
    hidden = read(hide(head, dates="modified").header)
    for keyword in ("StudyInstanceUID", "StudyDate", "AcquisitionDateTime"):
        assert hidden[keyword].value == plain[keyword].value
    assert (hidden.StudyTime, hidden.PatientBirthDate) == ("1011", "")


OPTIONS: list[tuple[dict[str, Any], str, dict[str, Any], str]] = [
    ({}, "", {"StudyDate": "", "StationName": "REMOVED", "PatientSex": "", "InstitutionName": "REMOVED"}, "REMOVED"),
    ({"dates": "full"}, "113106", {"StudyDate": "20260228", "StudyTime": "1011", "PatientBirthDate": ""}, "UNMODIFIED"),
    ({"dates": "modified"}, "113107", {"StudyTime": "1011", "StationName": "REMOVED"}, "MODIFIED"),
    ({"retain_patient_characteristics": True}, "113108", {"PatientSex": "F", "PatientAge": "046Y"}, "REMOVED"),
    ({"retain_device_identity": True}, "113109", {"StationName": "CT7", "InstitutionName": "REMOVED"}, "REMOVED"),
    ({"retain_uids": True}, "113110", {"SOPInstanceUID": "1.2.3.1", "StudyInstanceUID": "1.2.3"}, "REMOVED"),
    ({"retain_institution_identity": True}, "113112", {"InstitutionName": "General"}, "REMOVED"),
    ({"keep_descriptors": ["Head routine"]}, "113105", {"StudyDescription": "head ROUTINE"}, "REMOVED"),
]


@pytest.mark.parametrize(("options", "code", "expected", "times"), OPTIONS, ids=[o[1] or "113100" for o in OPTIONS])
def test_each_option_keeps_what_its_column_says_and_is_named(
    tmp_path: Path, options: dict[str, Any], code: str, expected: dict[str, Any], times: str
) -> None:
    after = read(hide(header(tmp_path / "in.dcm", study("1.2.3.1")), **options).header)
    assert {keyword: after[keyword].value for keyword in expected} == expected
    assert "SeriesDescription" not in after
    assert after.LongitudinalTemporalInformationModified == times
    named = [(i.CodeValue, i.CodingSchemeDesignator, i.CodeMeaning) for i in after.DeidentificationMethodCodeSequence]
    assert named == [(c, "DCM", CODES[c]) for c in ("113100", code) if c]


def test_the_codes_are_those_of_cid_7050() -> None:
    theirs = {getattr(codes.cid7050, name) for name in codes.cid7050.dir()}
    assert {(c.value, c.meaning) for c in theirs} == set(CODES.items())
