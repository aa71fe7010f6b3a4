"""The front door: what counts, what leaves no trace, what a killed process leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.dicom.file_meta import encode_head
from engine.errors import OutOfSpace
from engine.model import Association
from engine.spool.batch import read_batch_file
from engine.spool.spool import Spool

SENDER = Association("modalities", "dimse_listener", "CT01", "AXIOM", "127.0.0.1")
HEAD = encode_head("1.2.840.10008.5.1.4.1.1.7", "1.2.3", "1.2.840.10008.1.2.1")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool", node="n1")
    spool.make()
    return spool


def test_committed_instances_become_a_ready_batch_with_their_association(spool: Spool) -> None:
    woken = []
    batch = spool.intake(max_instances=9, min_free_bytes=0, on_ready=lambda: woken.append(1)).open(SENDER)
    for payload in (b"one", b"two"):
        incoming = batch.receive(HEAD)
        os.write(incoming.fd, payload)
        incoming.commit()
    assert batch.count == 2
    batch.seal()
    batch.seal()  # sealing twice is sealing once
    (folder,) = spool.batches("ready")
    info = read_batch_file(folder)
    assert (info.association, info.node, woken) == (SENDER, "n1", [1])
    assert [f.read_bytes() for f in info.files()] == [HEAD + b"one", HEAD + b"two"]


def test_a_discarded_instance_and_an_empty_batch_leave_no_trace(spool: Spool) -> None:
    batch = spool.intake(max_instances=9, min_free_bytes=0).open(SENDER)
    incoming = batch.receive(HEAD)
    os.write(incoming.fd, b"half")
    incoming.discard()
    batch.seal()
    assert spool.batches("ready") == spool.batches("receiving") == []
    assert list((spool.root / "receiving").iterdir()) == []


def test_below_the_watermark_nothing_is_begun(spool: Spool) -> None:
    intake = spool.intake(max_instances=9, min_free_bytes=1 << 60)
    with pytest.raises(OutOfSpace, match="watermark") as refused:
        intake.open(SENDER)
    assert refused.value.status == 0xA700


def test_the_watermark_is_looked_at_for_each_instance(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    intake = spool.intake(max_instances=9, min_free_bytes=1)
    batch = intake.open(SENDER)
    batch.receive(HEAD).commit()
    monkeypatch.setattr(intake, "_min_free", 1 << 60)
    with pytest.raises(OutOfSpace):
        batch.receive(HEAD)
    batch.seal()
    assert len(spool.batches("ready")) == 1


def test_an_open_batch_is_not_adopted(spool: Spool) -> None:
    batch = spool.intake(max_instances=9, min_free_bytes=0).open(SENDER)
    batch.receive(HEAD).commit()
    assert spool.adopt_orphans() == 0
    batch.seal()
    assert len(spool.batches("ready")) == 1


KILLED = """
import os, sys
from pathlib import Path
from engine.model import Association
from engine.spool.spool import Spool
intake = Spool(Path(sys.argv[1]), node="n1").intake(max_instances=9, min_free_bytes=0)
whole, empty = (intake.open(Association("m", "dimse_listener")) for _ in range(2))
for n in range(3):
    incoming = whole.receive(b"head"); os.write(incoming.fd, b"%d" % n); incoming.commit()
os.write(whole.receive(b"head").fd, b"not answered for")
os.write(empty.receive(b"head").fd, b"not answered for")
print("ready", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_had_answered_for_is_kept_and_the_rest_thrown_away(spool: Spool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(spool.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert spool.adopt_orphans() == 0  # it lives
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert spool.adopt_orphans() == 1
    (folder,) = spool.batches("ready")
    assert [f.read_bytes() for f in read_batch_file(folder).files()] == [b"head0", b"head1", b"head2"]
    assert list((spool.root / "receiving").iterdir()) == []
