"""A disk that runs full: receiving stops while there is room to route and deliver, whatever the watermark was set to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.dicom.file_meta import encode_head
from engine.errors import OutOfSpace
from engine.jobs.context import open_intake
from engine.settings import Settings
from tests.flow.road import CT, SENDER, Road, instance, split

EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_what_was_acknowledged_leaves_a_full_disk_with_no_watermark_set(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    road = Road(small / "home", {
        "destinations": [{"name": "folder", "kind": "filesystem", "path": str(out), "template": "{SOPInstanceUID}.dcm"}],
        "rulesets": [{"name": "main", "priority": 1, "rules": [{
            "name": "all", "priority": 1, "destinations": ["folder"],
            "morphs": [{"kind": "set", "tag": "InstitutionName", "value": "Axiom"}],
        }]}],
    })  # fmt: skip
    settings = Settings(home=small / "home", min_free_mb=0, batch_instances=1000)
    acknowledged: set[str] = set()
    batch = open_intake(road.spool, settings, lambda _: None).open(SENDER)
    with pytest.raises(OutOfSpace, match="below its watermark of 16 MB"):
        for n in range(1000):
            incoming = batch.receive(encode_head(CT, f"1.{n}", EXPLICIT))
            os.write(incoming.fd, split(instance(f"1.{n}", pixels=256)))
            incoming.commit()
            acknowledged.add(f"1.{n}")
    assert acknowledged
    batch.seal()
    road.route()
    road.deliver()
    assert {path.stem for path in out.iterdir()} == acknowledged
    assert road.spool.batches("ready") == road.spool.batches("routed") == []
    road.recorder.close()
