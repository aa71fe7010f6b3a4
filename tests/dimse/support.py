"""What the DIMSE tests share: an intake that keeps files in a folder, a running listener, peers in the raw."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom.data
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from engine.destinations.base import Outgoing
from engine.dicom.content import Content, Slice
from engine.dicom.file_meta import encode_head
from engine.dicom.network.command import C_STORE_RQ, Command
from engine.dicom.network.messages import DATA_SET, LAST, Messages, pdv_head
from engine.dicom.network.pdu import ASSOCIATE_AC, Associate, ProposedContext
from engine.dicom.network.wire import Wire
from engine.model import Association, Intake, Receipt
from engine.sources.base import SourceStatus
from engine.sources.dimse_listener import DimseListener
from engine.spool.commitments import SpoolCommitments
from engine.spool.moves import Moves, SpoolMove
from tests.peers import free_port, wait_until

__all__ = [
    "CT", "EXPLICIT", "IMPLICIT", "Caller", "FolderBatch", "FolderIntake", "Running", "collect", "data_set_of", "made",
    "part10", "pydicom_files", "running", "scripted",
]

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"


class FolderIncoming:
    def __init__(self, batch: FolderBatch, path: Path, head: bytes) -> None:
        self._batch, self._path = batch, path
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(self.fd, head)

    def commit(self) -> None:
        self._batch.intake.before_commit(self._batch)
        os.fsync(self.fd)
        os.close(self.fd)
        self._batch.files.append(self._path.rename(self._path.with_suffix(".dcm")))
        self._batch.count += 1

    def discard(self) -> None:
        os.close(self.fd)
        self._path.unlink()
        self._batch.intake.discarded += 1


@dataclass
class FolderBatch:
    intake: FolderIntake
    association: Association
    count: int = 0
    files: list[Path] = field(default_factory=list)
    sealed: bool = False

    def receive(self, head: bytes) -> FolderIncoming:
        self.intake.before_receive(self)
        with self.intake.lock:
            self.intake.number += 1
            number = self.intake.number
        return FolderIncoming(self, self.intake.folder / f"{number:06}.part", head)

    def seal(self) -> None:
        self.sealed = True


@dataclass
class FolderIntake:
    """An intake whose every step a test can make fail (`before_receive`, `before_commit`)."""

    folder: Path
    max_instances: int = 250
    batches: list[FolderBatch] = field(default_factory=list)
    number: int = 0
    discarded: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    before_receive: Callable[[FolderBatch], None] = lambda batch: None
    before_commit: Callable[[FolderBatch], None] = lambda batch: None

    def open(self, association: Association) -> FolderBatch:
        batch = FolderBatch(self, association)
        with self.lock:
            self.batches.append(batch)
        return batch

    def await_move(self, association: Association, peer_ae: str) -> SpoolMove:
        return Moves(self.folder / "moves").announce(association, peer_ae)

    def awaited(self, originator: str, move_id: int, calling_ae: str) -> SpoolMove | None:
        return Moves(self.folder / "moves").find(originator, move_id, calling_ae)

    @property
    def commitments(self) -> SpoolCommitments:
        return SpoolCommitments(self.folder / "commitments")

    @property
    def files(self) -> list[Path]:
        return [file for batch in self.batches for file in batch.files]

    @property
    def all_sealed(self) -> bool:
        return bool(self.batches) and all(batch.sealed for batch in self.batches)


@dataclass
class Running:
    """A listener at work in a thread."""

    config: DimseListener
    intake: Any
    status: SourceStatus
    stop: threading.Event
    thread: threading.Thread

    @property
    def port(self) -> int:
        return self.config.port

    def end(self, seconds: float = 60.0) -> None:
        self.stop.set()
        self.thread.join(seconds)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def running(folder: Path, intake: Intake | None = None, **fields: Any) -> Iterator[Running]:
    """A listener on a free port with an intake in `folder`, unless another is given; stopped at the end."""
    folder.mkdir(exist_ok=True)
    config = DimseListener(**{"name": "in", "port": free_port(), "drain_seconds": 0, "network_timeout": 10} | fields)
    intake, status, stop = intake or FolderIntake(folder), SourceStatus(), threading.Event()
    thread = threading.Thread(target=config.run, args=(intake, stop, status), daemon=True)
    thread.start()
    wait_until(lambda: status.get("state") == "listening")
    one = Running(config, intake, status, stop, thread)
    try:
        yield one
    finally:
        one.end()


class Caller:
    """A sender that does what a test tells it, byte by byte."""

    def __init__(
        self, port: int, pairs: Sequence[tuple[str, str]] = ((CT, EXPLICIT),), *, calling: str = "CALLER",
        called: str = "AXIOM", max_length: int = 16384, request: bytes = b"",
    ) -> None:  # fmt: skip
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.wire = Wire(self.socket, 60)
        proposed = tuple(ProposedContext(2 * i + 1, uid, (syntax,)) for i, (uid, syntax) in enumerate(pairs))
        self.wire.send(request or Associate(called, calling, max_length, proposed).encode())
        self.kind, length = self.wire.head()
        body = self.wire.exactly(length)
        self.answer = Associate.decode(body) if self.kind == ASSOCIATE_AC else None
        self.rejection = tuple(body[1:]) if self.answer is None else ()
        self.messages = Messages(self.wire, max_length, self.answer.max_length if self.answer else 0)

    def begin(self, uid: str = "1.2.3", sop_class: str = CT, context: int = 1, **fields: Any) -> None:
        """Send a C-STORE-RQ alone."""
        given = {"message_id": 7, "has_data_set": True, "sop_class_uid": sop_class, "sop_instance_uid": uid} | fields
        self.messages.send(context, Command(C_STORE_RQ, **given))

    def data(self, data: bytes, *, last: bool = True, context: int = 1) -> None:
        self.wire.send(pdv_head(context, DATA_SET | (LAST if last else 0), len(data)) + data)

    def store(self, uid: str = "1.2.3", data: bytes = b"\x08\0\x05\0CS\0\0", **fields: Any) -> Command:
        """A whole C-STORE; gives the response."""
        self.begin(uid, **fields)
        self.data(data, context=fields.get("context", 1))
        return self.response()

    def response(self) -> Command:
        return self.messages.command()[1]

    def ended(self) -> tuple[int, bytes]:
        """The PDU that ends it: type and body. Fails when the peer does not then close the connection."""
        kind, length = self.wire.head()
        body = self.wire.exactly(length)
        assert self.socket.recv(1) == b""
        return kind, body

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *error: object) -> None:
        self.wire.close()


@contextlib.contextmanager
def scripted(script: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on a free port that does `script` with each connection, one after the other; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError, OSError):
                    connection, _ = listening.accept()
                    with connection:
                        connection.settimeout(20)
                        script(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            stop.set()
            thread.join(20)


class NoTags:
    def text(self, path: str) -> str:
        return ""


def part10(path: Path, index: int = 0) -> Outgoing:
    """A Part 10 file as it would leave unchanged. Raises InvalidDicomError, AttributeError for what is not whole."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the test files are odd on purpose
        ds = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
    start = 132 + 12 + ds.file_meta.FileMetaInformationGroupLength
    return Outgoing(
        index,
        str(ds.SOPClassUID),
        str(ds.SOPInstanceUID),
        str(ds.file_meta.TransferSyntaxUID),
        path.read_bytes()[:start],
        Content((Slice(path, start, path.stat().st_size - start),)),
        NoTags(),
    )


def made(
    index: int, *, sop_class: str = CT, syntax: str = EXPLICIT, data: bytes | Content = b"\x08\0\x05\0CS\0\0", uid: str = ""
) -> Outgoing:
    """An instance made up."""
    uid = uid or f"1.2.3.{index}"
    content = data if isinstance(data, Content) else Content((data,))
    return Outgoing(index, sop_class, uid, syntax, encode_head(sop_class, uid, syntax), content, NoTags())


@functools.cache
def pydicom_files() -> tuple[Path, ...]:
    """Every file of pydicom's test data that has a preamble, a file meta and SOP UIDs."""
    found = []
    for path in sorted(Path(pydicom.data.__file__).parent.joinpath("test_files").rglob("*")):
        with contextlib.suppress(InvalidDicomError, AttributeError, IsADirectoryError, NotImplementedError):
            if part10(path).sop_class_uid:
                found.append(path)
    return tuple(found)


def data_set_of(path: Path) -> bytes:
    """The bytes behind the file meta."""
    return part10(path).data_set.read()


def collect() -> tuple[list[Receipt], Callable[[Receipt], None]]:
    receipts: list[Receipt] = []
    return receipts, receipts.append
