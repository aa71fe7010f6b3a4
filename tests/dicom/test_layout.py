"""A file that is written as an earlier one was is read as if no other had been read before."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import engine.dicom.header
from engine.dicom.header import Header
from engine.dicom.layout import MOST, MOST_ALIKE, Layouts
from engine.errors import Hold
from tests.dicom.generated import data_sets
from tests.dicom.samples import EXPLICIT, JPEG, E, basics, received_files, sample, text, write


@contextmanager
def remembering(layouts: Layouts) -> Iterator[Layouts]:
    before = engine.dicom.header._LAYOUTS
    engine.dicom.header._LAYOUTS = layouts  # type: ignore[misc]
    try:
        yield layouts
    finally:
        engine.dicom.header._LAYOUTS = before  # type: ignore[misc]


class Counting(Layouts):
    """Tells how many files had a known layout."""

    hits = 0

    def of(self, size: int, start: bytes) -> Any:
        found = super().of(size, start)
        self.hits += found is not None
        return found


def seen(path: Path) -> Any:
    """All that reading tells of a file."""
    try:
        header = Header.read(path)
        source = header.root.source
        where = list(header.root.index.items()), source.elements, source.stepped_over, header.data_offset, header.head
        ids = header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid, header.size
        return where, ids, header.root.form, header.as_json(), header.root.bulk_start(), header.root.repeated()
    except Hold as e:
        return str(e)


def alone(path: Path) -> Any:
    with remembering(Layouts()):
        return seen(path)


def mutate(data: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, mostly of the header; sometimes another length."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        at = min(132 + int(chance.expovariate(1 / 400)), len(out) - 1)
        what = chance.randrange(8)
        if what < 5:
            out[at] = chance.choice([chance.randrange(256), 0x20, 0x31, out[at] ^ 1])
        elif what == 5:
            del out[-chance.randint(1, 40) :]
        elif what == 6:
            out += chance.randbytes(chance.randint(1, 40))
        else:
            out[at : at + 2] = chance.choice([b"SQ", b"UN", b"LO", b"\xff\xff", b"\x02\0"])
    return bytes(out)


def agrees(original: bytes, others: list[bytes]) -> int:
    """Reads all behind one another, and each as if it were the first; returns how many had a known layout."""
    with tempfile.TemporaryDirectory() as folder, remembering(Counting()) as known:
        path = Path(folder) / "a.dcm"
        for data in (original, original, *others):
            path.write_bytes(data)
            together = seen(path)
            assert together == alone(path)
            with remembering(known):
                assert seen(path) == together
        assert isinstance(known, Counting)
        return known.hits


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data_sets(), st.integers(0, 1 << 32))
def test_mutated_files_read_as_if_alone(data: tuple[str, list[E]], seed: int) -> None:
    chance = random.Random(seed)
    syntax, elements = data
    with tempfile.TemporaryDirectory() as folder:
        original = write(Path(folder) / "in.dcm", elements, syntax).read_bytes()
    agrees(original, [mutate(original, chance) for _ in range(12)])


@pytest.mark.parametrize("path", received_files(), ids=lambda p: p.name)
def test_every_received_file_and_its_mutants(path: Path) -> None:
    chance = random.Random(path.name)
    original = path.read_bytes()
    agrees(original, [mutate(original, chance) for _ in range(6)])


def test_the_images_of_a_series_are_known_from_the_third_on(tmp_path: Path) -> None:
    def image(n: int) -> bytes:
        elements = [
            *basics(), text(0x00200013, "IS", f"{n:04d}"), E(0x00081140, "SQ", items=[[text(0x00081155, "UI", f"1.{n:04d}")]],
                                                            undefined=True, undefined_items=True),
            E(0x7FE00010, "OW", n.to_bytes(2, "little") * 50_000),
        ]  # fmt: skip
        return write(tmp_path / "b.dcm", sorted(elements, key=lambda e: e.tag)).read_bytes()

    images = [image(n) for n in range(20)]
    assert agrees(images[0], images[1:]) >= 2 * 19


def test_compressed_images_are_known_however_long_they_are() -> None:
    path = sample("JPEG2000.dcm")
    original = path.read_bytes()
    at = original.rindex(b"\xfe\xff\xdd\xe0")
    grown = [original[:at] + b"\xfe\xff\x00\xe0" + n.to_bytes(4, "little") + bytes(n) + original[at:] for n in range(2, 40, 2)]
    assert agrees(original, grown) >= 2 * len(grown)


def test_a_tag_that_comes_twice_is_not_shared(tmp_path: Path) -> None:
    twice = [*basics(), text(0x00100020, "LO", "1"), text(0x00100020, "LO", "2")]
    data = write(tmp_path / "b.dcm", twice).read_bytes()
    assert agrees(data, [data] * 5) == 0


def test_a_file_meta_element_that_comes_twice_is_not_shared(tmp_path: Path) -> None:
    data = write(tmp_path / "b.dcm", [*basics(), text(0x00100020, "LO", "1")]).read_bytes()
    at = data.index(b"\x02\0\x10\0UI")
    at += 8 + data[at + 6]
    title = b"\x02\0\x16\0AE\x04\0ONE "
    twice = data[:at] + title + title + data[at:]
    other = data[:at] + title.replace(b"\x16", b"\x17") + title + data[at:]  # the same but for the first one's tag
    agrees(twice, [twice, other, twice])


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    with remembering(Layouts()) as known:
        for n in range(3 * MOST):
            for _ in range(2):
                write(path, [*basics(), text(0x00104000, "LT", "x" * 2 * n)], EXPLICIT if n % 2 else JPEG)
                Header.read(path)
        assert sum(map(len, known._by_size.values())) <= MOST
        for n in range(2 * MOST_ALIKE):  # equally long, each with another tag
            for _ in range(2):
                Header.read(write(path, [*basics(), text(0x00080020 + n, "DA", "20260101")]))
        assert max(map(len, known._by_size.values())) == MOST_ALIKE
