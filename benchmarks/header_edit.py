"""What deciding on and changing one CT costs: our lazy header and byte patching against pydicom's read, change, save.

    python -m benchmarks.header_edit [--rounds 300]

Both sides read the same file (512x512, 16 bit), look at 20 rules of 5 leaves, make 4 changes and give the bytes that
leave (ours as pieces that refer to the pixel data). Ratios within one run; medians of several.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

import engine.morphs
from engine.component import kinds
from engine.dicom.header import Header
from engine.dicom.paths import TagPath
from engine.morphs.apply import Event, change

LEAVES = ["Modality", "PatientID", "StationName", "SliceThickness", "BodyPartExamined"]
AT = datetime.now(UTC)


def ct(path: Path, syntax: str) -> Path:
    """A CT image as a scanner makes it: some hundred elements, a few sequences, private ones, 512 KB of pixels."""
    ds = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
    for tag in [e.tag for e in ds if e.tag.is_private and e.tag.group != 0x0009]:
        del ds[tag]
    ds.Rows = ds.Columns = 512
    ds.PixelData = bytes(512 * 512 * 2)
    item = Dataset()
    item.ScheduledProcedureStepID, item.RequestedProcedureID = "S1", "R1"
    ds.RequestAttributesSequence = [item]
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path, enforce_file_format=True)
    return path


def median(action: Callable[[], Any], rounds: int) -> float:
    """Milliseconds."""
    action()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def morphs() -> list[Any]:
    made = kinds("morph")
    return [
        made["set"].model_validate({"kind": "set", "tag": "InstitutionName", "value": "Axiom"}),
        made["prepend"].model_validate({"kind": "prepend", "tag": "PatientID", "value": "H1-"}),
        made["delete"].model_validate({"kind": "delete", "tag": "PatientBirthDate"}),
        made["set"].model_validate({"kind": "set", "tag": "StudyID", "value": "{StudyDate}_{Modality}"}),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    assert engine.morphs
    paths = [TagPath.parse(leaf) for leaf in LEAVES]
    chain = morphs()

    def decided(header: Header) -> int:
        return sum(header.find(path)[:1] == [] for _ in range(20) for path in paths)

    def ours(path: Path, record: bool) -> None:
        header = Header.read(path)
        decided(header)
        changed = change(header, chain, Event(record, "AXIOM", AT))
        assert changed.header.data_set.length

    def theirs(path: Path, stop: bool) -> None:
        ds = pydicom.dcmread(path, stop_before_pixels=stop)
        for _ in range(20):
            for leaf in LEAVES:
                ds.get(leaf)
        ds.InstitutionName = "Axiom"
        ds.PatientID = "H1-" + ds.PatientID
        if "PatientBirthDate" in ds:
            del ds.PatientBirthDate
        ds.StudyID = f"{ds.StudyDate}_{ds.Modality}"
        ds.save_as(BytesIO())

    def measure(name: str, path: Path) -> None:
        base = median(lambda: theirs(path, False), max(rounds // 5, 5))
        print(f"\n{name} VR, {len(Header.read(path).root.index)} elements, {path.stat().st_size >> 10} KB")
        rows: list[tuple[str, float]] = [
            ("pydicom: dcmread, decide, 4 changes, save_as", base),
            ("pydicom: the same on the header only", median(lambda: theirs(path, True), max(rounds // 5, 5))),
            ("ours: Header.read", median(lambda: Header.read(path), rounds)),
            ("ours: Header.read, decide", median(lambda: decided(Header.read(path)), rounds)),
            ("ours: read, decide, 4 changes", median(lambda: ours(path, False), rounds)),
            ("ours: the same with Original Attributes", median(lambda: ours(path, True), rounds)),
            ("ours: Header.read, as_json", median(lambda: Header.read(path).as_json(), rounds)),
        ]
        for label, milliseconds in rows:
            print(f"  {label:48s} {milliseconds:8.3f} ms   {base / milliseconds:6.1f}x")

    with tempfile.TemporaryDirectory() as folder:
        for name, syntax in (("explicit", ExplicitVRLittleEndian), ("implicit", ImplicitVRLittleEndian)):
            measure(name, ct(Path(folder) / f"{name}.dcm", syntax))


if __name__ == "__main__":
    main()
