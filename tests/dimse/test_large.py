"""A multi-frame image of 2 GB (200 MB in the usual run) comes in by storescu and leaves by C-STORE, into a folder, and with a
changed header: as it was, and no process of Axiom Flow ever has it in memory."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from engine.demo.studies import synthetic
from tests.peers import StoreSCP, dcmdump, storescu, wait_until
from tests.running import Axiom

LARGEST_MEMORY = 300 << 20
CONFIGURATION = """
sources:
- {{name: large, kind: dimse_listener, ae_title: AXIOM, port: {listener}}}
destinations:
- {{name: pacs, kind: dimse, host: 127.0.0.1, port: {pacs}, ae_title: PACS, dimse_timeout: 600}}
- {{name: folder, kind: filesystem, path: {folder}, template: "{{SOPInstanceUID}}.dcm"}}
- {{name: changed, kind: filesystem, path: {changed}, template: "{{SOPInstanceUID}}.dcm"}}
rulesets:
- name: main
  priority: 10
  mode: ALL_MATCHES
  rules:
  - {{name: as-received, priority: 10, destinations: [pacs, folder]}}
  - name: changed
    priority: 20
    morphs: [{{kind: set, tag: InstitutionName, value: Axiom Hospital}}]
    destinations: [changed]
"""


def large(path: Path, megabytes: int) -> None:
    """An ultrasound of one frame a megabyte, explicit VR little endian, its pixels in one native OW value (32-bit length)."""
    ds = next(synthetic("US", 1, 1, rows=16, frames=2))
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SOPInstanceUID}.{megabytes}"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.NumberOfFrames = 1024, 512, 1, megabytes
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PhotometricInterpretation = 16, 16, 15, "MONOCHROME2"
    ds.pop("PlanarConfiguration", None)
    ds.PixelData = b""
    ds["PixelData"].VR = "OW"
    ds.save_as(path, enforce_file_format=True)
    with path.open("r+b") as out:
        out.seek(-4, 2)
        out.write((megabytes << 20).to_bytes(4, "little"))
        for number in range(megabytes):
            out.write(number.to_bytes(4, "little") * (1 << 18))


def digest(path: Path, behind: bytes = b"") -> str:
    """SHA-256 of the data set of a file; of what stands behind a certain element's header in it."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
        start = head.rindex(behind) if behind else 144 + int.from_bytes(head[140:144], "little")
        file.seek(start)
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture
def measured(axiom: Axiom) -> Iterator[Axiom]:
    before = axiom.cli("config", "export").stdout
    axiom.forget_peaks()
    yield axiom
    axiom.apply(before)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from /proc")
@pytest.mark.parametrize("megabytes", [200, pytest.param(2047, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_a_large_image_comes_and_goes_and_is_never_in_memory(
    measured: Axiom, storescp: StoreSCP, tmp_path: Path, megabytes: int
) -> None:
    axiom, image = measured, tmp_path / "large.dcm"
    large(image, megabytes)
    assert f"[{megabytes}]" in dcmdump(image, "+P", "0028,0008")
    folders = {"folder": tmp_path / "folder", "changed": tmp_path / "changed"}
    axiom.apply(CONFIGURATION.format(listener=axiom.dimse_port, pacs=storescp.port, **folders))
    wait_until(lambda: axiom.json("status")["listeners"][0]["state"] == "listening", 60, "the listener")
    began = time.monotonic()
    storescu([image], axiom.dimse_port, timeout=600)

    def delivered() -> bool:
        status = axiom.json("status")
        assert (status["held"], status["dead"]) == (0, 0), status
        return all(len(list(f.glob("*.dcm"))) == 1 for f in folders.values()) and all(
            d["waiting"] + d["sending"] == 0 for d in status["destinations"]
        )

    wait_until(delivered, 600, "the image at all three")
    seconds = time.monotonic() - began
    [at_pacs], [in_folder], [changed] = storescp.files, *(list(f.iterdir()) for f in folders.values())
    assert digest(at_pacs) == digest(in_folder) == digest(image)
    pixels = b"\xe0\x7f\x10\x00OW\0\0" + (megabytes << 20).to_bytes(4, "little")
    assert digest(changed, pixels) == digest(image, pixels)
    assert dcmread(changed, stop_before_pixels=True).InstitutionName == "Axiom Hospital"
    memory = axiom.peaks()
    assert len(memory) > 4, memory
    assert max(memory.values()) < LARGEST_MEMORY, json.dumps(memory, indent=1)
    print(f"{megabytes} MB in {seconds:.0f} s; peaks in MB: {sorted(size >> 20 for size in memory.values())}")
