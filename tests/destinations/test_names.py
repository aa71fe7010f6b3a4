"""Names made from tags: whatever a modality writes into a tag, a name is one harmless part of a path."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.destinations._names import parse_template
from engine.destinations.filesystem import Filesystem

NASTY = st.lists(
    st.one_of(
        st.text(max_size=150),
        st.text('./\\~ :*?"<>|\0\n\u202e_', max_size=4),
        st.sampled_from(["CON", "..", "nul.", "a", "_", "unknown", "\udcff"]),
    ),
    max_size=3,
).map("".join)


def fill(template: str, **tags: str) -> str:
    return "/".join(parse_template(template).fill(lambda path: tags.get(path, "")))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("4711", "4711"),
        ("DOE^JOHN=x", "DOE^JOHN=x"),
        ("Müller 山田", "Müller 山田"),
        ("1.2.840.1", "1.2.840.1"),
        ("", "unknown"),
        ("..", "__~"),
        ("../../etc/passwd", "__/../etc/passwd"),
        ("/etc", "_etc~"),
        ("a/b", "a_b~"),
        ("a\\b", "a_b~"),
        ("a\0b\n", "a_b_~"),
        ("C:", "C_~"),
        (".hidden", "_hidden~"),
        ("end. ", "end__~"),
        ("a~b", "a_b~"),
        ("\u202egnp", "_gnp~"),
        ("con", "_con~"),
        ("LPT1.txt", "_LPT1.txt~"),
        ("\udcff", "_~"),
    ],
)
def test_a_value_becomes_a_harmless_part(value: str, name: str) -> None:
    made = fill("{PatientID}", PatientID=value)
    if name.endswith("~"):
        assert re.fullmatch(re.escape(name) + "[0-9a-f]{10}", made)
    elif value.startswith("../.."):
        assert re.fullmatch(r"___\.\._etc_passwd~[0-9a-f]{10}", made)
    else:
        assert made == name


@given(NASTY, NASTY)
def test_any_value_is_one_part_and_two_values_never_share_a_name(one: str, two: str) -> None:
    for template in ("{PatientID}", "{PatientID}.dcm", "x-{PatientID}-y"):
        made = fill(template, PatientID=one)
        assert made not in ("", ".", "..")
        assert not re.search(r'[\x00-\x1f/\\:*?"<>|\x7f]', made)
        assert made[0] not in ". "
        assert made[-1] not in ". "
        assert len(made.encode()) <= 120
        assert not re.fullmatch(r"(?i)(con|nul|aux|prn|com\d|lpt\d)(\..*)?", made)
        if template.endswith(".dcm"):
            assert made.endswith(".dcm")
        if (one or "unknown") != (two or "unknown"):
            assert made != fill(template, PatientID=two)


def test_a_long_value_is_cut_at_a_character_and_keeps_its_extension() -> None:
    made = fill("{PatientName}.dcm", PatientName="é" * 200)
    assert re.fullmatch(r"é+~[0-9a-f]{10}\.dcm", made)
    assert 118 <= len(made.encode()) <= 120
    assert made != fill("{PatientName}.dcm", PatientName="é" * 201)


def test_paths_with_braces_slashes_and_quotes_are_read() -> None:
    path = '(0029,"SIEMENS/MED {x",10)'
    with pytest.raises(ValueError, match=r"In \{"):
        parse_template("{" + path + "}")
    path = '(0029,"SIEMENS CSA/HEADER",10)'
    assert parse_template("a b/{" + path + "}_{SOPInstanceUID}.dcm").fill(lambda p: p[:3]) == ("a b", "(00_SOP.dcm")
    assert fill("{RequestAttributesSequence[0].ScheduledProcedureStepID}/{SOPInstanceUID}") == "unknown/unknown"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("/abs/{PatientID}", "begins with `/`"),
        ("../{PatientID}", "dot or a space"),
        ("a/../{PatientID}", "dot or a space"),
        ("a//{PatientID}", "empty part"),
        ("{PatientID}/", "empty part"),
        ("a:b/{PatientID}", "':'"),
        ("a\\{PatientID}", "cannot be part of a name"),
        ("a\n/{PatientID}", "cannot be part of a name"),
        ("a ~/{PatientID}", "'~'"),
        ("NUL/{PatientID}", "device's name"),
        ("{PatientNme}.dcm", "PatientName"),
        ("{}.dcm", "In {}"),
        ("{PatientID", "no partner"),
        ("PatientID}/{PatientID}", "no partner"),
        ("images/all.dcm", "needs a tag"),
        ("x" * 61 + "{PatientID}", "longer than 60 bytes"),
    ],
)
def test_a_template_that_cannot_be_right_is_refused_at_save(template: str, words: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(words)):
        Filesystem(name="a", path="/tmp/a", template=template)
