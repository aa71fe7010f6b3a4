"""The folder destination: whole files, in place, once, whatever is there already and whatever the disk says."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from engine.destinations import _placing
from engine.destinations.base import Outgoing
from engine.destinations.filesystem import Filesystem
from engine.dicom.content import Content, Slice
from engine.errors import Hold, Retry
from engine.model import Outcome
from tests.destinations.support import deliver, instance, instances


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def folder(out: Path, **fields: Any) -> Filesystem:
    return Filesystem(name="archive", path=str(out), **fields)


def files(out: Path) -> list[str]:
    return sorted(str(p.relative_to(out)) for p in out.rglob("*") if not p.is_dir())


def test_the_files_are_byte_for_byte_what_leaves(out: Path, spool: Path) -> None:
    some = instances(spool, 40)
    receipts = deliver(folder(out), some)
    assert [r.index for r in receipts] == list(range(40))
    assert {r.outcome for r in receipts} == {Outcome.CONFIRMED}
    for one, receipt in zip(some, receipts, strict=True):
        assert Path(receipt.location) == out / "4711" / "1.2.3" / f"{one.sop_instance_uid}.dcm"
        assert Path(receipt.location).read_bytes() == one.file.read()
        assert receipt.size == one.file.length
    assert len(files(out)) == 40


def test_the_files_are_no_links_into_the_spool_and_have_their_permissions(out: Path, spool: Path) -> None:
    old = os.umask(0o077)
    try:
        [receipt] = deliver(folder(out, mode="644"), [instance(spool, 0)])
    finally:
        os.umask(old)
    file = Path(receipt.location)
    assert file.stat().st_nlink == 1
    assert file.stat().st_mode & 0o777 == 0o644
    file.write_bytes(b"edited")
    assert len(next(spool.iterdir()).read_bytes()) > 1000


def test_a_changed_instance_is_its_new_bytes_and_the_ranges_of_the_received_file(out: Path, spool: Path) -> None:
    one = instance(spool, 0, pixels=bytes(range(256)) * 9000)
    [whole] = one.data_set.pieces
    assert isinstance(whole, Slice)
    pieces = (
        b"new header",
        Slice(whole.path, whole.offset + 100, 1_500_001),
        b"",
        b"middle",
        Slice(whole.path, whole.offset + 1_600_000, whole.length - 1_600_000),
    )
    changed = Outgoing(
        0, one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.head, Content(pieces), one.tags
    )
    [receipt] = deliver(folder(out), [changed])
    assert Path(receipt.location).read_bytes() == changed.file.read()


@pytest.mark.parametrize("error", [errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS])
def test_where_the_kernel_cannot_copy_the_bytes_go_through_memory(
    out: Path, spool: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def cannot(*args: object) -> int:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "copy_file_range", cannot)
    one = instance(spool, 0)
    [receipt] = deliver(folder(out), [one])
    assert Path(receipt.location).read_bytes() == one.file.read()


def test_only_an_unchanged_file_is_cloned(out: Path, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clones = []

    def clone(target: int, request: int, source: int) -> int:
        assert request == 0x40049409  # FICLONE: what a file system with reflinks does with it
        clones.append(target)
        os.pwrite(target, os.pread(source, os.fstat(source).st_size, 0), 0)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", clone)
    same = instance(spool, 0)
    [receipt] = deliver(folder(out), [same])
    assert len(clones) == 1
    assert Path(receipt.location).read_bytes() == same.file.read()
    other = instance(spool, 1)
    head = other.head.replace(b"AXIOM_FLOW", b"ANOTHER_ON")
    for changed in (
        Outgoing(1, "", "", "", head, other.data_set, other.tags),
        Outgoing(1, "", "", "", other.head, Content((b"", *other.data_set.pieces)), other.tags),
    ):
        [receipt] = deliver(folder(out, collision="replace"), [changed])
        assert Path(receipt.location).read_bytes() == changed.file.read()
    assert len(clones) == 1


def test_the_same_instance_again_is_a_success_and_not_written_twice(out: Path, spool: Path) -> None:
    one = instance(spool, 0)
    for policy in ("keep_both", "replace", "refuse"):
        [receipt] = deliver(folder(out, collision=policy), [one])
        first = Path(receipt.location).stat()
        [again] = deliver(folder(out, collision=policy), [one])
        assert (again.outcome, again.location) == (Outcome.CONFIRMED, receipt.location)
        assert "same bytes" in again.words
        assert Path(receipt.location).stat().st_ino == first.st_ino
    assert len(files(out)) == 1


def test_other_bytes_under_the_same_name_are_kept_beside_it(out: Path, spool: Path) -> None:
    versions = [instance(spool, 0, pixels=bytes([n]) * 1000) for n in range(3)]
    places = [deliver(folder(out), [v])[0].location for v in versions]
    assert [Path(p).name for p in places] == ["1.2.3.0.dcm", "1.2.3.0.1.dcm", "1.2.3.0.2.dcm"]
    for version, place in zip(versions, places, strict=True):
        assert Path(place).read_bytes() == version.file.read()
        assert deliver(folder(out), [version])[0].location == place
    assert len(files(out)) == 3


def test_other_bytes_are_replaced_or_refused_where_the_policy_says_so(out: Path, spool: Path) -> None:
    old, new = instance(spool, 0, pixels=b"11"), instance(spool, 0, pixels=b"22")
    [first] = deliver(folder(out), [old])
    [refused] = deliver(folder(out, collision="refuse"), [new])
    assert (refused.outcome, refused.code) == (Outcome.REFUSED, "EEXIST")
    assert Path(first.location).read_bytes() == old.file.read()
    [replaced] = deliver(folder(out, collision="replace"), [new])
    assert (replaced.outcome, replaced.location) == (Outcome.CONFIRMED, first.location)
    assert Path(first.location).read_bytes() == new.file.read()
    assert len(files(out)) == 1


@pytest.mark.parametrize("value", ["../../evil", "/etc/evil", "..", "a/../../../evil", "evil\0"])
def test_no_value_leads_out_of_the_folder(out: Path, spool: Path, value: str) -> None:
    [receipt] = deliver(folder(out, template="{PatientID}/{PatientID}.dcm"), [instance(spool, 0, patient=value)])
    assert receipt.outcome is Outcome.CONFIRMED
    assert Path(receipt.location).resolve().is_relative_to(out)
    assert sorted(p.name for p in out.parent.iterdir()) == ["out", "spool"]


def test_links_in_the_folder_are_not_followed(out: Path, spool: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (out / "4711").symlink_to(elsewhere)
    [receipt] = deliver(folder(out), [instance(spool, 0)])
    assert receipt.outcome is Outcome.RETRY
    assert "links are not followed" in receipt.words
    (out / "4711").unlink()
    (out / "4711" / "1.2.3").mkdir(parents=True)
    (out / "4711" / "1.2.3" / "1.2.3.0.dcm").symlink_to(elsewhere / "x")
    (out / "4711" / "1.2.3" / ".1.2.3.1.dcm.part").symlink_to(elsewhere / "y")
    linked, leftover = deliver(folder(out, collision="replace"), instances(spool, 2))
    assert (linked.outcome, linked.code) == (Outcome.RETRY, "ELOOP")
    assert (leftover.outcome, leftover.code) == (Outcome.RETRY, "ELOOP")
    assert not list(elsewhere.iterdir())


def test_what_a_crashed_run_left_is_replaced_also_when_it_was_already_named(out: Path, spool: Path) -> None:
    one, other = instance(spool, 0), instance(spool, 0, pixels=b"other")
    [first] = deliver(folder(out), [one])
    place = Path(first.location)
    part = place.with_name(f".{place.name}.part")
    part.hardlink_to(place)  # killed between link and unlink
    [again] = deliver(folder(out, collision="replace"), [other])
    assert place.read_bytes() == other.file.read()
    part.write_bytes(b"half")
    place.unlink()
    [again] = deliver(folder(out), [one])
    assert (again.outcome, place.read_bytes()) == (Outcome.CONFIRMED, one.file.read())
    assert files(out) == [str(place.relative_to(out))]


def test_a_file_that_another_delivery_is_writing_is_tried_again(out: Path, spool: Path) -> None:
    (out / "4711" / "1.2.3").mkdir(parents=True)
    with (out / "4711" / "1.2.3" / ".1.2.3.0.dcm.part").open("w") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        busy, free = deliver(folder(out), instances(spool, 2))
    assert (busy.outcome, busy.code) == (Outcome.RETRY, "EAGAIN")
    assert free.outcome is Outcome.CONFIRMED
    assert deliver(folder(out), [instance(spool, 0)])[0].outcome is Outcome.CONFIRMED


def test_many_deliveries_of_the_same_at_once_make_one_file_each(out: Path, spool: Path) -> None:
    some = instances(spool, 20)
    outcomes: list[Outcome] = []

    def run() -> None:
        outcomes.extend(r.outcome for r in deliver(folder(out), some))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(outcomes) <= {Outcome.CONFIRMED, Outcome.RETRY}
    assert {r.outcome for r in deliver(folder(out), some)} == {Outcome.CONFIRMED}
    assert len(files(out)) == 20
    for one in some:
        assert (out / "4711" / "1.2.3" / f"{one.sop_instance_uid}.dcm").read_bytes() == one.file.read()


def full_disk(monkeypatch: pytest.MonkeyPatch, after: int, error: int) -> None:
    real = _placing._write
    seen = [0]

    def write(fd: int, content: Content) -> None:
        seen[0] += 1
        if seen[0] > after:
            os.write(fd, b"a part")
            raise OSError(error, os.strerror(error))
        real(fd, content)

    monkeypatch.setattr(_placing, "_write", write)


@pytest.mark.parametrize(
    ("error", "words"),
    [(errno.ENOSPC, "no space left"), (errno.EROFS, "read-only"), (errno.EDQUOT, "quota"), (errno.EIO, "disk reports")],
)
def test_what_ends_everything_ends_the_delivery_but_what_is_in_place_is_reported(
    out: Path, spool: Path, monkeypatch: pytest.MonkeyPatch, error: int, words: str
) -> None:
    full_disk(monkeypatch, 3, error)
    receipts: list[Any] = []
    with pytest.raises(Retry, match=words) as raised:
        folder(out).deliver(instances(spool, 20), receipts.append, threading.Event())
    assert raised.value.code == errno.errorcode[error]
    assert [r.index for r in receipts] == [0, 1, 2]
    assert len(files(out)) == 3  # and no .part


def test_a_real_full_disk_is_tried_again(spool: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small], check=False).returncode
    ):
        pytest.skip("mounting a small file system needs root")
    try:
        receipts: list[Any] = []
        with pytest.raises(Retry, match="no space left"):
            folder(small / "out").deliver(instances(spool, 20), receipts.append, threading.Event())
        assert 0 < len(receipts) < 20
        assert len(files(small)) == len(receipts)
        for receipt in receipts:
            assert Path(receipt.location).stat().st_size == receipt.size
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_name_that_the_file_system_does_not_take_is_refused_alone(
    out: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk(monkeypatch, 0, errno.ENAMETOOLONG)
    receipts = deliver(folder(out), instances(spool, 2))
    assert [(r.outcome, r.code) for r in receipts] == [(Outcome.REFUSED, "ENAMETOOLONG")] * 2
    assert "shorten the template" in receipts[0].words


def test_a_place_that_cannot_be_written_is_tried_again_and_the_others_go(out: Path, spool: Path) -> None:
    out.mkdir()
    (out / "4711").write_text("a file where a folder should be")
    blocked, free = deliver(folder(out), [instance(spool, 0), instance(spool, 1, patient="4712")])
    assert (blocked.outcome, blocked.code) == (Outcome.RETRY, "ENOTDIR")
    assert "4711" not in blocked.words
    assert free.outcome is Outcome.CONFIRMED


def test_a_root_that_is_a_file_is_tried_again(out: Path, spool: Path) -> None:
    out.write_text("a file")
    with pytest.raises(Retry, match="cannot be used"):
        deliver(folder(out / "below"), [instance(spool, 0)])
    assert [t.ok for t in folder(out / "below").check()] == [False]


def test_a_damaged_received_file_is_refused_and_nothing_of_it_appears(out: Path, spool: Path) -> None:
    one = instance(spool, 0)
    [piece] = one.data_set.pieces
    assert isinstance(piece, Slice)
    os.truncate(piece.path, piece.offset + 100)
    [receipt] = deliver(folder(out), [one])
    assert receipt.outcome is Outcome.REFUSED
    assert "damaged" in receipt.words
    assert files(out) == []


def test_tags_that_cannot_be_read_refuse_the_instance(out: Path, spool: Path) -> None:
    class Broken:
        def text(self, path: str) -> str:
            raise Hold(f"{path} is broken")

    one = instance(spool, 0)
    broken = Outgoing(
        0, one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, one.head, one.data_set, Broken()
    )
    [receipt] = deliver(folder(out), [broken])
    assert (receipt.outcome, "PatientID is broken" in receipt.words) == (Outcome.REFUSED, True)


def test_it_ends_between_instances_when_it_is_told_to(out: Path, spool: Path) -> None:
    stop = threading.Event()
    some = instances(spool, 40)

    class Stopping:
        def text(self, path: str) -> str:
            stop.set()
            return "x"

    third = some[2]
    some[2] = Outgoing(2, third.sop_class_uid, third.sop_instance_uid, "", third.head, third.data_set, Stopping())
    receipts = deliver(folder(out), some, stop)
    assert [r.index for r in receipts] == [0, 1, 2]
    assert len(files(out)) == 3


def test_a_relative_folder_is_taken_from_the_working_directory(
    tmp_path: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [receipt] = deliver(Filesystem(name="a", path="./archive"), [instance(spool, 0)])
    assert Path(receipt.location).is_relative_to(tmp_path / "archive")


def test_check_tries_a_real_write_and_leaves_nothing(out: Path) -> None:
    ticks = folder(out / "not" / "yet").check()
    assert [(t.name, t.ok) for t in ticks[:2]] == [("folder", True), ("writable", True)]
    assert "will be made below" in ticks[0].words
    assert "GB" in ticks[2].words
    out.mkdir()
    assert folder(out).check()[0].words == str(out)
    assert list(out.iterdir()) == []


def test_check_says_when_a_folder_cannot_be_made() -> None:
    folder_tick, writable, *_ = folder(Path("/proc/axiom")).check()
    assert folder_tick.ok
    assert (writable.name, writable.ok) == ("writable", False)
    assert "/proc" in writable.words


def test_a_name_taken_in_the_same_moment_by_the_same_image_is_that_image(
    out: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = instances(spool, 1)
    real = _placing._existing
    looks = []

    def existing(fd: int, name: str) -> int | None:
        looks.append(name)
        if len(looks) == 1:  # another worker names its file between our look and our naming
            deliver(folder(out), [one])
            return None
        return real(fd, name)

    monkeypatch.setattr(_placing, "_existing", existing)
    (receipt,) = deliver(folder(out), [one])
    assert (receipt.outcome, receipt.words) == (Outcome.CONFIRMED, "was there already, with the same bytes")
    assert len(files(out)) == 1
