"""A small road for tests: a spool, rules, and destinations of our own that keep what they are given.

Guarantee: `test_sink` keeps what it confirms in memory, for the test that looks at it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from engine import flow
from engine.configuration import Configuration, load_configuration
from engine.destinations.base import Destination, Outgoing
from engine.dicom.file_meta import encode_head
from engine.history.reader import Reader
from engine.history.recorder import Recorder
from engine.history.sealing import seal
from engine.model import Association, Outcome, Receipt, Report, Tick
from engine.spool.spool import Spool

__all__ = ["CT", "SENDER", "Road", "Sink", "instance", "receive", "split"]

SENDER = Association("modalities", "dimse_listener", "CT01", "AXIOM", "127.0.0.1")
CT = "1.2.840.10008.5.1.4.1.1.2"


class Sink(Destination):
    """Keeps what it is given, in memory; answers as `Sink.answer` says."""

    kind: Literal["test_sink"] = "test_sink"
    given: ClassVar[list[tuple[str, str, bytes]]] = []
    """(destination, SOP Instance UID, data set)"""
    answer: ClassVar[Callable[[str, Outgoing], Receipt | Exception] | None] = None

    def deliver(self, outgoing: Sequence[Outgoing], report: Report, stop: threading.Event) -> None:
        for one in outgoing:
            receipt: Receipt | Exception = Receipt(one.index, Outcome.CONFIRMED)
            if Sink.answer is not None:
                receipt = Sink.answer(self.name, one)
            if isinstance(receipt, Exception):
                raise receipt
            if receipt.outcome is Outcome.CONFIRMED:
                Sink.given.append((self.name, one.sop_instance_uid, one.data_set.read()))
            report(receipt)

    def check(self) -> list[Tick]:
        return [Tick("memory", True)]


def instance(uid: str, modality: str = "CT", patient: str = "P1", pixels: int = 64) -> bytes:
    """A Part 10 file's bytes."""
    import io

    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CT, uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.826.9", "1.2.826.9.1"
    ds.Modality, ds.PatientID, ds.PatientName = modality, patient, "Doe^Jane"
    ds.Rows = ds.Columns = pixels
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel = 15, 0, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelData = np.arange(pixels * pixels, dtype="<u2").tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def split(data: bytes) -> bytes:
    """The data set of a Part 10 file: what follows the group length's count of bytes (PS3.10 7.1)."""
    return data[144 + int.from_bytes(data[140:144], "little") :]


def receive(spool: Spool, files: Sequence[tuple[str, bytes]], association: Association = SENDER) -> list[str]:
    """Send files (UID, Part 10 bytes) through the front door; appends each UID when it counts."""
    answered: list[str] = []
    batch = spool.intake(max_instances=1000, min_free_bytes=0).open(association)
    for uid, data in files:
        incoming = batch.receive(encode_head(CT, uid, ExplicitVRLittleEndian))
        os.write(incoming.fd, split(data) if data[128:132] == b"DICM" else data)
        incoming.commit()
        answered.append(uid)
    batch.seal()
    return answered


class Road:
    """One home with everything between the front door and the destinations, driven by hand."""

    def __init__(self, home: Path, configuration: dict[str, Any]) -> None:
        self.home = home
        self.spool = Spool(home / "spool", node="n1")
        self.spool.make()
        self.configuration: Configuration = load_configuration(configuration)
        self.recorder = Recorder(home / "history")
        self.decider = flow.Decider.of(7, self.configuration, original_attributes=True)
        self.stop = threading.Event()

    def route(self) -> None:
        for folder in self.spool.batches("ready"):
            with self.spool.claim(folder) as batch:
                assert batch is not None
                flow.route(self.spool, batch, lambda: self.decider, self.recorder)

    def deliver(self, *, at: datetime | None = None) -> None:
        """Deliver everything that waits once, due or not."""
        for name in self.spool.outbox.destinations():
            destination = self.configuration.destination(name)
            assert destination is not None
            for _, delivery in self.spool.outbox.entries(name):
                flow.deliver(
                    self.spool,
                    delivery,
                    destination,
                    self.recorder,
                    self.stop,
                    now=lambda: at or datetime.now(UTC),
                    jitter=lambda: 0.5,
                )

    def gather(self) -> int:
        """Make deliveries of the gatherings whose time has come."""
        return flow.deliver_gathered(self.spool, self.recorder)

    def sweep(self) -> None:
        self.spool.adopt_orphans()
        self.spool.clear_removing()
        for folder in self.spool.batches("routed"):
            self.spool.repair_routed(folder)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        seal(self.home / "history")
        return Reader(self.home / "history").rows(sql)
