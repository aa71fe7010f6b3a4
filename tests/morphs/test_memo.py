"""What is remembered of a change gives what changing anew gives, to the byte."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import engine.morphs.memo
from engine.configuration import load_configuration
from engine.crosswalk.lookup import Lookups
from engine.dicom.header import Header
from engine.dicom.paths import TagPath
from engine.errors import Hold
from engine.flow.decider import Decider
from engine.model import Association
from engine.morphs.apply import Changed, Event, change
from engine.morphs.base import AnyMorph
from engine.morphs.memo import ChangeMemo
from engine.morphs.work import Work
from tests.dicom.generated import data_sets
from tests.dicom.samples import E, basics, received_files, text, write
from tests.dicom.test_layout import mutate
from tests.morphs.samples import AT, morph, outcome
from tests.morphs.test_patcher import CHAIN, CHAINS

EVENT = Event(True, "AXIOM", AT, "CT01")
MORE: list[list[dict[str, Any]]] = [
    [{"kind": "set", "tag": "StudyID", "value": "{PatientID|none}_{RequestAttributesSequence[0].ScheduledProcedureStepID|x}"}],
    [{"kind": "set", "tag": "PatientName", "value": "Żółć"}],
    [{"kind": "set", "tag": "SpecificCharacterSet", "value": "ISO_IR 192"}, {"kind": "prepend", "tag": "StudyID", "value": "x"}],
    [{"kind": "regex_replace", "tag": "PatientID", "pattern": "[0-9]+", "replacement": "<\\0>"}],
    [{"kind": "copy", "tag": "PatientID", "to": "StudyID"}, {"kind": "delete", "tag": '(0029,"ACME",20)'}],
    [{"kind": "set", "tag": "SOPInstanceUID", "value": "1.2.{PatientID|3}", "invalid": "warn"}],
    [{"kind": "copy", "tag": '(0029,"ACME",30)', "to": "ContentSequence"}],
    [{"kind": "delete", "tag": "PatientID"}, {"kind": "delete", "tag": "RequestAttributesSequence[*]"}],
    [{"kind": "set", "tag": "StudyID", "value": "{(0002,0016)|none}"}],
    [{"kind": "deidentify", "key": "env:TEST_MORPH_KEY"}],
]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_MORPH_KEY", "a secret of this test")


def of(how: Any, *args: Any) -> Changed | str:
    try:
        made = how(*args)
        assert isinstance(made, Changed)
        return made
    except Hold as e:
        return f"{e} {e.waits_for}"


def agrees(memo: ChangeMemo, path: Path, chains: Sequence[Sequence[AnyMorph]], lookups: Lookups | None = None) -> None:
    try:
        Header.read(path).as_json()
    except Hold:
        return
    for chain in chains:
        for event in (EVENT, EVENT._replace(original_attributes=False), EVENT._replace(at=AT + timedelta(days=1))):
            header = Header.read(path)
            once, again = of(memo.change, header, chain, event), of(memo.change, Header.read(path), chain, event)
            anew = of(change, Header.read(path), chain, event, lookups)
            assert outcome(once) == outcome(anew)
            assert outcome(again) == outcome(anew)
            assert not isinstance(once, Changed) or (once.header is header) == (once.header.data_set == header.data_set)


def chained(chains: Sequence[Sequence[dict[str, Any]]]) -> list[list[AnyMorph]]:
    return [[morph(m) for m in chain] for chain in chains]


SOME = given(data_sets(), CHAINS, st.sampled_from(MORE), st.integers(0, 1 << 32))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@SOME
def test_over_files_that_differ_a_little(
    data: tuple[str, list[E]], chain: list[dict[str, Any]], more: list[dict[str, Any]], seed: int
) -> None:
    _differ_a_little(data, chain, more, seed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@SOME
def test_over_thousands_of_files_that_differ_a_little(
    data: tuple[str, list[E]], chain: list[dict[str, Any]], more: list[dict[str, Any]], seed: int
) -> None:
    _differ_a_little(data, chain, more, seed)


def _differ_a_little(
    data: tuple[str, list[E]], chain: list[dict[str, Any]], more: list[dict[str, Any]], seed: int
) -> None:
    chance, memo, chains = random.Random(seed), ChangeMemo(), chained([chain, more, [*chain, *more]])
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "in.dcm", data[1], data[0])
        original = path.read_bytes()
        for n in range(6):
            path.write_bytes(mutate(original, chance) if n else original)
            agrees(memo, path, chains)


@pytest.mark.parametrize("path", received_files(), ids=lambda p: p.name)
def test_over_every_received_file_and_its_mutants(path: Path, tmp_path: Path) -> None:
    chance, memo, chains = random.Random(path.name), ChangeMemo(), chained([CHAIN, *MORE[: 2 + len(path.name) % 8]])
    original = path.read_bytes()
    for n in range(3):
        (tmp_path / "a.dcm").write_bytes(mutate(original, chance) if n else original)
        agrees(memo, tmp_path / "a.dcm", chains)


def test_a_series_is_changed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worked: list[str] = []
    real = engine.morphs.memo.worked
    monkeypatch.setattr(engine.morphs.memo, "worked", lambda h, m, k: worked.append(h.text("PatientID")) or real(h, m, k))
    memo, chain = ChangeMemo(), chained([CHAIN])[0]
    for patient in ("4711", "0815", "4711"):
        for n in range(10):
            elements = [*basics()[:1], text(0x00080018, "UI", f"1.2.{n}"), text(0x00100020, "LO", patient)]
            header = Header.read(write(tmp_path / "a.dcm", elements))
            made = memo.change(header, chain, EVENT)
            assert made.header.text("PatientID") == f"H1-{patient}"
            assert made.header.sop_instance_uid == header.sop_instance_uid
            assert made.header.root.values(0x00080018) == (f"1.2.{n}",)
    assert worked == ["4711", "0815"]


def test_each_event_has_its_own_record(tmp_path: Path) -> None:
    memo, chain = ChangeMemo(), chained([[{"kind": "set", "tag": "PatientID", "value": "X"}]])[0]
    path = write(tmp_path / "a.dcm", [*basics(), text(0x00100020, "LO", "1")])
    events = [EVENT, EVENT._replace(at=AT + timedelta(seconds=1)), EVENT._replace(source="MR02"), EVENT._replace(system="B")]
    for event in [*events, *events]:
        item = memo.change(Header.read(path), chain, event).header.to_dataset().OriginalAttributesSequence[0]
        assert item.AttributeModificationDateTime == event.at.strftime("%Y%m%d%H%M%S.%f+0000")
        assert (item.SourceOfPreviousValues, item.ModifyingSystem) == (event.source, event.system)


class Liar:
    """As a site's own kind may be: writes what it does not name, from what it does not name."""

    kind, about, lenient, hides, identifies = "liar", "", False, False, True

    def looks_at(self, lookups: Lookups | None) -> Sequence[TagPath]:
        return [TagPath.parse("Modality")]

    def apply(self, work: Work) -> None:
        for place in work.make(TagPath.parse("PatientComments")):
            work.write(place, [work.text(TagPath.parse("PatientID"))])


def test_a_kind_that_changes_what_it_does_not_name_is_not_remembered(tmp_path: Path) -> None:
    memo, chain = ChangeMemo(), cast(list[AnyMorph], [Liar()])
    for patient in ("1", "2"):
        path = write(tmp_path / "a.dcm", [*basics(), text(0x00100020, "LO", patient)])
        assert memo.change(Header.read(path), chain, EVENT).header.text("PatientComments") == patient


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.morphs.memo, "MOST", 100_000)
    memo, chain = ChangeMemo(), chained([[{"kind": "suffix", "tag": "PatientComments", "value": "!"}]])[0]
    for n in range(100):
        path = write(tmp_path / "a.dcm", [*basics(), text(0x00104000, "LT", f"{n}")])
        assert memo.change(Header.read(path), chain, EVENT).header.text("PatientComments") == f"{n}!"
        assert n // 50 <= len(memo._known) <= 50


def test_long_elements_are_changed_anew(tmp_path: Path) -> None:
    memo = ChangeMemo()
    path = write(tmp_path / "a.dcm", [*basics(), E(0x00420011, "OB", bytes(1 << 15))])
    agrees(memo, path, chained([[{"kind": "copy", "tag": "(0042,0011)", "to": '(0043,"ACME",10)'}]]))
    assert not memo._known


def test_what_depends_on_a_secret_is_remembered_for_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rule(name: str, priority: int, *morphs: dict[str, Any]) -> dict[str, Any]:
        return {"name": name, "priority": priority, "destinations": ["d"], "morphs": [*morphs]}

    remap = {"kind": "remap_uid", "tag": "StudyInstanceUID", "key": "env:TEST_MORPH_KEY"}
    rules = [rule("secret", 1, remap), rule("plain", 2, {"kind": "prepend", "tag": "PatientID", "value": "H-"})]
    decider = Decider.of(1, load_configuration({
        "destinations": [{"name": "d", "kind": "nothing"}],
        "rulesets": [{"name": "m", "priority": 1, "mode": "ALL_MATCHES", "rules": rules}],
    }), original_attributes=True)  # fmt: skip
    path = write(tmp_path / "a.dcm", [*basics(), text(0x0020000D, "UI", "1.2"), text(0x00100020, "LO", "1")])
    association, found = Association("s", "dimse_listener", "CT01", "AXIOM", "127.0.0.1"), []
    for batch, secret in enumerate(("one", "two")):
        monkeypatch.setenv("TEST_MORPH_KEY", secret)
        shared = decider.look_up([])
        for _ in range(2):
            made = decider.decide(Header.read(path), association, AT, AT + timedelta(hours=batch), shared)
            plain, hidden = sorted(made.branches, key=lambda branch: branch.rule)
            found.append(hidden.header.text("StudyInstanceUID"))
            item = plain.header.to_dataset().OriginalAttributesSequence[0]
            assert item.AttributeModificationDateTime.startswith(f"{AT.hour + batch:02d}", 8)
    assert found[0] == found[1] != found[2] == found[3]
    assert len(decider.changes._known) == 1
