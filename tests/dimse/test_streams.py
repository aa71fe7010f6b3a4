"""Whatever way a stream is cut, and however long it is, what arrives is what was sent; and nobody waits for Nagle."""

from __future__ import annotations

import os
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from engine.destinations.dimse import Dimse
from engine.dicom.content import Content, Slice
from engine.dicom.file_meta import encode_head
from engine.dicom.network.command import C_STORE_RQ, Command, encode_command
from engine.dicom.network.messages import COMMAND, DATA_SET, LAST
from engine.dicom.network.wire import ConnectionLost
from engine.model import Outcome
from engine.spool.intake import SpoolIntake
from tests.dimse.support import (
    CT,
    EXPLICIT,
    Caller,
    Running,
    collect,
    made,
    part10,
    pydicom_files,
    running,
)
from tests.peers import need, wait_until


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("streams") / "in", network_timeout=0.5) as listener:
        yield listener


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("patient") / "in") as listener:
        yield listener


def stream(cut: st.DataObject, data: bytes) -> bytes:
    """A C-STORE-RQ and its data set in fragments and PDUs drawn by chance."""
    command = encode_command(Command(C_STORE_RQ, 1, has_data_set=True, sop_class_uid=CT, sop_instance_uid="1.2.3"))
    pdvs = []
    for content, kind in ((command, COMMAND), (data, DATA_SET)):
        cuts = sorted(cut.draw(st.lists(st.integers(0, len(content)), max_size=6)))
        parts = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
        for i, part in enumerate(parts):
            control = kind | (LAST if i == len(parts) - 1 else 0)
            pdvs.append((len(part) + 2).to_bytes(4, "big") + bytes((1, control)) + part)
    out, pdu = b"", b""
    for i, pdv in enumerate(pdvs):
        pdu += pdv
        if i == len(pdvs) - 1 or cut.draw(st.booleans()):
            out, pdu = out + b"\4\0" + len(pdu).to_bytes(4, "big") + pdu, b""
    return out


@settings(max_examples=60, deadline=None)
@given(cut=st.data(), data=st.binary(min_size=1, max_size=3000))
def test_any_cut_of_a_stream_gives_the_same_bytes(patient: Running, cut: st.DataObject, data: bytes) -> None:
    sent = stream(cut, data)
    with Caller(patient.port) as caller:
        at = cut.draw(st.integers(0, len(sent)))
        caller.wire.send(sent[:at])
        caller.wire.send(sent[at:])
        assert caller.response().status == 0
    assert patient.intake.files[-1].read_bytes().endswith(data)


@settings(max_examples=80, deadline=None)
@given(cut=st.data(), damage=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_damaged_stream_ends_in_an_answer_or_an_end(
    lasting: Running, cut: st.DataObject, damage: list[tuple[int, int]]
) -> None:
    sent = bytearray(stream(cut, bytes(200)))
    for at, value in damage:
        sent[at % len(sent)] = value
    with Caller(lasting.port) as caller:
        caller.wire.send(bytes(sent))
        try:
            assert caller.response().status is not None
        except ConnectionLost as e:  # an abort, or a closed connection
            assert "sent nothing" not in str(e), "never silence"
    with Caller(lasting.port) as caller:
        assert caller.store(uid="1.9").status == 0


def test_a_huge_data_set_streams_in_constant_memory_and_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge, size = tmp_path / "huge", 200 << 20
    with huge.open("wb") as file:
        file.truncate(size)
    flushed, fdatasync = [], os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (flushed.append(os.fstat(fd).st_size), fdatasync(fd)))
    receipts, report = collect()
    with running(tmp_path / "in") as listener:
        pacs = Dimse(name="out", host="127.0.0.1", port=listener.port, ae_title="AXIOM")
        tracemalloc.start()
        try:
            pacs.deliver([made(0, data=Content((b"head", Slice(huge, 0, size))))], report, threading.Event())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        [file] = listener.intake.files
        assert [(r.outcome, r.size) for r in receipts] == [(Outcome.CONFIRMED, size + 4)]
        assert file.stat().st_size == size + 4 + len(encode_head(CT, "1.2.3.0", EXPLICIT, "AXIOM"))
        file.unlink()
    assert peak < 4 << 20
    assert [at >> 20 for at in flushed] == [64, 128, 192], "on disk as it comes, so that its end is not long in coming"


def test_a_sender_with_nagle_does_not_wait_for_delayed_acknowledgements(tmp_path: Path) -> None:
    """100 images of a sender that leaves Nagle's algorithm on: 4 s and more of waiting without TCP_QUICKACK."""
    files = []
    for i in range(100):
        files.append(tmp_path / f"{i}.dcm")
        uid = f"1.2.3.{i}".encode()
        uid += b"\0" * (len(uid) % 2)
        data = b"\x08\0\x16\0UI\x1a\0" + CT.encode() + b"\0" + b"\x08\0\x18\0UI" + len(uid).to_bytes(2, "little") + uid
        files[-1].write_bytes(made(i, data=data + b"\x10\0\x10\0LT\x00\x20" + b"x" * 0x2000).file.read())
    with running(tmp_path / "in") as listener:
        environment = {k: v for k, v in os.environ.items() if k != "TCP_NODELAY"}
        command = [need("storescu"), "-aec", "AXIOM", "127.0.0.1", str(listener.port), *map(str, files)]

        def seconds() -> float:
            began = time.monotonic()
            subprocess.run(command, env=environment, check=True, capture_output=True)
            return time.monotonic() - began

        # the acknowledgements would be waited for each time; other work on the machine is not
        assert any(seconds() < 3 for _ in range(5))
        wait_until(lambda: listener.status["instances"] >= 100)


def spool(tmp_path: Path, woken: threading.Event, min_free_bytes: int = 0) -> SpoolIntake:
    return SpoolIntake(
        tmp_path / "spool", node="n", max_instances=3, min_free_bytes=min_free_bytes, on_ready=woken.set
    )


def test_the_real_spool_gets_whole_batches(tmp_path: Path) -> None:
    woken, outgoing = threading.Event(), [made(i, data=bytes([i]) * 1000) for i in range(5)]
    receipts, report = collect()
    with running(tmp_path / "in", spool(tmp_path, woken)) as listener:
        pacs = Dimse(name="out", host="127.0.0.1", port=listener.port, ae_title="AXIOM")
        pacs.deliver(outgoing, report, threading.Event())
        assert {r.outcome for r in receipts} == {Outcome.CONFIRMED}
        assert woken.wait(10)
        batches = wait_until(lambda: len(b := list((tmp_path / "spool" / "ready").iterdir())) == 2 and b)
        files = [list(batch.glob("*.dcm")) for batch in batches]
        assert sorted(map(len, files)) == [2, 3]
        got = sorted(file.read_bytes()[-1000:] for batch in files for file in batch)
        assert got == [one.data_set.read() for one in outgoing]


def test_out_of_space_in_the_real_spool_is_a700(tmp_path: Path) -> None:
    intake = spool(tmp_path, threading.Event(), min_free_bytes=1 << 62)
    with running(tmp_path / "in", intake) as listener, Caller(listener.port) as caller:
        response = caller.store()
        assert response.status == 0xA700
        assert response.comment.startswith("The spool has")
        assert list((tmp_path / "spool" / "receiving").iterdir()) == []


def test_orthanc_takes_ours_and_sends_it_back(tmp_path: Path, orthanc: tuple[int, str]) -> None:
    port, url = orthanc
    files = [part10(f, i) for i, f in enumerate(pydicom_files()) if f.name in ("CT_small.dcm", "JPEG2000.dcm")]
    receipts, report = collect()
    pacs = Dimse(name="out", host="127.0.0.1", port=port, ae_title="ORTHANC")
    assert [tick.ok for tick in pacs.check()] == [True] * 4
    pacs.deliver(files, report, threading.Event())
    assert [r.outcome for r in receipts] == [Outcome.CONFIRMED] * 2
    with running(tmp_path / "in") as listener:
        httpx.put(f"{url}/modalities/axiom", json=["AXIOM", "127.0.0.1", listener.port]).raise_for_status()
        instances = httpx.get(f"{url}/instances").json()
        httpx.post(f"{url}/modalities/axiom/store", json=instances, timeout=60).raise_for_status()
        wait_until(lambda: listener.intake.all_sealed)
        back = {part10(f).sop_instance_uid: dcmread(f) for f in listener.intake.files}
    for one in files:
        assert back[one.sop_instance_uid].PixelData == dcmread(one.data_set.pieces[0].path).PixelData
