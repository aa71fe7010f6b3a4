"""What a ruleset remembers is what it would say again, word for word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.dicom.header import Header
from engine.errors import Hold
from engine.model import Association, Change
from engine.rules import memo
from engine.rules.compiled import _Tag
from engine.rules.decide import Decision, Rulebook
from engine.rules.model import Rule, Ruleset, Schedule
from tests.rules import strategies as some
from tests.rules.headers import SENDER, header

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
Instance = tuple[Header, Association, datetime]


def unchanged(rule: Rule, seen: Header) -> tuple[Header, tuple[Change, ...], tuple[str, ...]]:
    return seen, (), ()


def book_of(rules: list[Rule], schedules: list[Schedule], **more: Any) -> Rulebook:
    named = [rule.model_copy(update={"name": f"r{n}", "priority": n}) for n, rule in enumerate(rules)]
    return Rulebook([Ruleset(name="m", priority=1, rules=named, **more)], schedules)


def says(book: Rulebook, instance: Instance) -> Decision | str:
    try:
        return book.decide(*instance, unchanged)
    except Hold as hold:
        return str(hold)


@st.composite
def like_each_other(draw: st.DrawFn) -> list[Instance]:
    """Instances of one series: the same but for an element or two, from the same sender most of the time."""
    elements, other = draw(some.header_elements), draw(some.header_elements)
    senders, at = [draw(some.associations), draw(some.associations)], draw(some.moments)
    out = []
    for _ in range(4):
        changed = draw(st.lists(st.sampled_from([*sorted(elements.keys() | other.keys()), 0]), max_size=2))
        mine = {tag: element for tag, element in elements.items() if tag not in changed}
        mine |= {tag: other[tag] for tag in changed if tag in other}
        sender, minutes = draw(st.sampled_from([0, 0, 0, 1])), draw(st.sampled_from([0, 0, 0, 1, 600]))
        out.append((header(mine), senders[sender], at + timedelta(minutes=minutes)))
    return out


def agree(rules: list[Rule], schedule: Schedule, seen: list[Instance], mode: str) -> None:
    remembering = book_of(rules, [schedule], mode=mode)
    plain = book_of(rules, [schedule], mode=mode, changes="chained")  # a chain is asked rule by rule
    for instance in seen * 2:
        assert says(remembering, instance) == says(plain, instance)


MODES = st.sampled_from(["FIRST_MATCH", "ALL_MATCHES"])
RULES = st.lists(some.rules.filter(bool), min_size=1, max_size=3)
LOOSE = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=60, **LOOSE)
@given(RULES, some.schedules, like_each_other(), MODES)
def test_what_is_remembered_is_what_would_be_said(
    rules: list[Rule], schedule: Schedule, seen: list[Instance], mode: str
) -> None:
    agree(rules, schedule, seen, mode)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=3_000, **LOOSE)
@given(RULES, some.schedules, like_each_other(), MODES)
def test_what_is_remembered_is_what_would_be_said_of_many(
    rules: list[Rule], schedule: Schedule, seen: list[Instance], mode: str
) -> None:
    agree(rules, schedule, seen, mode)


def rule(tag: str, op: str, *value: str, **more: Any) -> Rule:
    when = {"tag": tag, "op": op} | ({"value": value[0]} if value else {})
    return Rule.model_validate({"name": "r", "priority": 1, "when": when, "destinations": ["d"], **more})


def matched(book: Rulebook, one: Header, association: Association = SENDER, at: datetime = NOW) -> bool:
    return book.decide(one, association, at, unchanged).verdicts[0].matched


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which leaves were asked in truth."""
    out: list[str] = []
    holds = _Tag.holds

    def noted(self: _Tag, seen: Any) -> bool:
        out.append(self.key)
        return holds(self, seen)

    monkeypatch.setattr(_Tag, "holds", noted)
    return out


def test_an_image_of_the_same_series_is_not_asked_again(asked: list[str]) -> None:
    book = book_of([rule("Modality", "eq", "CT")], [])
    assert [matched(book, header(Modality="CT", InstanceNumber=str(n))) for n in range(5)] == [True] * 5
    assert asked == ["Modality"]
    assert not matched(book, header(Modality="MR"))


def test_other_senders_are_asked_anew() -> None:
    ours = {"calling_ae": {"op": "eq", "value": "CT01"}}
    book = book_of([rule("Modality", "eq", "CT", association=ours)], [])
    one = header(Modality="CT")
    assert matched(book, one)
    assert not matched(book, one, replace(SENDER, calling_ae="MR01"))


def test_a_schedule_that_goes_off_is_seen() -> None:
    hours = Schedule.model_validate(
        {"name": "s", "time_zone": "UTC", "ranges": [{"start": "08:00", "end": "13:00", "days": ["tue"]}]}
    )
    book = book_of([rule("Modality", "eq", "CT", schedule="s")], [hours])
    one = header(Modality="CT")
    assert matched(book, one)
    for hour, minute in ((14, 0), (14, 1)):
        verdict = book.decide(one, SENDER, NOW.replace(hour=hour, minute=minute), unchanged).verdicts[0]
        assert verdict.reasons == (f"schedule s: not on at Tue 2026-11-24 {hour}:0{minute} UTC",)


def implicit(folder: Path, **elements: Any) -> Header:
    ds = pydicom.Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    path = folder / f"{len(list(folder.iterdir()))}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return Header.read(path)


def test_the_same_bytes_are_not_the_same_value_everywhere(tmp_path: Path) -> None:
    """What says how bytes are read belongs to what is remembered: sign, character set, byte order's companions."""
    book = book_of([rule("SmallestImagePixelValue", "lt", "0")], [])
    signed = [implicit(tmp_path, PixelRepresentation=r, SmallestImagePixelValue=v) for r, v in ((0, 65535), (1, -1))]
    assert [matched(book, one) for one in signed] == [False, True]

    book = book_of([rule("PatientID", "eq", "Ä")], [])
    names = [header({0x00080005: ("CS", name), 0x00100020: ("LO", b"\xc4 ")}) for name in ("ISO_IR 100", "ISO_IR 144")]
    assert [matched(book, one) for one in names] == [True, False]

    for path in ("DiffusionBValue", '(0029,"ACME 1",10)'):
        book = book_of([rule(path, "eq", "1")], [])
        zeros = [
            header({0x00189087: ("FD", v), 0x00290010: ("LO", "ACME 1"), 0x00291010: ("FD", v)}) for v in (0.0, -0.0)
        ]
        shown = [book.decide(one, SENDER, NOW, unchanged).verdicts[0].reasons for one in zeros]
        assert shown == [book_of([rule(path, "eq", "1")], []).decide(one, SENDER, NOW, unchanged).verdicts[0].reasons
                         for one in zeros]  # fmt: skip


def test_bytes_and_long_values(tmp_path: Path, asked: list[str]) -> None:
    """Of bytes only their being there counts, however long; long text is asked each time."""
    book = book_of([rule("PixelData", "exists")], [])
    pixels = {"Rows": 60, "Columns": 60, "BitsAllocated": 8, "PixelData": bytes(3600)}
    assert matched(book, implicit(tmp_path, **pixels))
    assert matched(book, implicit(tmp_path, **pixels | {"PixelData": b"\1" * 3600}))
    assert len(asked) == 1

    book = book_of([rule("PatientComments", "contains", "x")], [])
    assert [matched(book, header(PatientComments="y" * 2000 + last)) for last in "xzx"] == [True, False, True]
    assert len(asked) == 4


def test_what_errs_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    book = book_of([rule("Modality", "eq", "CT")], [])
    one = header(Modality="CT")
    with monkeypatch.context() as broken:
        broken.setattr(_Tag, "holds", _fails)
        with pytest.raises(Hold, match="rule r0: it could not be evaluated"):
            matched(book, one)
    assert matched(book, one)


def _fails(*_: Any) -> bool:
    raise RuntimeError


def test_changes_are_made_anew_for_each_and_their_warnings_stay_theirs() -> None:
    book = book_of([rule("Modality", "eq", "CT", morphs=[{"kind": "delete", "tag": "PatientAge"}])], [])
    made: list[Header] = []

    def warns(rule: Rule, seen: Header) -> tuple[Header, tuple[Change, ...], tuple[str, ...]]:
        made.append(seen)
        return seen, (), (f"warning {len(made)}",)

    seen = [header(Modality="CT"), header(Modality="CT")]
    verdicts = [book.decide(one, SENDER, NOW, warns).verdicts[0] for one in seen]
    assert made == seen
    assert [v.reasons[-1] for v in verdicts] == ["warning 1", "warning 2"]


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    put: Callable[..., None] = memo.Memo.put

    def noted(self: memo.Memo[Any], key: Any, answer: Any) -> None:
        put(self, key, answer)
        sizes.append(len(self._answers))

    monkeypatch.setattr(memo.Memo, "put", noted)
    monkeypatch.setattr("engine.rules.decide.VERDICTS_KEPT", 10)
    book = book_of([rule("PatientID", "eq", "3"), rule("Modality", "eq", "CT")], [])
    assert [matched(book, header(PatientID=str(n % 8))) for n in range(24)] == [n % 8 == 3 for n in range(24)]
    assert max(sizes) == 5
