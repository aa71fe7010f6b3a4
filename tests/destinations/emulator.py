"""gcp-storage-emulator, in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.process import Child
from tests.peers import accepts, free_port, wait_until

__all__ = ["emulator"]


@contextmanager
def emulator(bucket: str) -> Iterator[str]:
    """The emulator with one empty bucket, in memory; gives its URL. It knows no preconditions and no sign-in."""
    port = free_port()
    program = Path(sys.executable).parent / "gcp-storage-emulator"
    argv = [program, "start", "--host=127.0.0.1", f"--port={port}", "--in-memory", f"--default-bucket={bucket}"]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        child = Child("emulator", argv, env=dict(os.environ), log=log, restart=False, on_parent_death=signal.SIGKILL)
        child.start()
        try:
            wait_until(lambda: accepts(port), 60, "the storage emulator")
            yield f"http://127.0.0.1:{port}"
        finally:
            child.ask_to_stop(signal.SIGTERM)
            child.stop(15)
