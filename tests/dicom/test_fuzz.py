"""Mutated bytes: a header is read or held. No other error, no hang, no absurd memory."""

from __future__ import annotations

import random
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.dicom.header import Header
from engine.dicom.paths import TagPath
from engine.errors import Hold
from tests.dicom.samples import received_files, sample
from tests.morphs.samples import AT, morph

PATHS = [
    TagPath.parse(p)
    for p in (
        "PatientName", "RequestAttributesSequence[*].ScheduledProcedureStepID", '(0009,"GEMS_IDEN_01",04)',
        "ReferencedStudySequence[0].ReferencedSOPInstanceUID", "SmallestImagePixelValue", "(0002,0016)",
    )
]
NAMES = [
    "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "test-SR.dcm", "UN_sequence.dcm",
    "priv_SQ.dcm", "rtplan.dcm", "JPEG2000.dcm", "reportsi.dcm", "waveform_ecg.dcm", "CT_small.dcm",
]


def use(path: Path) -> str:
    """All that is done with a header, on whatever bytes."""
    from engine.morphs.apply import Event, change

    try:
        header = Header.read(path)
    except Hold:
        return "refused"
    try:
        for tag in PATHS:
            header.find(tag)
            header.text(tag)
        header.as_json()
        morphs = [morph({"kind": "set", "tag": "PatientName", "value": "Ü"}), morph({"kind": "delete", "tag": "StudyDate"})]
        changed = change(header, morphs, Event(True, "AXIOM", AT))
        changed.header.as_json()
    except Hold as e:
        assert "failed: " not in str(e)  # so it would speak of an error nobody foresaw
        return "held"
    return "read"


def mutate(data: bytearray, chance: random.Random) -> bytes:
    """A few bytes changed, with a liking for the header's beginning and for lengths that lie."""
    for _ in range(chance.randint(1, 12)):
        at = min(int(chance.expovariate(1 / 900)), len(data) - 1)
        what = chance.randrange(6)
        if what == 0:
            data[at] = chance.randrange(256)
        elif what == 1:
            data[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"])
        elif what == 2:
            del data[at : at + chance.randint(1, 9)]
        elif what == 3:
            data[at:at] = chance.randbytes(chance.randint(1, 9))
        elif what == 4:
            data[at : at + 2] = chance.choice([b"SQ", b"UN", b"UT", b"zz", b"OB", b"\0\0"])
        else:
            del data[max(at, 140) :]
    return bytes(data)


def run(path: Path, count: int, seed: int) -> dict[str, int]:
    chance = random.Random(seed)
    originals = [sample(name).read_bytes()[: 1 << 16] for name in NAMES]
    fates = {"read": 0, "held": 0, "refused": 0}
    for _ in range(count):
        path.write_bytes(mutate(bytearray(chance.choice(originals)), chance))
        began = time.perf_counter()
        fates[use(path)] += 1
        assert time.perf_counter() - began < 5
    return fates


def test_mutated_headers_are_read_or_held(tmp_path: Path) -> None:
    tracemalloc.start()
    fates = run(tmp_path / "a.dcm", 600, seed=4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert min(fates.values()) > 0, fates  # the mutations reach every fate
    assert peak < 64 << 20


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_mutated_headers_are_read_or_held(tmp_path: Path) -> None:
    assert sum(run(tmp_path / "a.dcm", 10_000, seed=40).values()) == 10_000


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_behind_a_good_file_meta(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.dcm"
    for name in ("MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"):
        whole = sample(name)
        path.write_bytes(whole.read_bytes()[: Header.read(whole).data_offset] + data)
        assert use(path) in ("read", "held", "refused")


@pytest.mark.parametrize("path", received_files()[:40:4], ids=lambda p: p.name)
def test_every_cut_of_the_header_is_read_or_held(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    cut = tmp_path / "a.dcm"
    for length in range(0, min(len(whole), 3000), 7):
        cut.write_bytes(whole[:length])
        assert use(cut) in ("read", "held", "refused")
