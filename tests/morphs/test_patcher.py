"""The patcher and pydicom give equal data sets, and what was not changed keeps its bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.dicom.content import Slice
from engine.dicom.header import Header
from engine.errors import Hold
from engine.morphs.apply import Changed, Event, change
from tests.dicom.generated import data_sets
from tests.dicom.samples import IMPLICIT, E, as_file, received_files, write
from tests.morphs import reference
from tests.morphs.samples import AT, morph

_WORDS = st.sampled_from(["H1-", "X", "4711", "ABC"])
_TEXT_TAGS = [
    "PatientID", "AccessionNumber", "StudyDescription", "PatientName", "PatientComments",
    "RequestAttributesSequence[0].ScheduledProcedureStepID", "RequestAttributesSequence[*].ScheduledProcedureStepID",
    "ReferencedStudySequence[*].ReferencedImageSequence[0].AccessionNumber", '(0029,"ACME",10)', '(0029,"NEW",05)',
    'RequestAttributesSequence[*].(0029,"ACME",10)', '(0029,"ACME",30)[*].PatientID', "ContentSequence[1].PatientID",
]
_SEQUENCES = ["RequestAttributesSequence", "ReferencedStudySequence", "ReferencedImageSequence", "ContentSequence"]


@st.composite
def _morphs(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["set", "delete", "prepend", "suffix", "copy", "move", "set", "items"]))
    if kind == "items":
        kind = draw(st.sampled_from(["delete", "copy", "move"]))
        tag, to = draw(st.permutations(_SEQUENCES))[:2]
        return {"kind": kind, "tag": tag} | ({} if kind == "delete" else {"to": to})
    tag = draw(st.sampled_from(_TEXT_TAGS))
    if kind == "delete":
        return {"kind": kind, "tag": draw(st.sampled_from([tag, "Rows", "PatientBirthDate"]))}
    if kind == "set":
        tag, value = draw(st.sampled_from([
            (tag, draw(_WORDS)), ("Rows", "300"), ("ImageType", "A\\B\\C"), ("StudyDate", "20251231"),
            ("SliceThickness", "2.50"), ("(0018,9087)", "1.25"), ("SOPInstanceUID", "1.2.3.4"), ("BodyPartExamined", "HEAD"),
        ]))
        return {"kind": kind, "tag": tag, "value": value}
    if kind in ("prepend", "suffix"):
        return {"kind": kind, "tag": tag, "value": draw(_WORDS)}
    to = draw(st.sampled_from(["StudyID", "(0040,0275)[0].StudyID", "PatientID", "AccessionNumber", '(0031,"X Y",01)']))
    if to.split(".")[-1] == tag.split(".")[-1]:
        to = "ProtocolName"
    return {"kind": kind, "tag": tag, "to": to}


def run(header: Header, chain: list[dict[str, Any]], *, original_attributes: bool = False) -> Changed:
    return change(header, [morph(m) for m in chain], Event(original_attributes, "AXIOM", AT))


def check(path: Path, chain: list[dict[str, Any]]) -> None:
    header = Header.read(path)
    try:
        changed = run(header, chain)
    except Hold:
        return
    ours = reference.read(as_file(changed.header))
    theirs = reference.read(path.read_bytes())
    for m in chain:
        reference.apply(theirs, m)
    if ours.get("SpecificCharacterSet") == "ISO_IR 192" != theirs.get("SpecificCharacterSet"):
        theirs.SpecificCharacterSet = "ISO_IR 192"
    theirs = reference.again(theirs)
    assert ours == theirs
    new_uid = ours.SOPInstanceUID if any(c.tag == "00080018" for c in changed.changes) else header.sop_instance_uid
    assert ours.file_meta.MediaStorageSOPInstanceUID == new_uid == changed.header.sop_instance_uid
    again = changed.header.as_json()  # the changed header reads as the file that it becomes
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.dcm").write_bytes(as_file(changed.header))
        assert Header.read(Path(folder) / "a.dcm").as_json() == again
    untouched(header, changed, {step.split(".")[0].split("[")[0] for m in chain for step in (m["tag"], m.get("to", ""))})


def untouched(header: Header, changed: Changed, names: set[str]) -> None:
    """Elements of groups that no path names keep their bytes and their order."""
    before, after = header.root, changed.header.root
    touched = {c.tag for c in changed.changes} | {f"{tag:08X}" for tag in after.index if tag not in before.index}
    groups = {int(tag[:4], 16) for tag in touched} | {0x0008, 0x0029, 0x0031, 0x0040}
    kept = [tag for tag in before.index if tag >> 16 not in groups]
    assert [tag for tag in after.index if tag >> 16 not in groups] == kept
    for tag in kept:
        a, b = before.index[tag], after.index[tag]
        assert before.source.read(a[1], a[4]) == after.source.read(b[1], b[4]), names


CHAINS = st.lists(_morphs(), min_size=1, max_size=4)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data_sets(), CHAINS)
def test_on_generated_data_sets(data: tuple[str, list[E]], chain: list[dict[str, Any]]) -> None:
    _compare(data, chain)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
@given(data_sets(), CHAINS)
def test_on_thousands_of_generated_data_sets(data: tuple[str, list[E]], chain: list[dict[str, Any]]) -> None:
    _compare(data, chain)


def _compare(data: tuple[str, list[E]], chain: list[dict[str, Any]]) -> None:
    syntax, elements = data
    if syntax == IMPLICIT and any('"ACME",30)' in m["tag"] for m in chain):
        return  # we see that the bytes are items (test_kinds has it), pydicom leaves them bytes
    with tempfile.TemporaryDirectory() as folder:
        check(write(Path(folder) / "in.dcm", elements, syntax), chain)


CHAIN = [
    {"kind": "set", "tag": "PatientName", "value": "Roe^Richard"},
    {"kind": "prepend", "tag": "PatientID", "value": "H1-"},
    {"kind": "delete", "tag": "StudyDate"},
    {"kind": "set", "tag": "RequestAttributesSequence[0].ScheduledProcedureStepID", "value": "S9"},
    {"kind": "set", "tag": '(0029,"AXIOM TEST",10)', "value": "new"},
    {"kind": "copy", "tag": "RequestAttributesSequence", "to": "ReferencedImageSequence"},
    {"kind": "move", "tag": "Modality", "to": "StudyID"},
    {"kind": "suffix", "tag": "ReferencedStudySequence[*].ReferencedSOPInstanceUID", "value": ".1"},
]


COMPARABLE = [p for p in received_files() if p.name != "SC_rgb_jpeg.dcm"]
"""Without the file that says explicit VR and is implicit: we keep it so, pydicom writes it anew in explicit VR."""


@pytest.mark.parametrize("path", COMPARABLE, ids=lambda p: p.name)
def test_on_every_received_file(path: Path) -> None:
    for m in CHAIN:
        check(path, [m])
    check(path, CHAIN)


@pytest.mark.parametrize("path", received_files(), ids=lambda p: p.name)
def test_non_ascii_text_on_every_received_file(path: Path) -> None:
    check(path, [{"kind": "set", "tag": "PatientName", "value": "Łukasz^Żółć"}])


@pytest.mark.parametrize("path", received_files(), ids=lambda p: p.name)
def test_pixel_bytes_stay_where_they_are(path: Path) -> None:
    header = Header.read(path)
    changed = run(header, CHAIN[:3])
    if 0x7FE00010 not in header.root.index or header.transfer_syntax_uid.endswith(".99"):
        return
    (old_start, _, _, old_end) = header.root.index[0x7FE00010][1:]
    pieces = changed.header.data_set.pieces
    assert isinstance(pieces[-1], Slice)
    first = min(entry[1] for tag, entry in header.root.index.items() if tag >> 16 == 0x7FE0)
    assert pieces[-1].offset == header.data_offset + first
    assert all(isinstance(p, bytes) for p in pieces[:-1])
    (new_start, _, _, new_end) = changed.header.root.index[0x7FE00010][1:]
    assert changed.header.root.source.read(new_start, new_end) == header.root.source.read(old_start, old_end)
