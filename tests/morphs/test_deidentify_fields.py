"""What a person chooses of de-identification: pseudonyms, what stays, what holds; and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from engine.dicom.header import Header
from engine.errors import Hold
from engine.history.reader import Reader
from engine.history.sealing import seal
from engine.morphs.apply import Event, change
from tests.dicom.samples import EXPLICIT, IMPLICIT, E, as_file, basics, header, text, write
from tests.flow.road import Road, Sink, receive
from tests.morphs.samples import AT, morph
from tests.morphs.test_deidentify import KEY, hide, plain, read, study


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_MORPH_KEY", "a secret of this test")


def test_the_pseudonym_is_the_keys_or_the_persons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = header(tmp_path / "in.dcm", study("1.2.3.1"))
    own = read(hide(head).header)
    assert len(own.PatientID) == 16
    assert own.PatientID.isalnum()
    given = read(hide(head, patient_id="T7-{StudyDate}", patient_name="Łukasz^{PatientSex}").header)
    assert (given.PatientID, given.PatientName) == ("T7-20260228", "Łukasz^F")
    before = {"kind": "set", "tag": "PatientID", "value": "FROM-CROSSWALK"}
    kept = read(hide(head, before, patient_id="{PatientID}").header)
    assert (kept.PatientID, kept.PatientName) == ("FROM-CROSSWALK", "FROM-CROSSWALK")
    issuer = hide(head, per="{IssuerOfPatientID|}/{PatientID}").header
    assert read(issuer).PatientID != own.PatientID
    monkeypatch.setenv("TEST_MORPH_KEY", "another")
    assert read(hide(head).header).PatientID != own.PatientID


def test_a_patient_id_inside_a_sequence_becomes_the_same_pseudonym(tmp_path: Path) -> None:
    inside = E(0x00400440, "SQ", items=[[text(0x00100010, "PN", "Doe^Jane"), text(0x00100020, "LO", "4711")]])
    after = read(hide(header(tmp_path / "in.dcm", study("1.2.3.1", "4711", inside))).header)
    (item,) = after.ProtocolContextSequence
    assert (item.PatientID, item.PatientName) == (after.PatientID, "")


PRIVATE = [
    text(0x00290010, "LO", "OTHER"), text(0x00290011, "LO", "ACME"), text(0x00291010, "LO", "no"),
    text(0x00291110, "LO", "safe"), text(0x00291111, "LO", "no"), text(0x00291113, "UI", "1.2.3.1"),
    text(0x00291114, "DA", "20260228"),
    E(0x00291112, "SQ", items=[[text(0x00080060, "CS", "CT"), text(0x00100010, "PN", "no")]], undefined=True),
]  # fmt: skip


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_private_elements_named_safe_stay_and_are_cleaned(tmp_path: Path, syntax: str) -> None:
    head = header(tmp_path / "in.dcm", study("1.2.3.1", "4711", *PRIVATE), syntax)
    safe = ['(0029,"ACME",10)', '(0029,"ACME",12)', '(0029,"ACME",13)', '(0029,"ACME",14)']
    changed = hide(head, keep_private=safe)
    after = read(changed.header)
    assert after[0x00290011].value == "ACME"
    assert 0x00290010 not in after
    if syntax == EXPLICIT:
        assert after[0x00291110].value == "safe"
        assert after[0x00291113].value == after.SOPInstanceUID
        assert 0x00291114 not in after  # a date, and dates are removed
        assert read(hide(head, keep_private=safe, dates="full").header)[0x00291114].value == "20260228"
    (item,) = after[0x00291112].value
    assert (item.Modality, item.PatientName) == ("CT", "")
    assert 0x00291111 not in after
    assert after.DeidentificationMethodCodeSequence[-1].CodeMeaning == "Retain Safe Private Option"
    assert all(not e.tag.is_private for e in read(hide(head).header))


def test_what_an_option_keeps_must_be_what_its_vr_says(tmp_path: Path) -> None:
    elements = [
        *basics(), text(0x00080020, "DA", "Doe^Jane"), text(0x00080030, "TM", "Doe^Jane"), text(0x0008002A, "DT", "2026"),
        text(0x00081030, "LO", "Head\\Doe"), text(0x00100020, "LO", "1"), text(0x00101010, "AS", "Jane"),
        text(0x00380020, "DA", "Doe"),
    ]  # fmt: skip
    head = header(tmp_path / "in.dcm", elements)
    options = {"retain_patient_characteristics": True, "keep_descriptors": ["Head"]}
    full = read(hide(head, dates="full", **options).header)
    assert (full.StudyDate, full.StudyTime, full.AcquisitionDateTime) == ("", "", "2026")
    assert not {"PatientAge", "AdmittingDate", "StudyDescription"} & set(full.dir())
    moved = read(hide(head, dates="modified", **options).header)
    assert (moved.StudyDate, moved.StudyTime, moved.AcquisitionDateTime) == ("", "", "19000101000000")


@pytest.mark.parametrize("elements", [
    [text(0x00280301, "CS", "YES")],
    [E(0x60000010, "US", b"\x01\x00"), E(0x60000102, "US", b"\x0c\x00")],
], ids=["burned in", "overlay in the pixel data"])  # fmt: skip
def test_identity_in_the_pixels_holds_unless_told(tmp_path: Path, elements: list[E]) -> None:
    head = header(tmp_path / "in.dcm", study("1.2.3.1", "4711", *elements))
    with pytest.raises(Hold, match=r"pixel data|pixels") as caught:
        hide(head)
    assert "burned_in: pass" in str(caught.value)
    assert read(hide(head, burned_in="pass").header).PatientIdentityRemoved == "YES"


def test_what_is_missing_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = header(tmp_path / "in.dcm", basics())
    with pytest.raises(Hold, match="deidentify: PatientID is missing or empty"):
        hide(nobody)
    with pytest.raises(Hold, match="new value of PatientID is not valid"):
        hide(header(tmp_path / "2.dcm", study("1.2.3.1")), patient_id="x" * 65)
    monkeypatch.delenv("TEST_MORPH_KEY")
    with pytest.raises(Hold, match="deidentify: The secret env:TEST_MORPH_KEY cannot be read"):
        hide(header(tmp_path / "2.dcm", study("1.2.3.1")))


@pytest.mark.parametrize(("config", "words"), [
    ({}, "Field required"),
    ({"key": "hunter2"}, "the secret itself does not belong here"),
    ({"key": KEY, "keep_private": ["PatientID"]}, "no private element"),
    ({"key": KEY, "keep_private": ['(0029,"A",10)[0].PatientID']}, "no private element"),
    ({"key": KEY, "dates": "modified", "days": 0}, "nothing is moved"),
    ({"key": KEY, "patient_id": "{Nonsense}"}, "unknown keyword"),
    ({"key": KEY, "clean_graphics": True}, "Extra inputs are not permitted"),
    ({"key": KEY, "clean_pixel_data": True}, "Extra inputs are not permitted"),
])  # fmt: skip
def test_what_is_refused_at_save(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        morph({"kind": "deidentify"} | config)
    assert words in str(caught.value)


def test_no_record_of_what_was_leaves_with_it(tmp_path: Path) -> None:
    head = header(tmp_path / "in.dcm", study("1.2.3.1"))
    config = {"kind": "set", "tag": "PatientID", "value": "0815"}
    recorded = change(head, [morph(config)], Event(True, "AXIOM", AT))
    assert "OriginalAttributesSequence" in read(recorded.header)
    after = hide(recorded.header, {"kind": "set", "tag": "PatientComments", "value": "Jane was here"})
    assert "OriginalAttributesSequence" not in read(after.header)
    assert b"Jane" not in as_file(after.header)
    assert b"4711" not in as_file(after.header)
    assert [e.tag for e in read(after.header).file_meta if e.tag > 0x00020013] == []
    assert b"SENDER" not in as_file(after.header)


def test_done_twice_it_says_what_was_done_before(tmp_path: Path) -> None:
    first = hide(header(tmp_path / "in.dcm", study("1.2.3.1")), dates="modified", retain_device_identity=True)
    second = read(hide(first.header, dates="full").header)
    assert second.LongitudinalTemporalInformationModified == "MODIFIED"
    assert second.StudyDate == read(first.header).StudyDate
    named = [item.CodeValue for item in second.DeidentificationMethodCodeSequence]
    assert named == ["113100", "113107", "113109", "113106"]


def test_each_change_is_said(tmp_path: Path) -> None:
    inside = E(0x00400440, "SQ", items=[[text(0x00104000, "LT", "nested")]])
    changed = hide(header(tmp_path / "in.dcm", study("1.2.3.1", "4711", inside, *PRIVATE)))
    said = {c.path: (c.before, c.after) for c in changed.changes}
    assert said["PatientBirthDate"] == ("19800101", "")
    assert said["SeriesDescription"] == ("Jane Doe's head", None)
    assert said["ProtocolContextSequence[0].PatientComments"] == ("nested", None)
    assert said['(0029,"ACME",10)'] == ("safe", None)
    assert said["(0029,0011)"] == ("ACME", None)
    assert said["DeidentificationMethodCodeSequence"] == (None, "1 item")
    assert {c.morph for c in changed.changes} == {"deidentify"}


def test_identified_and_deidentified_side_by_side_on_the_whole_road(tmp_path: Path) -> None:
    Sink.given.clear()
    rules = [
        {"name": "to-pacs", "priority": 1, "destinations": ["pacs"]},
        {"name": "to-research", "priority": 2, "destinations": ["research"],
         "morphs": [{"kind": "deidentify", "key": KEY, "dates": "modified"}]},
    ]  # fmt: skip
    road = Road(tmp_path / "home", {
        "destinations": [{"name": name, "kind": "test_sink"} for name in ("pacs", "research")],
        "rulesets": [{"name": "main", "priority": 1, "mode": "ALL_MATCHES", "rules": rules}],
    })  # fmt: skip
    files = [write(tmp_path / f"{n}.dcm", study(f"1.2.3.{n}"), EXPLICIT) for n in (1, 2)]
    receive(road.spool, [(f"1.2.3.{n}", path.read_bytes()) for n, path in enumerate(files, 1)])
    road.route()
    road.deliver()
    given = {name: [(uid, data) for to, uid, data in Sink.given if to == name] for name in ("pacs", "research")}
    assert sorted(data for _, data in given["pacs"]) == sorted(plain(Header.read(path)) for path in files)
    hidden = [hide(Header.read(path), dates="modified").header for path in files]
    assert sorted(given["research"]) == sorted((head.sop_instance_uid, plain(head)) for head in hidden)
    rows = road.rows('SELECT * FROM changes WHERE path = \'StudyInstanceUID\' AND "before" = \'1.2.3\'')
    assert {(row["rule"], row["morph"]) for row in rows} == {("to-research", "deidentify")}
    seal(road.home / "history")
    masked = Reader(road.home / "history").rows('SELECT "before", "after" FROM changes', mask=True)
    assert masked
    assert {value for row in masked for value in row.values()} <= {"***", "", None}
