from __future__ import annotations

import contextlib
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest

from engine.dicom.content import Content, Slice
from engine.dicom.header import Header
from engine.dicom.paths import TagPath
from engine.errors import Hold
from tests.dicom.samples import (
    BIG,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    SYNTAXES,
    UID,
    E,
    basics,
    encode,
    header,
    received_files,
    sample,
    text,
    write,
)


def find(head: Header, path: str) -> list[tuple[Any, ...]]:
    return [element.values for element in head.find(TagPath.parse(path))]


@pytest.mark.parametrize("path", received_files(), ids=lambda p: p.name)
def test_every_received_file_reads_as_pydicom_reads_it(path: Path) -> None:
    head, theirs = Header.read(path), pydicom.dcmread(path)
    assert head.sop_instance_uid == theirs.file_meta.MediaStorageSOPInstanceUID
    assert head.transfer_syntax_uid == theirs.file_meta.TransferSyntaxUID
    assert sorted(head.root.index) == sorted(theirs.keys())
    assert head.data_set == Content((Slice(path, head.data_offset, path.stat().st_size - head.data_offset),))
    assert head.head + head.data_set.read() == path.read_bytes()
    theirs.decode()
    _same(head.as_json(), theirs)


def _same(ours: dict[str, Any], theirs: pydicom.Dataset) -> None:
    for element in theirs:
        mine = ours[f"{int(element.tag):08X}"]
        if element.VR == "SQ":
            assert mine["vr"] == "SQ"
            assert len(mine["Value"]) == len(element.value)
            for a, b in zip(mine["Value"], element.value, strict=True):
                _same(a, b)
        elif "Value" in mine and mine["vr"] == element.VR:
            values = element.value if isinstance(element.value, list | pydicom.multival.MultiValue) else [element.value]
            assert [_plain(v, element.VR) for v in mine["Value"]] == [_plain(v, element.VR) for v in values], element


def _plain(value: Any, vr: str) -> Any:
    if isinstance(value, pydicom.tag.BaseTag):
        return f"{int(value):08X}"
    with contextlib.suppress(ValueError):  # one file has "1A" for a number
        return float(value) if vr in ("DS", "IS", "FL", "FD", "US", "SS", "UL", "SL") else str(value).strip(" \0")
    return value


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_values_of_each_vr(tmp_path: Path, syntax: str) -> None:
    order = ">" if syntax == BIG else "<"
    head = header(tmp_path / "a.dcm", [
        text(0x00080008, "CS", "ORIGINAL\\PRIMARY"),
        *basics(),
        text(0x00080050, "SH", ""),
        text(0x00081030, "LO", " Head \\ Neck "),
        text(0x00100010, "PN", "Doe^Jane"),
        text(0x00104000, "LT", "one\\value "),
        text(0x00280030, "DS", " 0.5\\1.50 "),
        E(0x00280009, "AT", struct.pack(order + "HH", 0x0018, 0x1063)),
        E(0x00280010, "US", struct.pack(order + "H", 512)),
        E(0x00281101, "US", struct.pack(order + "HHH", 1, 2, 65535)),
        E(0x00189087, "FD", struct.pack(order + "d", 1.5)),
        E(0x7FE00010, "OW", b"\1\2\3\4"),
    ], syntax)
    assert find(head, "ImageType") == [("ORIGINAL", "PRIMARY")]
    assert find(head, "AccessionNumber") == [()]
    assert find(head, "PatientID") == []
    assert find(head, "StudyDescription") == [("Head", "Neck")]
    assert find(head, "PatientComments") == [("one\\value",)]
    assert find(head, "PixelSpacing") == [("0.5", "1.50")]
    assert find(head, "FrameIncrementPointer") == [("00181063",)]
    assert find(head, "Rows") == [(512,)]
    assert find(head, "(0018,9087)") == [(1.5,)]
    assert find(head, "(7FE0,0010)") == [()]
    assert find(head, "TransferSyntaxUID") == [(syntax,)]
    assert head.text("PatientName") == "Doe^Jane"
    assert (head.text("Rows"), head.text("PatientID"), head.text("(0002,0016)")) == ("512", "", "SENDER")
    data = head.as_json()
    assert data["00080008"] == {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY"]}
    assert data["00080050"] == {"vr": "SH"}
    assert data["7FE00010"] == {"vr": "OW", "length": 4}
    assert data["00020010"] == {"vr": "UI", "Value": [syntax]}
    assert (head.sop_class_uid, head.sop_instance_uid) == (CT, UID)


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("undefined_items", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_inside_sequences(tmp_path: Path, syntax: str, undefined: bool, undefined_items: bool) -> None:
    style = {"undefined": undefined, "undefined_items": undefined_items}
    inner = E(0x0040A730, "SQ", items=[[text(0x0040A160, "UT", "deep")], []], **style)
    head = header(tmp_path / "a.dcm", [
        *basics(),
        E(0x00400275, "SQ", items=[[text(0x00400009, "SH", "S1")], [text(0x00400007, "LO", "x")],
                                   [text(0x00400009, "SH", "S3"), inner]], **style),
    ], syntax)
    assert find(head, "RequestAttributesSequence[0].ScheduledProcedureStepID") == [("S1",)]
    assert find(head, "RequestAttributesSequence[1].ScheduledProcedureStepID") == []
    assert find(head, "RequestAttributesSequence[9].ScheduledProcedureStepID") == []
    assert find(head, "RequestAttributesSequence[*].ScheduledProcedureStepID") == [("S1",), ("S3",)]
    assert find(head, "RequestAttributesSequence[*].ContentSequence[*].TextValue") == [("deep",)]
    assert find(head, "RequestAttributesSequence[2]") == [()]
    assert find(head, "RequestAttributesSequence[3]") == []
    assert head.as_json()["00400275"]["Value"][0] == {"00400009": {"vr": "SH", "Value": ["S1"]}}
    assert head.as_json()["00400275"]["Value"][2]["0040A730"]["Value"] == [{"0040A160": {"vr": "UT", "Value": ["deep"]}}, {}]


def test_private_elements_by_creator(tmp_path: Path) -> None:
    block = [
        text(0x00290010, "LO", "OTHER"), text(0x00290012, "LO", "ACME "),
        text(0x00291010, "LO", "not me"), text(0x00291210, "LO", "me"),
    ]
    head = header(tmp_path / "a.dcm", [*basics(), *block, E(0x00400275, "SQ", items=[block])])
    assert find(head, '(0029,"ACME",10)') == [("me",)]
    assert find(head, '(0029,"OTHER",10)') == [("not me",)]
    assert find(head, '(0029,"ACME",11)') == []
    assert find(head, '(0029,"NOBODY",10)') == []
    assert find(head, 'RequestAttributesSequence[0].(0029,"ACME",10)') == [("me",)]


def test_a_private_element_in_implicit_vr_reads_by_its_creators_dictionary(tmp_path: Path) -> None:
    head = header(tmp_path / "a.dcm", [
        text(0x00090010, "LO", "GEMS_IDEN_01"), text(0x00091004, "SH", "HiSpeed"), text(0x000910F0, "LO", "?"), *basics(),
    ], IMPLICIT)
    assert [e[:2] for e in head.find(TagPath.parse('(0009,"GEMS_IDEN_01",04)'))] == [(0x00091004, "SH")]
    assert find(head, '(0009,"GEMS_IDEN_01",04)') == [("HiSpeed",)]
    assert head.as_json()["000910F0"] == {"vr": "UN", "length": 2}


def test_un_reads_as_the_dictionary_says(tmp_path: Path) -> None:
    items = encode([text(0x00400009, "SH", "S1")], IMPLICIT)
    value = struct.pack("<HHL", 0xFFFE, 0xE000, len(items)) + items
    head = header(tmp_path / "a.dcm", [
        *basics(),
        text(0x00081030, "UN", "Head"),
        E(0x00280010, "UN", struct.pack("<H", 7)),
        E(0x00400275, "UN", value, undefined=True),
        E(0x00400555, "UN", value),
    ])
    assert find(head, "StudyDescription") == [("Head",)]
    assert find(head, "Rows") == [(7,)]
    assert find(head, "RequestAttributesSequence[0].ScheduledProcedureStepID") == [("S1",)]
    assert find(head, "AcquisitionContextSequence[0].ScheduledProcedureStepID") == [("S1",)]


@pytest.mark.parametrize(("signed", "value"), [(0, 65535), (1, -1)])
def test_us_or_ss_follows_pixel_representation(tmp_path: Path, signed: int, value: int) -> None:
    smallest = E(0x00280106, "US", b"\xff\xff")
    head = header(tmp_path / "a.dcm", [
        *basics(), E(0x00280103, "US", struct.pack("<H", signed)), smallest, E(0x00400275, "SQ", items=[[smallest]]),
    ], IMPLICIT)
    assert find(head, "SmallestImagePixelValue") == [(value,)]
    assert find(head, "RequestAttributesSequence[0].SmallestImagePixelValue") == [(value,)]


def test_what_follows_the_pixel_data_is_read_and_the_pixel_data_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    tail = [E(0xFFFAFFFA, "SQ", items=[[text(0x00080018, "UI", "1.2")]]), E(0xFFFCFFFC, "OB", bytes(8))]
    write(path, [*basics(), E(0x7FE00010, "OW", bytes(3 << 20)), *tail])
    head = Header.read(path)
    assert find(head, "DigitalSignaturesSequence[0].SOPInstanceUID") == [("1.2",)]
    assert sum(len(data) for _, data in head.root.source._windows) < 200_000
    encapsulated = struct.pack("<HHL", 0xFFFE, 0xE000, 0) + b"".join(
        struct.pack("<HHL", 0xFFFE, 0xE000, 200_000) + bytes(200_000) for _ in range(5)
    )
    write(path, [*basics(), E(0x7FE00010, "OB", encapsulated, undefined=True), *tail], JPEG)
    head = Header.read(path)
    assert find(head, "DigitalSignaturesSequence[0].SOPInstanceUID") == [("1.2",)]
    assert sum(len(data) for _, data in head.root.source._windows) < 200_000


def test_text_of_absurd_length_is_never_decoded(tmp_path: Path) -> None:
    head = header(tmp_path / "a.dcm", [*basics(), E(0x0040A160, "UT", b"x" * (17 << 20)), text(0x00420010, "ST", "after")])
    assert find(head, "TextValue") == [()]
    assert head.as_json()["0040A160"] == {"vr": "UT"}
    assert head.text("DocumentTitle") == "after"
    assert sum(len(data) for _, data in head.root.source._windows) < 200_000


def test_headers_longer_than_a_window(tmp_path: Path) -> None:
    many = [[text(0x00400009, "SH", f"S{i}"), text(0x00104000, "LT", "x" * 400)] for i in range(2000)]
    private = [text(0x00090010, "LO", "ACME"), E(0x00091001, "OB", bytes(1 << 18))]
    for undefined in (False, True):
        head = header(tmp_path / "a.dcm", [
            *private, *basics(), E(0x00400275, "SQ", items=many, undefined=undefined, undefined_items=undefined),
            text(0x00400555, "LO", "after"), E(0x7FE00010, "OW", bytes(1 << 17)),
        ])
        assert find(head, "RequestAttributesSequence[1999].ScheduledProcedureStepID") == [("S1999",)]
        assert len(find(head, "RequestAttributesSequence[*].PatientComments")) == 2000
        assert list(head.root.index)[-2:] == [0x00400555, 0x7FE00010]


def test_oddities_that_are_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    odd = [E(0x00080000, "UL", struct.pack("<L", 999)), *basics(), E(0x00100020, "LO", b"odd")]
    path.write_bytes(write(path, odd).read_bytes() + bytes(7))
    assert Header.read(path).text("PatientID") == "odd"
    write(path, [E(0x00000000, "UL", struct.pack("<L", 4)), *basics(), text(0x00100020, "LO", "A")], IMPLICIT)
    assert Header.read(path).text("PatientID") == "A"
    data = write(path, [*basics(), text(0x00100020, "LO", "B")], EXPLICIT).read_bytes()
    at = data.index(b"UL\x04\0") + 4
    path.write_bytes(data[:at] + struct.pack("<L", 3) + data[at + 4 :])  # a wrong group length of the file meta
    assert Header.read(path).text("PatientID") == "B"
    head = write(path, basics(), EXPLICIT).read_bytes()
    implicit = encode([*basics(), text(0x00100020, "LO", "C")], IMPLICIT)
    path.write_bytes(head[: len(head) - len(encode(basics()))] + implicit)  # says explicit VR, is implicit
    assert Header.read(path).text("PatientID") == "C"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_file_meta_that_strayed_into_the_data_set_stays_there(tmp_path: Path, syntax: str) -> None:
    astray = [text(0x00020016, "AE", "ASTRAY"), *basics(), text(0x00100020, "LO", "A")]
    head = header(tmp_path / "a.dcm", astray, syntax)
    assert head.text("PatientID") == "A"
    assert head.text("(0002,0016)") == "SENDER"
    assert list(head.root.index) == [0x00020016, 0x00080016, 0x00080018, 0x00100020]
    assert head.as_json()["00020016"]["Value"] == ["SENDER"]


def test_an_element_that_comes_twice_counts_as_its_last(tmp_path: Path) -> None:
    head = header(tmp_path / "a.dcm", [*basics(), text(0x00100020, "LO", "1"), text(0x00100020, "LO", "2")])
    assert find(head, "PatientID") == [("2",)]
    assert [(tag, head.root.source.read(a, b)[-2:]) for tag, a, b in head.root.repeated()] == [(0x00100020, b"1 ")]


def test_an_element_that_comes_again_and_again_costs_no_more_than_its_bytes(tmp_path: Path) -> None:
    many = 20_000  # a look at each for each of them would take minutes, and so many steps into the depth are refused
    head = header(tmp_path / "a.dcm", [*basics(), *[text(0x00100020, "LO", "1")] * many, text(0x00100020, "LO", "2")])
    assert len(head.root.repeated()) == many
    assert head.text("PatientID") == "2"


BROKEN: list[tuple[str, bytes, str]] = [
    ("empty", b"", '"DICM" does not stand at byte 128'),
    ("text", b"hello" * 100, '"DICM" does not stand at byte 128'),
    ("only a preamble", bytes(128) + b"DICM", "names no transfer syntax"),
]


@pytest.mark.parametrize(("name", "data", "words"), BROKEN, ids=[b[0] for b in BROKEN])
def test_what_is_no_dicom_file_is_held(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    with pytest.raises(Hold, match=r"\w") as caught:
        Header.read(path)
    assert words in str(caught.value)


def test_broken_files_are_held_with_the_place(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    whole = write(path, [*basics(), text(0x00100020, "LO", "4711"), E(0x7FE00010, "OW", bytes(100))]).read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(Hold, match=r"cut off: \(7FE0,0010\) at byte \d+ .* 100 bytes long, 99 are there"):
        Header.read(path)
    path.write_bytes(whole[: whole.index(b"4711") + 2])
    with pytest.raises(Hold, match=r"\(0010,0020\) at byte \d+ .* 4 bytes long, 2 are there"):
        Header.read(path)
    path.write_bytes(whole[: whole.index(b"4711") - 5])
    with pytest.raises(Hold, match="its last 3 bytes are no element"):
        Header.read(path)
    path.write_bytes(whole[:180])
    with pytest.raises(Hold, match=r"cut off|no transfer syntax"):
        Header.read(path)
    write(path, [*basics(), E(0x00400275, "SQ", struct.pack("<HHL", 0x0008, 0x0018, 0), undefined=True)])
    with pytest.raises(Hold, match=r"\(0008,0018\) at byte \d+ of the data set stands where an item is expected"):
        Header.read(path)
    write(path, [text(0x00100020, "LO", "4711")])
    data = path.read_bytes()
    path.write_bytes(data.replace(CT.encode(), b" " * len(CT)))
    with pytest.raises(Hold, match="no SOP Class UID"):
        Header.read(path)
    write(path, [])
    with pytest.raises(Hold, match="The data set is empty"):
        Header.read(path)
    with pytest.raises(Hold, match="cannot be read: No such file"):
        Header.read(tmp_path / "missing")


def test_deflated_data_sets_that_are_broken_are_held(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", [*basics(), text(0x00104000, "LT", "x" * 3000)], DEFLATED)
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    with pytest.raises(Hold, match="deflated data set is cut off"):
        Header.read(path)
    path.write_bytes(data[:-60] + bytes(range(60)))
    with pytest.raises(Hold, match="deflated data set"):
        Header.read(path)


def test_sequences_nested_absurdly_deep_are_held(tmp_path: Path) -> None:
    deep = [text(0x00100020, "LO", "x")]
    for _ in range(200):
        deep = [E(0x0040A730, "SQ", items=[deep], undefined=True, undefined_items=True)]
    with pytest.raises(Hold, match="nested more than 64 deep"):
        header(tmp_path / "a.dcm", [*basics(), *deep])
    deep = [text(0x00100020, "LO", "x")]
    for _ in range(200):
        deep = [E(0x0040A730, "SQ", items=[deep])]
    head = header(tmp_path / "a.dcm", [*basics(), *deep])
    with pytest.raises(Hold, match="nested more than 64 deep"):
        head.as_json()


def test_to_dataset_gives_pydicom_the_header_without_pixels() -> None:
    path = sample("CT_small.dcm")
    ours, theirs = Header.read(path).to_dataset(), pydicom.dcmread(path)
    assert "PixelData" not in ours
    del theirs.PixelData
    assert ours == theirs
    assert ours.file_meta == theirs.file_meta
    big = Header.read(sample("MR_small_bigendian.dcm")).to_dataset()
    assert big.Rows == 64


def test_a_header_read_is_what_it_was_even_when_the_file_is_gone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", [*basics(), text(0x00100020, "LO", "4711"), E(0x7FE00010, "OW", bytes(1 << 20))])
    head = Header.read(path)
    path.unlink()
    assert head.text("PatientID") == "4711"
    with pytest.raises(Hold, match="cannot be read"):
        head.root.raw(0x7FE00010)


def test_written_by_rote_is_what_pydicom_reads(tmp_path: Path) -> None:
    data = write(tmp_path / "a.dcm", [*basics(), text(0x00100020, "LO", "4711")]).read_bytes()
    assert pydicom.dcmread(BytesIO(data)).PatientID == "4711"
