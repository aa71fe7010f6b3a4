"""File-sets with a DICOMDIR: read by DCMTK and pydicom, whole after every crash, the same again for the same images."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.fileset import FileSet

from engine.destinations import _dicomdir
from engine.destinations.base import Outgoing
from engine.destinations.filesystem import Filesystem
from engine.dicom.content import Content, Slice
from engine.dicom.header import Header
from engine.errors import Retry
from engine.model import Outcome, Receipt
from tests.destinations.support import CT, EXPLICIT, deliver, instance
from tests.dimse.support import part10
from tests.polling.support import instance as image

CONFIRMED, REFUSED = Outcome.CONFIRMED, Outcome.REFUSED


def to(folder: Path, **more: Any) -> Filesystem:
    return Filesystem.model_validate({"name": "media", "path": str(folder / "out"), "dicomdir": True, **more})


def study(folder: Path, number: int, count: int, series: int = 1, **more: Any) -> list[Outgoing]:
    out = []
    for n in range(1, count + 1):
        file = folder / f"{number}-{series}-{n}-{len(more)}.dcm"
        file.write_bytes(image(number, n, series=series, **more))
        one = part10(file, n)
        out.append(Outgoing(series * 1000 + n, *_pieces(one), Header.read(file)))
    return out


def _pieces(one: Outgoing) -> tuple[str, str, str, bytes, Content]:
    return one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.head, one.data_set


def sets(folder: Path) -> list[Path]:
    return sorted(p.parent for p in (folder / "out").rglob("DICOMDIR"))


def check(root: Path, sent: list[Outgoing]) -> FileSet:
    """Every image of the set, byte for byte, under a legal name; every record right for two readers that are not ours."""
    there = FileSet(root / "DICOMDIR")
    found = {Path(one.path): str(one.SOPInstanceUID) for one in there}
    files = {p for p in root.rglob("*") if p.is_file() and p.name != "DICOMDIR" and not p.name.startswith("_")}
    assert set(found) == files, "each file has a record, each record a file"
    for file, uid in found.items():
        assert re.fullmatch(r"DICOM/[A-Z0-9_]{1,8}/[A-Z0-9_]{1,8}", file.relative_to(root).as_posix())
        assert file.read_bytes() in [one.file.read() for one in sent if one.sop_instance_uid == uid]
    assert sorted(found.values()) == sorted(one.sop_instance_uid for one in sent)
    dump = subprocess.run(["dcmdump", "-q", root / "DICOMDIR"], capture_output=True, text=True, check=False)
    assert dump.returncode == 0, dump.stderr
    return there


def test_a_set_a_study_as_others_read_it(tmp_path: Path) -> None:
    sent = [*study(tmp_path, 1, 5), *study(tmp_path, 1, 3, series=2), *study(tmp_path, 2, 2, name="Jürgens^Åsa")]
    receipts = deliver(to(tmp_path, index="json_lines"), sent)
    assert {(r.index, r.outcome, r.words) for r in receipts} == {(one.index, CONFIRMED, "") for one in sent}
    one, two = sets(tmp_path)
    there = check(one, sent[:8])
    assert len(there.find_values("SeriesInstanceUID")) == 2
    check(two, sent[8:])
    [patient] = [r for r in dcmread(two / "DICOMDIR").DirectoryRecordSequence if r.DirectoryRecordType == "PATIENT"]
    assert str(patient.PatientName) == "Jürgens^Åsa"
    numbers = [r.InstanceNumber for r in dcmread(one / "DICOMDIR").DirectoryRecordSequence if "InstanceNumber" in r]
    assert numbers == [1, 2, 3, 4, 5, 1, 2, 3]
    assert (one / "_index.jsonl").read_text().count('"file": "DICOM/') == 8
    assert all(Path(r.location).is_file() for r in receipts)


def test_again_it_is_the_same_and_later_images_are_taken_in(tmp_path: Path) -> None:
    destination, sent = to(tmp_path), study(tmp_path, 1, 6)
    deliver(destination, sent[:4])
    [root] = sets(tmp_path)
    before = (root / "DICOMDIR").read_bytes(), (root / "DICOMDIR").stat().st_ino
    receipts = deliver(destination, sent[:4])
    assert all("was there already" in r.words for r in receipts)
    assert ((root / "DICOMDIR").read_bytes(), (root / "DICOMDIR").stat().st_ino) == before
    deliver(destination, sent[4:])
    check(root, sent)


def test_every_crash_leaves_a_set_that_the_next_attempt_makes_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut before each thing that is done to the disk: nothing is confirmed before the DICOMDIR says so, nothing stands twice."""
    real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in ("link", "rename", "fsync", "mkdir", "unlink")}
    for cut in range(1, 60):
        folder = tmp_path / str(cut)
        folder.mkdir()
        sent, confirmed, done = study(folder, 1, 3), [], []

        def at(name: str, *args: Any, done: list[str] = done, cut: int = cut, **more: Any) -> Any:
            done.append(name)
            if len(done) >= cut:
                raise Crash
            return real[name](*args, **more)

        with monkeypatch.context() as patched:
            for name in real:
                patched.setattr(os, name, lambda *a, name=name, at=at, **k: at(name, *a, **k))
            try:
                to(folder).deliver(sent, confirmed.append, threading.Event())
            except Crash:
                pass
            else:
                break
        if confirmed:
            check(sets(folder)[0], sent)
        receipts: list[Receipt] = []
        to(folder).deliver(sent, receipts.append, threading.Event())
        assert [r.outcome for r in receipts] == [CONFIRMED] * 3
        check(sets(folder)[0], sent)
        assert not list((folder / "out").rglob(".*")), "nothing half is left"
    else:
        pytest.fail("the cuts never came to the end")
    assert cut > 8


class Crash(BaseException):
    pass


def test_two_deliveries_of_a_study_at_once_are_both_listed(tmp_path: Path) -> None:
    sent = [study(tmp_path, 1, 12, series=s) for s in (1, 2, 3)]
    failures: list[BaseException] = []

    def run(some: list[Outgoing]) -> None:
        try:
            for i in range(0, len(some), 3):
                deliver(to(tmp_path), some[i : i + 3])
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=run, args=(some,)) for some in sent]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures
    check(sets(tmp_path)[0], [one for some in sent for one in some])


def test_what_cannot_be_written_confirms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.destinations.filesystem.renew", busy)
    receipts: list[Receipt] = []
    with pytest.raises(Retry, match="no space left"):
        to(tmp_path).deliver(study(tmp_path, 1, 2), receipts.append, threading.Event())
    assert receipts == []


def test_other_bytes_of_the_same_uids_get_a_legal_name_of_their_own(tmp_path: Path) -> None:
    first, second = study(tmp_path, 1, 2), study(tmp_path, 1, 2, size=16)
    deliver(to(tmp_path), first)
    for _ in range(2):
        deliver(to(tmp_path), second)
    check(sets(tmp_path)[0], [*first, *second])
    refused = deliver(to(tmp_path, collision="refuse"), study(tmp_path, 1, 2, size=32))
    assert [r.outcome for r in refused] == [REFUSED] * 2


def test_images_that_lack_what_records_hold_are_told_of(tmp_path: Path) -> None:
    """No dates, no numbers; and one that has another's damage: it stands there, and its receipt says that it is not listed."""
    bare = [instance(tmp_path / "s", i) for i in range(2)]
    file = tmp_path / "s" / "odd.dcm"
    file.write_bytes(bare[0].head + b"\x08\0\x16\0UI" + (len(CT) + 1).to_bytes(2, "little") + CT.encode() + b"\0" + b"\x10\0")
    data = Content((Slice(file, len(bare[0].head), file.stat().st_size - len(bare[0].head)),))
    odd = Outgoing(9, CT, "1.2.3.9", EXPLICIT, bare[0].head, data, bare[0].tags)
    receipts = {r.index: r for r in deliver(to(tmp_path), [*bare, odd])}
    assert {r.outcome for r in receipts.values()} == {CONFIRMED}
    assert receipts[9].words == "it is not in the DICOMDIR: its header cannot be read"
    [root] = sets(tmp_path)
    assert {str(one.SOPInstanceUID) for one in FileSet(root / "DICOMDIR")} == {"1.2.3.0", "1.2.3.1"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("CT_small.dcm", "IMAGE"), ("rtplan.dcm", "RT PLAN"), ("rtdose.dcm", "RT DOSE"), ("reportsi.dcm", "SR DOCUMENT"),
     ("waveform_ecg.dcm", "WAVEFORM")],
)  # fmt: skip
def test_each_kind_of_object_has_its_record(name: str, kind: str) -> None:
    data_set = dcmread(str(get_testdata_file(name)), stop_before_pixels=True)
    entry = _dicomdir.entry_of(("DICOM", "A", "B"), data_set)
    assert entry.kind == kind
    assert entry.values["ReferencedSOPClassUIDInFile"] == data_set.SOPClassUID


def test_a_set_is_refused_at_save_where_it_would_lose_images() -> None:
    for more, words in (({"zip": True}, "no `zip`"), ({"collision": "replace"}, "no replacing"), ({}, "")):
        if words:
            with pytest.raises(ValidationError, match=words):
                Filesystem.model_validate({"name": "a", "path": "/a", "dicomdir": True, **more})
    with pytest.raises(ValidationError, match="a folder of its own"):
        Filesystem(name="a", path="/a", dicomdir=True, template="{SOPInstanceUID}.dcm")
