"""ZIP archives of a delivery: written as one file, read by others, the same again for the same images."""

from __future__ import annotations

import io
import subprocess
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.destinations._zip import Entry, crc32_of, zip_of
from engine.destinations.filesystem import Filesystem
from engine.dicom.content import Content
from engine.model import Outcome
from tests.destinations.support import deliver, instance


def to(folder: Path, **more: Any) -> Filesystem:
    fields = {"template": "{PatientID}/{StudyInstanceUID}/{SOPInstanceUID}.dcm", **more}
    return Filesystem.model_validate({"name": "archive", "path": str(folder / "out"), "zip": True, **fields})


NAME = st.text(min_size=1, max_size=20).filter(lambda t: t.isprintable() and "/" not in t)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAME, st.binary(max_size=300)))
def test_what_is_made_is_a_zip(files: dict[str, bytes]) -> None:
    entries = [Entry(n, Content((d[:7], d[7:])), crc32_of(Content((d,)))) for n, d in files.items()]
    with zipfile.ZipFile(io.BytesIO(zip_of(entries).read())) as archive:
        assert archive.testzip() is None
        assert {n: archive.read(n) for n in archive.namelist()} == files


def test_an_archive_a_folder_with_what_was_sent(tmp_path: Path) -> None:
    some = [instance(tmp_path / "s", i, patient=f"P{i % 2}") for i in range(6)]
    destination = to(tmp_path, index="json_lines")
    for _ in range(2):
        receipts = deliver(destination, some)
        assert {(r.index, r.outcome) for r in receipts} == {(i, Outcome.CONFIRMED) for i in range(6)}
    files = [p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.zip")]
    assert sorted(files) == ["P0/1.2.3.zip", "P1/1.2.3.zip"]
    for n in (0, 1):
        file = tmp_path / "out" / f"P{n}" / "1.2.3.zip"
        with zipfile.ZipFile(file) as archive:
            assert {i: archive.read(i) for i in archive.namelist()} == {
                f"{one.sop_instance_uid}.dcm": one.file.read() for one in some[n::2]
            }
        assert subprocess.run(["unzip", "-tq", file], check=False).returncode == 0
        assert (tmp_path / "out" / f"P{n}" / "_index.jsonl").read_text().count("1.2.3.zip/1.2.3.") == 3
    assert receipts[0].location.endswith("/P0/1.2.3.zip/1.2.3.0.dcm")


def test_a_later_delivery_makes_another_archive(tmp_path: Path) -> None:
    destination = to(tmp_path)
    deliver(destination, [instance(tmp_path / "s", 0)])
    [receipt] = deliver(destination, [instance(tmp_path / "s", 1)])
    assert receipt.location.endswith("/1.2.3.1.zip/1.2.3.1.dcm")
    assert len(list((tmp_path / "out").rglob("*.zip"))) == 2


def test_the_same_name_twice_and_a_damaged_image(tmp_path: Path) -> None:
    some = [instance(tmp_path / "s", i, uid="1.2.3.9") for i in range(2)] + [instance(tmp_path / "s", 2)]
    piece = some[2].data_set.pieces[0]
    assert not isinstance(piece, bytes)
    piece.path.write_bytes(b"short")
    receipts = {r.index: r for r in deliver(to(tmp_path), some)}
    assert [receipts[i].outcome for i in range(3)] == [Outcome.CONFIRMED, Outcome.CONFIRMED, Outcome.REFUSED]
    [file] = (tmp_path / "out").rglob("*.zip")
    assert zipfile.ZipFile(file).namelist() == ["1.2.3.9.dcm", "1.2.3.9.1.dcm"]


def test_stopped_before_its_end_it_leaves_no_archive(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert deliver(to(tmp_path), [instance(tmp_path / "s", 0)], stop) == []
    assert not list((tmp_path / "out").rglob("*.zip"))


def test_archives_that_would_lose_images_are_refused_at_save() -> None:
    with pytest.raises(ValidationError, match="would lose the images"):
        Filesystem(name="a", path="/a", zip=True, collision="replace")
    with pytest.raises(ValidationError, match="give the template a folder"):
        Filesystem(name="a", path="/a", zip=True, template="{SOPInstanceUID}.dcm")


class Huge:
    """The length of a content that is not read: for the fields that only very large archives have."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.pieces = ()


def test_sizes_and_offsets_beyond_4_gb_are_zip64() -> None:
    """The central directory of an archive whose files are too large to be made here, read back by its own rules."""
    sizes = [5 << 30, 10, 1 << 20]
    entries = [Entry(f"{i}.dcm", Huge(size), 0) for i, size in enumerate(sizes)]  # type: ignore[arg-type]
    data = zip_of(entries).read()  # without the files' bytes between
    heads = [30 + 5 + (20 if size > 4 << 30 else 0) for size in sizes]

    class Sparse(io.BytesIO):
        """Where the directory says it is, it is: the files' bytes in front of it are not kept."""

        gap = sum(sizes)

        def seek(self, at: int, whence: int = 0) -> int:
            super().seek(max(at - self.gap, 0) if whence == 0 else at, whence)
            return self.tell()

        def tell(self) -> int:
            return super().tell() + self.gap

    with zipfile.ZipFile(Sparse(data)) as archive:
        found = archive.infolist()
    assert [i.file_size for i in found] == sizes
    assert [i.header_offset for i in found] == [0, heads[0] + sizes[0], heads[0] + sizes[0] + heads[1] + sizes[1]]
