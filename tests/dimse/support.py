"""What the DIMSE tests share: an intake that keeps files in a folder, a running listener, free ports, a bare peer."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.model import Association
from engine.sources.base import SourceStatus
from engine.sources.dimse_listener import DimseListener


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Wait until `condition()` is true and return its value; fail with what it was else."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if value := condition():
            return value
        threading.Event().wait(0.01)
    raise AssertionError(f"{condition} did not become true within {seconds} s")


class FolderIncoming:
    def __init__(self, batch: FolderBatch, path: Path, head: bytes) -> None:
        self._batch, self._path = batch, path
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
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

    @property
    def files(self) -> list[Path]:
        return [file for batch in self.batches for file in batch.files]


@dataclass
class Running:
    """A listener at work in a thread."""

    config: DimseListener
    intake: FolderIntake
    status: SourceStatus
    stop: threading.Event
    thread: threading.Thread

    @property
    def port(self) -> int:
        return self.config.port

    def end(self, seconds: float = 20.0) -> None:
        self.stop.set()
        self.thread.join(seconds)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def running(folder: Path, intake: FolderIntake | None = None, **fields: Any) -> Iterator[Running]:
    """A listener on a free port with an intake in `folder`; stopped at the end, its sockets cut if need be."""
    folder.mkdir(exist_ok=True)
    config = DimseListener(**{"name": "in", "port": free_port(), "drain_seconds": 0, "network_timeout": 10} | fields)
    intake = intake or FolderIntake(folder)
    status, stop = SourceStatus(), threading.Event()
    thread = threading.Thread(target=config.run, args=(intake, stop, status), daemon=True)
    thread.start()
    wait_for(lambda: status.get("state") == "listening")
    one = Running(config, intake, status, stop, thread)
    try:
        yield one
    finally:
        one.end()
