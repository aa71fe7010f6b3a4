"""A node without its processes: its store and spool, and the poll job run in this one until nothing is due."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from engine.jobs.context import Context
from engine.jobs.polling import drain_polls
from engine.settings import Settings
from tests.doubles.server import Answer, Asked
from tests.peers import wait_until

__all__ = ["Faulty", "Site", "dicomweb", "instance", "put", "study_uid", "sums"]

ROOT = "1.2.826.0.1.3680043.10.1530.5"


class Site:
    """One node on `home`, with the sources of `configure`."""

    def __init__(self, home: Path) -> None:
        self.context = Context(Settings(home=home, instance_id="node-1", min_free_mb=1))
        self.context.settings.run_dir.mkdir(parents=True, exist_ok=True)
        self.context.spool.make()
        self.polls, self.backfills = self.context.store.polls, self.context.store.backfills

    def configure(self, *sources: dict[str, Any], **families: list[dict[str, Any]]) -> None:
        self.context.store.save({"sources": list(sources), **families}, author="test")

    def poll(self, *sources: str) -> None:
        """One run of the poll job: everything that is due, until nothing is for a while; these are asked now."""
        for name in sources:
            self.polls.poll_now(name, datetime.now(UTC))
        drain_polls(self.context)

    @contextmanager
    def polling(self) -> Iterator[None]:
        """The poll job again and again, beside the test."""
        over = threading.Event()

        def run() -> None:
            while not over.is_set():
                drain_polls(self.context)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            self.context.stopping.touch()
            thread.join(30)
            self.context.stopping.unlink()
            assert not thread.is_alive()

    def files(self) -> list[Path]:
        """Every instance that was handed to routing."""
        return sorted(self.context.spool.root.glob("ready/*/[0-9]*.dcm"))

    def counts(self, source: str = "pacs") -> dict[str, int]:
        return self.polls.counts().get(source, {})

    def until_at_least(self, fetched: int, timeout: float = 60) -> None:
        wait_until(lambda: self.counts().get("fetched", 0) >= fetched, timeout, f"{fetched} studies")

    def until(self, timeout: float = 60, **counts: int) -> None:
        """Wait until the source's counts are these."""
        wait_until(lambda: counts.items() <= self.counts().items(), timeout, f"{counts}, not {self.counts()}")


class Faulty:
    """What stands between us and a real server, passes on what is asked and answered, and goes wrong where told to."""

    def __init__(self, behind: str) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self.faults: list[tuple[str, Answer, int]] = []
        """(a pattern of paths, what is said instead, how often); with `cut`, the real answer is cut there."""
        self.without: set[str] = set()
        """Parameters that the server does not know."""
        self.waiting = ""
        """A value of a parameter: who asks with it gets no answer until `let_go` is set."""
        self.let_go = threading.Event()
        self._behind = behind
        self._client = httpx.Client(timeout=60, trust_env=False)

    def fault(self, pattern: str, answer: Answer, times: int = 1) -> None:
        self.faults.append((pattern, answer, times))

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if self.waiting and [self.waiting] in asked.query.values():
            assert self.let_go.wait(120)
        fault = next((f for f in self.faults if re.search(f[0], asked.path)), None)
        if fault is not None:
            at = self.faults.index(fault)
            self.faults[at : at + 1] = [(*fault[:2], fault[2] - 1)] if fault[2] > 1 else []
            if fault[1].cut is None:
                return fault[1]
        query = [(k, v) for k, values in asked.query.items() for v in values if k not in self.without]
        said = self._client.get(
            f"{self._behind}{asked.path}", params=query, headers={"Accept": asked.headers.get("Accept", "*/*")}
        )
        kept = {k: v for k, v in said.headers.items() if k.lower() in ("content-type", "warning")}
        return Answer(said.status_code, said.content, kept, cut=fault[1].cut if fault else None)

    def searches(self) -> int:
        return sum(1 for asked in self.asked if asked.path.endswith("/studies"))


def dicomweb(url: str, **more: Any) -> dict[str, Any]:
    """A source as it is configured: polled when told to, with studies fetched at once."""
    plain = {"name": "pacs", "kind": "dicomweb", "url": f"{url}/dicom-web", "poll_seconds": 3600, "quiet_seconds": 0}
    return plain | more


def study_uid(number: int) -> str:
    return f"{ROOT}.{number}"


def instance(
    study: int, number: int = 1, *, name: str = "", charset: str = "ISO_IR 192", date: str = "20260110", series: int = 1,
    size: int = 8,
) -> bytes:
    """A small image as a Part 10 file."""
    ds = Dataset()
    ds.SpecificCharacterSet = charset
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid(study), f"{study_uid(study)}.{series}"
    ds.SOPInstanceUID = f"{ds.SeriesInstanceUID}.{number}"
    ds.PatientName, ds.PatientID = name or f"Polled^Patient {study}", f"P-{study}"
    ds.StudyDate, ds.StudyTime, ds.Modality, ds.AccessionNumber = date, "101500", "OT", f"A{study}"
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", series, number
    ds.PatientBirthDate, ds.PatientSex, ds.ReferringPhysicianName, ds.ConversionType = "19700101", "O", "", "WSD"
    ds.Rows = ds.Columns = size
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = np.full((size, size), (study + number) % 256, np.uint8).tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    buffer = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def put(orthanc_url: str, images: Iterable[bytes]) -> list[bytes]:
    """Store images in Orthanc, all of them in one request; gives them back."""
    out = list(images)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for n, image in enumerate(out):
            archive.writestr(f"{n:06d}.dcm", image)
    httpx.post(f"{orthanc_url}/instances", content=packed.getvalue(), timeout=900, trust_env=False).raise_for_status()
    return out


def sums(files: Sequence[Path | bytes]) -> Counter[str]:
    """How often each content is there."""
    return Counter(hashlib.sha256(f if isinstance(f, bytes) else f.read_bytes()).hexdigest() for f in files)
