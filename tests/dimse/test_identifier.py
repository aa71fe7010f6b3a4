"""Identifiers of queries, to bytes and back, in the character sets that hospitals use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dicom.network.identifier import decode_identifier, encode_identifier
from engine.errors import Hold, Invalid
from tests.dimse.support import EXPLICIT, IMPLICIT

LEVEL, NAME, STUDY, COUNT = 0x00080052, 0x00100010, 0x0020000D, 0x00201208


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO 2022 IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 100", "Müller^Jürgen*"),
        ("ISO_IR 144", "Люкceмбypг^Анна"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 192", "Łukasz^Žofia=王^小東"),
        ("", "DOE^J*"),
    ],
)
def test_a_name_comes_back_in_every_character_set(character_set: str, name: str, syntax: str) -> None:
    data = encode_identifier({NAME: name, LEVEL: "STUDY", STUDY: "", COUNT: ""}, syntax, character_set)
    found = decode_identifier(data, syntax)
    assert found["00100010"] == {"vr": "PN", "Value": [name]}
    assert found["00080052"] == {"vr": "CS", "Value": ["STUDY"]}
    assert found["0020000D"] == {"vr": "UI"}
    assert list(found) == sorted(found)
    assert ("00080005" in found) == bool(character_set)


LETTERS = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp"), exclude_characters="\\=^")


@given(st.text(LETTERS, min_size=1))
def test_any_text_is_asked_in_utf_8(text: str) -> None:
    data = encode_identifier({NAME: text}, EXPLICIT, "ISO_IR 192")
    assert decode_identifier(data, EXPLICIT)["00100010"]["Value"] == [text]


def test_what_a_character_set_does_not_hold_is_said() -> None:
    with pytest.raises(Invalid, match="ISO_IR 100 does not hold every character of it"):
        encode_identifier({NAME: "山田*"}, EXPLICIT, "ISO_IR 100")
    with pytest.raises(Invalid, match="ASCII does not hold every character"):
        encode_identifier({NAME: "Müller"}, EXPLICIT, "")
    with pytest.raises(Invalid, match="no Specific Character Set"):
        encode_identifier({NAME: "x"}, EXPLICIT, "KLINGON")


def test_an_answer_that_does_not_say_its_character_set_is_read_in_the_sources() -> None:
    silent = encode_identifier({NAME: "Müller"}, EXPLICIT, "ISO_IR 192")[18:]  # without (0008,0005)
    assert decode_identifier(silent, EXPLICIT, "ISO_IR 192")["00100010"]["Value"] == ["Müller"]
    latin = encode_identifier({NAME: "Müller"}, EXPLICIT, "ISO_IR 100")[18:]
    assert decode_identifier(latin, EXPLICIT, "ISO_IR 192")["00100010"]["Value"] == ["Müller"], "it is not UTF-8"


def test_an_answer_that_is_broken_is_told() -> None:
    with pytest.raises(Hold):
        decode_identifier(b"\x10\0\x10\0PN\xff\0ab", EXPLICIT)
