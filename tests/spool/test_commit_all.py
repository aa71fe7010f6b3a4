"""Several instances made durable at once: each counts, or is gone with its error."""

from __future__ import annotations

import os
from pathlib import Path

from engine.model import Association
from engine.spool.intake import SpoolIntake


def test_what_fails_is_gone_and_harms_no_other(tmp_path: Path) -> None:
    intake = SpoolIntake(tmp_path, node="node-1", max_instances=250, min_free_bytes=0)
    batch = intake.open(Association("web", "stow_rs"))
    incomings = [batch.receive(b"%d" % n) for n in range(20)]
    os.close(incomings[3].fd)
    incomings[3].fd = os.open("/dev/full", os.O_WRONLY)  # it cannot be synchronised
    errors = batch.commit_all(incomings)
    assert [n for n, error in enumerate(errors) if error is not None] == [3]
    assert isinstance(errors[3], OSError)
    assert batch.count == 19
    assert not list(batch.folder.glob("*.part"))
    batch.seal()
    (folder,) = (tmp_path / "ready").iterdir()
    assert [f.read_bytes() for f in sorted(folder.glob("*.dcm"))] == [b"%d" % n for n in range(20) if n != 3]


def test_one_that_is_committed_alone_counts_as_well(tmp_path: Path) -> None:
    intake = SpoolIntake(tmp_path, node="node-1", max_instances=250, min_free_bytes=0)
    batch = intake.open(Association("web", "stow_rs"))
    batch.receive(b"one").commit()
    assert batch.commit_all([batch.receive(b"two")]) == [None]
    assert batch.count == 2
