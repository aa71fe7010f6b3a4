"""What is refused when a morph is saved, in words, beside its field."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from engine.component import kinds
from engine.morphs.regex_replace import RegexReplace
from engine.morphs.template import fill, parse, plain
from tests.morphs.samples import morph

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"kind": "set", "tag": "PatientNme", "value": "x"}, 'unknown keyword "PatientNme" (did you mean PatientName?)'),
    ({"kind": "delete", "tag": "(0018,9999)"}, "(0018,9999) is not in the DICOM dictionary"),
    ({"kind": "set", "tag": "(0002,0016)", "value": "x"}, "is file meta: it is read-only"),
    ({"kind": "delete", "tag": "PixelData"}, "PixelData belongs to the pixel data, which is never changed"),
    ({"kind": "copy", "tag": "PatientID", "to": "(7FE0,0010)"}, "PixelData belongs to the pixel data"),
    ({"kind": "copy", "tag": "PatientID", "to": "(0002,0003)"}, "read-only"),
    ({"kind": "set", "tag": "StudyDate", "value": "2026-11-24"}, "'2026-11-24' is not valid for StudyDate (VR DA): a date is"),
    ({"kind": "set", "tag": "StudyDate", "value": "20260231"}, "a day that exists"),
    ({"kind": "set", "tag": "StudyTime", "value": "2530"}, "a time is HHMMSS"),
    ({"kind": "set", "tag": "AcquisitionDateTime", "value": "20261324"}, "a date and time is"),
    ({"kind": "set", "tag": "Modality", "value": "ct"}, "capital letters"),
    ({"kind": "set", "tag": "Modality", "value": "CT\\MR"}, "it has 2 values, and the dictionary allows 1"),
    ({"kind": "set", "tag": "ImageType", "value": "ORIGINAL"}, "it has 1 values, and the dictionary allows 2-n"),
    ({"kind": "set", "tag": "PixelSpacing", "value": "0.5"}, "the dictionary allows 2"),
    ({"kind": "set", "tag": "PixelSpacing", "value": "0.5\\wide"}, "this is no decimal number"),
    ({"kind": "set", "tag": "InstanceNumber", "value": "1.5"}, "this is no whole number"),
    ({"kind": "set", "tag": "InstanceNumber", "value": "99999999999"}, "32 bits"),
    ({"kind": "set", "tag": "Rows", "value": "70000"}, "no whole number that VR US can hold"),
    ({"kind": "set", "tag": "SmallestImagePixelValue", "value": "70000"}, "(VR US or SS)"),
    ({"kind": "set", "tag": "(0018,9087)", "value": "fast"}, "no number that VR FD can hold"),
    ({"kind": "set", "tag": "FrameIncrementPointer", "value": "PatientID"}, "eight hex digits"),
    ({"kind": "set", "tag": "StudyID", "value": "x" * 17}, "longer than the 16 characters"),
    ({"kind": "set", "tag": "PatientAge", "value": "45"}, "045Y"),
    ({"kind": "set", "tag": "PatientName", "value": "a^b^c^d^e^f"}, "five components"),
    ({"kind": "set", "tag": "PatientName", "value": "a=b=c=d"}, "three component groups"),
    ({"kind": "set", "tag": "StudyInstanceUID", "value": "1.02.3"}, "without leading zeros"),
    ({"kind": "set", "tag": "StudyInstanceUID", "value": "1." + "2" * 64}, "64 characters"),
    ({"kind": "set", "tag": "StudyDescription", "value": "a\nb"}, "control characters"),
    ({"kind": "set", "tag": "SOPInstanceUID", "value": ""}, "an instance cannot be without SOPInstanceUID"),
    ({"kind": "set", "tag": "RequestAttributesSequence", "value": "x"}, "holds a sequence: copy, move or delete it"),
    ({"kind": "set", "tag": "RequestAttributesSequence[0]", "value": "x"}, "is an item: name an element inside it"),
    ({"kind": "set", "tag": "EncapsulatedDocument", "value": "x"}, "holds bytes"),
    ({"kind": "set", "tag": "StudyID", "value": "{StudyDate"}, "a single { stands at place 1"),
    ({"kind": "set", "tag": "StudyID", "value": "{Nonsense}"}, 'unknown keyword "Nonsense"'),
    ({"kind": "set", "tag": "StudyID", "value": "{}"}, "a tag is needed"),
    ({"kind": "set", "tag": "StudyID", "value": "x", "vr": "LO"}, "the VR of StudyID is known (SH)"),
    ({"kind": "set", "tag": '(0029,"ACME",10)', "value": "x", "vr": "ZZ"}, "there is no VR ZZ"),
    ({"kind": "set", "tag": '(0029,"ACME",10)', "value": "x", "vr": "DA"}, "a date is"),
    ({"kind": "set", "tag": "PatientID"}, "Field required"),
    ({"kind": "delete", "tag": "SOPInstanceUID"}, "an instance cannot be without SOPInstanceUID"),
    ({"kind": "delete", "tag": "SpecificCharacterSet"}, "an instance cannot be without SpecificCharacterSet"),
    ({"kind": "move", "tag": "SOPClassUID", "to": "StudyID"}, "cannot be without SOPClassUID: copy it instead"),
    ({"kind": "prepend", "tag": "PatientID", "value": ""}, "at least 1 character"),
    ({"kind": "prepend", "tag": "RequestAttributesSequence", "value": "x"}, "holds no text: its VR is SQ"),
    ({"kind": "suffix", "tag": "SpecificCharacterSet", "value": "x"}, "is changed by `set` only"),
    ({"kind": "copy", "tag": "SpecificCharacterSet", "to": "StudyID"}, "is changed by `set` only"),
    ({"kind": "copy", "tag": "PatientID", "to": "(0010,0020)"}, "`tag` and `to` are the same"),
    ({"kind": "copy", "tag": "PatientID", "to": "RequestAttributesSequence"}, "does not fit into RequestAttributesSequence"),
    ({"kind": "move", "tag": "RequestAttributesSequence", "to": "PatientID"}, "does not fit into PatientID"),
    ({"kind": "copy", "tag": "ContentSequence", "to": "ContentSequence[0].ContentSequence"}, "is inside ContentSequence"),
    ({"kind": "copy", "tag": "RequestAttributesSequence[0]", "to": "ContentSequence"}, "name the whole sequence"),
    ({"kind": "regex_replace", "tag": "PatientID", "pattern": "(a"}, "the regular expression is not valid: missing )"),
    ({"kind": "regex_replace", "tag": "PatientID", "pattern": "(?=a)"}, "the regular expression is not valid"),
    ({"kind": "regex_replace", "tag": "PatientID", "pattern": "(a)", "replacement": r"\2"}, "names the group 2"),
    ({"kind": "regex_replace", "tag": "PatientID", "pattern": "(a)", "replacement": r"\g<b>"}, "names the group b"),
    ({"kind": "regex_replace", "tag": "PatientID", "pattern": "a", "replacement": "\\n"}, "\\n means nothing"),
    ({"kind": "regex_replace", "tag": "PatientID", "pattern": "a", "replacement": "x\\"}, "means nothing"),
    ({"kind": "set", "tag": "PatientID", "value": "x", "valeu": "y"}, "Extra inputs"),
]


@pytest.mark.parametrize(("config", "words"), REFUSED)
def test_what_is_refused_at_save(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        morph(config)
    assert words in str(caught.value)


@pytest.mark.parametrize("config", [
    {"kind": "set", "tag": "StudyDate", "value": "2026-11-24", "invalid": "warn"},
    {"kind": "set", "tag": "StudyDate", "value": ""},
    {"kind": "set", "tag": "StudyDate", "value": "{SeriesDate}"},
    {"kind": "set", "tag": "InstanceNumber", "value": 7},
    {"kind": "set", "tag": "PixelSpacing", "value": "0.5\\.5e1"},
    {"kind": "set", "tag": "SmallestImagePixelValue", "value": "-1"},
    {"kind": "set", "tag": "StudyTime", "value": "2359"},
    {"kind": "set", "tag": "AcquisitionDateTime", "value": "20261124101112.5+0100"},
    {"kind": "set", "tag": "PatientComments", "value": "two\r\nlines \\ here"},
    {"kind": "set", "tag": "PatientName", "value": "Yamada^Tarou=山田^太郎"},
    {"kind": "set", "tag": '(0029,"ACME",10)', "value": "20260101", "vr": "DA"},
    {"kind": "copy", "tag": "PixelSpacing", "to": "(0029,\"ACME\",10)"},
    {"kind": "regex_replace", "tag": "PatientID", "pattern": r"(?i)^h(\d+)$", "replacement": r"\\\1"},
])
def test_what_is_saved(config: dict[str, Any]) -> None:
    made = morph(config)
    assert made.model_dump(mode="json", exclude_defaults=True)["tag"] == config["tag"]
    assert morph({"kind": made.kind} | made.model_dump(mode="json", exclude_defaults=True)) == made


def test_every_kind_tells_in_a_line_what_it_does() -> None:
    assert {"set", "delete", "prepend", "suffix", "regex_replace", "copy", "move"} <= set(kinds("morph"))
    for cls in kinds("morph").values():
        assert cls.label
        assert cls.__doc__
        assert len(cls.__doc__.strip().splitlines()[0]) <= 130


def test_problems_name_the_field() -> None:
    with pytest.raises(ValidationError) as caught:
        morph({"kind": "copy", "tag": "PatientNme", "to": "StudyIDx"})
    assert [e["loc"] for e in caught.value.errors()] == [("tag",), ("to",)]


def test_a_pattern_that_would_explode_elsewhere_costs_nothing() -> None:
    import time

    made = morph({"kind": "regex_replace", "tag": "PatientComments", "pattern": "(a+)+$", "replacement": "b"})
    assert isinstance(made, RegexReplace)
    from engine.morphs.regex_replace import _compile, _parts, _replaced

    began = time.perf_counter()
    assert _replaced("a" * 65536 + "!", _compile(made.pattern, False), _parts("b", made.pattern, False), True).endswith("!")
    assert time.perf_counter() - began < 1


def test_templates() -> None:
    assert plain("a{{b}}c") == "a{b}c"
    assert plain("{PatientID}") is None
    assert [getattr(p, "instead", p) for p in parse("x{PatientID|none}{StudyID}")] == ["x", "none", None]
    assert fill('{(0029,"A|B",10)|x}', lambda path: "" if path.is_private else "?") == "x"
    assert fill("{PatientID|}!", lambda path: "") == "!"
