"""Values to bytes and back, in each VR and character set."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dicom.charset import decode_text, encode_text, encodings
from engine.dicom.decode import as_text, decode
from engine.dicom.encode import check_multiplicity, check_value, encode_values, multiplicity
from tests.dicom.samples import E, basics, header, text

CHARSETS = [
    (("ISO_IR 100",), "Müller^Jörg"),
    (("ISO_IR 101",), "Łukasz^Żółć"),
    (("ISO_IR 109",), "Ĉiĝa"),
    (("ISO_IR 110",), "Ķīna"),
    (("ISO_IR 144",), "Иванов^Иван"),
    (("ISO_IR 127",), "قباني^لنزار"),
    (("ISO_IR 126",), "Διονυσιος"),
    (("ISO_IR 138",), "שרון^דבורה"),
    (("ISO_IR 148",), "Çavuşoğlu"),
    (("ISO_IR 166",), "นามสกุล"),
    (("ISO_IR 13",), "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    (("ISO_IR 192",), "Wang^XiaoDong=王^小東"),
    (("GB18030",), "Wang^XiaoDong=王^小东"),
    (("GBK",), "Zhang=张"),
    (("ISO 2022 IR 6", "ISO 2022 IR 87"), "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (("ISO 2022 IR 13", "ISO 2022 IR 87"), "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    (("ISO 2022 IR 6", "ISO 2022 IR 149"), "Hong^Gildong=洪^吉洞=홍^길동"),
    (("ISO 2022 IR 6", "ISO 2022 IR 58"), "Zhang^XiaoDong=张^小东="),
    (("", "ISO 2022 IR 100", "ISO 2022 IR 144"), "Müller=Иванов"),
]


@pytest.mark.parametrize(("names", "name"), CHARSETS, ids=["+".join(n) for n, _ in CHARSETS])
def test_text_there_and_back(names: tuple[str, ...], name: str) -> None:
    codecs = encodings(names)
    data = encode_text(name, "PN", codecs)
    assert decode_text(data, "PN", codecs, strict=True) == name
    assert decode(data, "PN", codecs, "<") == (name,)
    with pytest.raises(UnicodeError):
        encode_text("\U0001f480" if names[0] not in ("ISO_IR 192", "GB18030") else "\ud800", "PN", codecs)


def test_a_backslash_byte_inside_a_character_parts_nothing() -> None:
    codecs = encodings(("GB18030",))
    data = encode_text("乗\\乗", "LO", codecs)
    assert data.count(b"\\") == 3
    assert decode(data, "LO", codecs, "<") == ("乗", "乗")


def test_what_cannot_be_decoded_is_replaced_or_refused() -> None:
    utf8 = encodings(("ISO_IR 192",))
    assert decode_text(b"M\xfcller", "PN", utf8) == "M\ufffdller"
    with pytest.raises(UnicodeError):
        decode_text(b"M\xfcller", "PN", utf8, strict=True)
    assert encodings(("NONSENSE",)) is None
    assert decode_text(b"M\xfcller", "PN", None) == "M\ufffdller"
    with pytest.raises(UnicodeError):
        decode_text(b"M\xfcller", "PN", None, strict=True)
    assert decode_text(b"M\xfcller", "PN", encodings(())) == "Müller"  # undeclared, as many devices send it
    with pytest.raises(UnicodeError):
        encode_text("Müller", "PN", encodings(()))
    with pytest.raises(UnicodeError):
        encode_text("Ö", "CS", utf8)


NUMBERS = [("US", "0", "65535"), ("SS", "-32768", "32767"), ("UL", "0", "4294967295"), ("SL", "-2147483648", "7"),
           ("UV", "0", "18446744073709551615"), ("SV", "-9223372036854775808", "1"), ("FD", "1.5", "-0.1"),
           ("FL", "1.5", "-2.25"), ("AT", "00100020", "7FE00010")]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("vr", "low", "high"), NUMBERS)
def test_numbers_there_and_back(vr: str, low: str, high: str, order: str) -> None:
    assert check_value(low, vr) == check_value(high, vr) == ""
    data = encode_values((low, high), vr, None, order)
    assert as_text(decode(data, vr, None, order)) == f"{low}\\{high}"
    assert decode(data + b"\1", vr, None, order) == decode(data, vr, None, order)
    with pytest.raises(ValueError, match="no whole number of"):
        decode(data + b"\1", vr, None, order, strict=True)
    assert check_value("70000000000000000000000" if vr not in ("FD", "FL") else "x", vr)


@given(st.sampled_from(["LO", "SH", "PN", "UC"]), st.lists(st.text(st.characters(min_codepoint=33), min_size=1), min_size=1))
def test_any_text_in_utf_8(vr: str, values: list[str]) -> None:
    values = [v.replace("\\", "/") for v in values]
    good = [v for v in values if not check_value(v, vr)]
    try:
        data = encode_values(good, vr, ("UTF8",), "<")
    except UnicodeError:
        return  # lone surrogates
    assert len(data) % 2 == 0
    assert [str(v).strip() for v in decode(data, vr, ("UTF8",), "<")] == [v.strip() for v in good]


@pytest.mark.parametrize(("vm", "low", "high", "step"), [
    ("1", 1, 1, 1), ("1-3", 1, 3, 1), ("1-n", 1, None, 1), ("2-2n", 2, None, 2), ("3-3n", 3, None, 3), ("6", 6, 6, 1),
    ("1-n or 1", 1, None, 1), ("16", 16, 16, 1),
])
def test_multiplicities(vm: str, low: int, high: int | None, step: int) -> None:
    assert multiplicity(vm) == (low, high, step)
    assert check_multiplicity(0, vm) == ""
    assert check_multiplicity(low, vm) == ""
    assert (check_multiplicity(low + step, vm) == "") == (high is None or high >= low + step)
    if step > 1:
        assert check_multiplicity(low + 1, vm)


def test_every_multiplicity_of_the_dictionary_is_understood() -> None:
    from pydicom.datadict import DicomDictionary

    for _, vm, *_ in DicomDictionary.values():
        low, high, step = multiplicity(vm)
        assert low >= 1
        assert high is None or high >= low
        assert step >= 1


@pytest.mark.parametrize(("vr", "good", "bad"), [
    ("AE", "AXIOM 1", "a" * 17), ("AS", "018M", "18M"), ("CS", "A_1 B", "a"), ("DA", "20240229", "20230229"),
    ("DS", "-1.5e-3", "1,5"), ("IS", "-7", "7.0"), ("DT", "2026", "26"), ("TM", "235960.5", "24"), ("UI", "1.2.0", "1..2"),
    ("LT", "x" * 10240, "x" * 10241), ("ST", "a\\b", "x" * 1025), ("UR", "http://a/b?c", "http://a b"), ("UT", "any\t", "\0"),
    ("PN", "A" * 64 + "=" + "B" * 64, "A" * 65), ("LO", "é" * 64, "é" * 65),
])
def test_rules_of_each_vr(vr: str, good: str, bad: str) -> None:
    assert check_value(good, vr) == ""
    assert check_value(bad, vr)
    assert check_value("", vr) == ""


CHARSET_FILES = sorted((Path(pydicom.data.__file__).parent / "charset_files").glob("*.dcm"))


@pytest.mark.parametrize("path", CHARSET_FILES, ids=lambda p: p.name)
def test_names_in_the_charset_files_of_pydicom(path: Path, tmp_path: Path) -> None:
    theirs = pydicom.dcmread(path)
    if "PatientName" not in theirs or "SpecificCharacterSet" not in theirs:
        pytest.skip("has no name at the top")
    names = theirs.SpecificCharacterSet
    charset = text(0x00080005, "CS", names if isinstance(names, str) else "\\".join(names))
    bytes_of_name = E(0x00100010, "PN", theirs.get_item(0x00100010).value)
    theirs.decode()
    name = header(tmp_path / "a.dcm", [charset, *basics(), bytes_of_name]).text("PatientName")
    expected = str(theirs.PatientName).replace("\x1b$)A", "")  # pydicom leaves this escape sequence in the text
    assert name.rstrip("=") == expected.rstrip("=")
    assert "\ufffd" not in name
