from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import Invalid
from engine.store.yaml_text import dump_yaml, read_yaml


def test_words_stay_words() -> None:
    text = """
    state: off
    also: [on, yes, no, Y, n, Off, NO]
    real: [true, False]
    start: 07:00
    end: 18:00
    long: 12:30:45
    id: 0010
    octal: 0o17
    hex: 0x1F
    under: 1_000
    date: 2026-12-25
    moment: 2026-12-25T10:00:00Z
    numbers: [0, -3, 12, 1.5, 1e3, .5]
    nothing: [~, null]
    merge: {<<: x}
    tag: (0010,0020)
    equal: =
    """
    assert read_yaml(text).data == {
        "state": "off",
        "also": ["on", "yes", "no", "Y", "n", "Off", "NO"],
        "real": [True, False],
        "start": "07:00",
        "end": "18:00",
        "long": "12:30:45",
        "id": "0010",
        "octal": "0o17",
        "hex": "0x1F",
        "under": "1_000",
        "date": "2026-12-25",
        "moment": "2026-12-25T10:00:00Z",
        "numbers": [0, -3, 12, 1.5, 1000.0, 0.5],
        "nothing": [None, None],
        "merge": {"<<": "x"},
        "tag": "(0010,0020)",
        "equal": "=",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1, 2\nb: 3\n", "line 2"),
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: This is not YAML: the key `a` is given twice"),
        ("a: !!python/object/apply:os.system [id]\n", "the tag"),
        ("- a\n", "names families"),
        ("? [a, b]\n: 1\n", "a key must be a word"),
        ("a: &x [*x]\n", "refers to what it stands in"),
        ("\tb: 1\n", "line 1"),
        ("a: \x00", "not YAML"),
        ("a: 1\n---\nb: 2\n", "document"),
        ("b: 1\na: " + "1" * 5000, "line 2, column 4: This is not YAML: this value cannot be read as int"),
        ("a: !!bool maybe", "cannot be read as bool"),
        ("a: !!timestamp soon", "cannot be read as timestamp"),
    ],
)
def test_what_is_no_configuration_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(Invalid, match=r".") as caught:
        read_yaml(text)
    assert words in str(caught.value)


def test_nothing_is_an_empty_mapping() -> None:
    assert read_yaml("").data == {}
    assert read_yaml("# only a comment\n").data == {}


def test_unfolding_aliases_and_depth_are_bounded() -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    bomb += "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
    began = time.process_time()
    with pytest.raises(Invalid, match="unfolds without end"):
        read_yaml(bomb)
    assert time.process_time() - began < 10
    for deep in ("[" * 3_900_000, "a: " + "{a: " * 100_000, "- " * 500_000):
        with pytest.raises(Invalid, match="nested too deeply"):
            read_yaml(deep)
    with pytest.raises(Invalid, match="unfolds without end"):
        read_yaml("".join(f"a{i}: &a{i} [{f'*a{i - 1}' if i else 'x'}]\n" for i in range(3000)))
    with pytest.raises(Invalid, match="larger than"):
        read_yaml("#" * 4_000_001)


def test_anchors_work_as_people_use_them() -> None:
    read = read_yaml("a: &when {tag: Modality, op: eq}\nb: [*when, *when]\n").data
    assert read["b"] == [{"tag": "Modality", "op": "eq"}] * 2


def test_places_have_lines() -> None:
    read = read_yaml("destinations:\n  - name: pacs\n    kind: nothing\n    parallel: 3\n  - {name: b}\n")
    assert read.line(("destinations", "pacs", "parallel")) == 4
    assert read.line(("destinations", "b", "port")) == 5
    assert read.line(("sources",)) is None


def test_the_text_is_stable_and_readable_by_git_and_people() -> None:
    document = {"rulesets": [{"name": "main", "priority": 1, "rules": [{"name": "a", "state": "off", "note": "x\ny\n"}]}]}
    assert dump_yaml(document) == (
        "rulesets:\n  - name: main\n    priority: 1\n    rules:\n      - name: a\n        state: 'off'\n"
        "        note: |\n          x\n          y\n"
    )


words = st.text(max_size=12) | st.sampled_from(
    ["off", "yes", "07:00", "0010", "1e3", "~", "", "null", "2026-12-25", "=", "<<", "true", "0x1F", "12:30:45", "1_000", "-"]
)
values = st.recursive(
    words | st.booleans() | st.none() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(words, values, max_size=4))
def test_what_is_written_is_read_back_and_old_readers_agree(document: dict[str, Any]) -> None:
    text = dump_yaml(document)
    assert read_yaml(text).data == document
    assert yaml.safe_load(text) == document  # YAML 1.1: whatever else reads the file sees the same
