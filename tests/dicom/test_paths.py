from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from engine.dicom.dictionary import complete
from engine.dicom.paths import TagPath, TagPathText

SAME = [
    ("PatientName", "PatientName", "PN"),
    ("(0010,0010)", "PatientName", "PN"),
    ("00100010", "PatientName", "PN"),
    (" ( 0010 , 0010 ) ", "PatientName", "PN"),
    ("(0002,0016)", "SourceApplicationEntityTitle", "AE"),
    ("RequestAttributesSequence[0].ScheduledProcedureStepID", "RequestAttributesSequence[0].ScheduledProcedureStepID", "SH"),
    ("(0040,0275)[*].00400009", "RequestAttributesSequence[*].ScheduledProcedureStepID", "SH"),
    ("(0040,A730)[1].ContentSequence[*].TextValue", "ContentSequence[1].ContentSequence[*].TextValue", "UT"),
    ('(0029,"SIEMENS CSA HEADER",10)', '(0029,"SIEMENS CSA HEADER",10)', "OB"),
    ('(0029, "Nobody Knows" ,0a)', '(0029,"Nobody Knows",0A)', ""),
    ('(0029,"A.B[1]",10)[0].PatientID', '(0029,"A.B[1]",10)[0].PatientID', "LO"),
    ("RequestAttributesSequence[2]", "RequestAttributesSequence[2]", "SQ"),
    ("SmallestImagePixelValue", "SmallestImagePixelValue", "US or SS"),
    ("(6002,3000)", "(6002,3000)", "OB or OW"),
]


@pytest.mark.parametrize(("written", "canonical", "vr"), SAME)
def test_each_way_to_write_a_path(written: str, canonical: str, vr: str) -> None:
    path = TagPath.parse(written)
    assert str(path) == canonical
    assert path.vr == vr
    assert TagPath.parse(str(path)) == path
    assert hash(TagPath.parse(str(path))) == hash(path)


WRONG = [
    ("", "a tag is needed"),
    ("PatientNme", 'unknown keyword "PatientNme" (did you mean PatientName?)'),
    ("Xyzzy", 'unknown keyword "Xyzzy"'),
    ("PatientName.PatientID", "PatientName is no sequence (its VR is PN)"),
    ("RequestAttributesSequence.PatientID", "say which item of RequestAttributesSequence: RequestAttributesSequence[0]"),
    ("PatientID[0]", "PatientID is no sequence (its VR is LO): it has no items"),
    ("RequestAttributesSequence[0].", "at the end: a keyword"),
    ("RequestAttributesSequence[0].Patientt", 'unknown keyword "Patientt"'),
    ("RequestAttributesSequence[-1].PatientID", 'at "[-1].PatientID": a dot or the end is expected'),
    ("PatientID PatientName", 'at "PatientName": a dot or the end is expected'),
    ("(0029,1010)", '(0029,"CREATOR",10)'),
    ("00291010", '(0029,"CREATOR",10)'),
    ('(0010,"ACME",10)', "private elements have an odd group"),
    ('(0029,"  ",10)', "the private creator is empty"),
    ("(0018,9999)", "(0018,9999) is not in the DICOM dictionary"),
    ("(0000,0002)", "(0000,0002) is not an element of a data set"),
    ("(FFFE,E000)", "(FFFE,E000) is not"),
    ("RequestAttributesSequence[0].(0002,0010)", "file meta elements (0002,eeee) do not stand inside sequences"),
    ("(0010,00)", 'at "(0010,00)"'),
]


@pytest.mark.parametrize(("written", "words"), WRONG)
def test_what_is_wrong_is_said_with_its_place(written: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        TagPath.parse(written)
    assert words in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused_in_words(text: str) -> None:
    try:
        path = TagPath.parse(text)
    except ValueError as e:
        assert str(e)
    else:
        assert TagPath.parse(str(path)) == path


def test_what_a_path_says_of_itself() -> None:
    assert TagPath.parse("(0002,0010)").is_file_meta
    assert TagPath.parse('RequestAttributesSequence[0].(0029,"A",10)').is_private
    assert not TagPath.parse('(0029,"A",10)[0].PatientID').is_private
    assert TagPath.parse("RequestAttributesSequence[*].PatientID").has_wildcard
    known = TagPath.parse("ImageType").known
    assert known is not None
    assert (known.keyword, known.name, known.vr, known.vm) == ("ImageType", "Image Type", "CS", "2-n")


def test_a_path_in_a_model_stays_what_was_written_and_is_refused_at_its_field() -> None:
    class Model(BaseModel):
        tag: TagPathText

    assert Model(tag=" (0010,0010) ").tag == "(0010,0010)"
    with pytest.raises(ValidationError) as caught:
        Model(tag="PatientNme")
    assert caught.value.errors()[0]["loc"] == ("tag",)
    assert "did you mean PatientName?" in caught.value.errors()[0]["msg"]


def test_completion_finds_by_keyword_name_and_number() -> None:
    assert next(iter(complete("patientid"))).keyword == "PatientID"
    assert "PatientName" in [known.keyword for known in complete("patientn")]
    assert [known.keyword for known in complete("(0010,0020)")] == ["PatientID"]
    assert len(list(complete("sequence", limit=7))) == 7
