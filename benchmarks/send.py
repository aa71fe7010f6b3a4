"""How fast images are sent: our `dimse` destination against DCMTK storescu.

    python -m benchmarks.send [--rounds 5] [--small 1500] [--ct 400] [--folder /tmp]

Both send the same files from the page cache over one association to the same receiver, our own listener with an intake
that throws away. Each runs as a process of its own; its start-up, measured by sending one file, is taken off. storescu
sends with 128K PDUs and TCP_NODELAY. Rates are medians; x is the ratio to DCMTK.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.dimse import compare, corpus, dcmtk
from benchmarks.receive import free_port, wait_for
from engine.destinations.base import Outgoing
from engine.destinations.dimse import Dimse
from engine.model import Association, Outcome, Receipt
from engine.sources.base import SourceStatus
from engine.sources.dimse_listener import DimseListener

__all__ = ["main"]

fork = multiprocessing.get_context("fork")


class Nowhere:
    """An intake, its batches and its instances in one: all bytes go to /dev/null."""

    max_instances = 250
    count = 0

    def __init__(self) -> None:
        self.fd = os.open(os.devnull, os.O_WRONLY)

    def open(self, association: Association) -> Nowhere:
        return self

    def receive(self, head: bytes) -> Nowhere:
        return self

    def commit(self) -> None:
        pass

    discard = seal = commit


def _listen(port: int) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    DimseListener(name="sink", port=port, drain_seconds=0).run(Nowhere(), stop, SourceStatus())


@contextmanager
def sink() -> Iterator[int]:
    port = free_port()
    process = fork.Process(target=_listen, args=(port,))
    process.start()
    wait_for(port)
    yield port
    process.terminate()
    process.join()


def _deliver(port: int, outgoing: list[Outgoing]) -> None:
    receipts: list[Receipt] = []
    pacs = Dimse(name="sink", host="127.0.0.1", port=port, ae_title="SINK")
    pacs.deliver(outgoing, receipts.append, threading.Event())
    if [r.outcome for r in receipts] != [Outcome.CONFIRMED] * len(outgoing):
        raise SystemExit("not all were confirmed")


def ours(port: int, outgoing: list[Outgoing], folder: Path) -> float:
    process = fork.Process(target=_deliver, args=(port, outgoing))
    began = time.perf_counter()
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit("our sender failed")
    return time.perf_counter() - began


def theirs(port: int, outgoing: list[Outgoing], folder: Path) -> float:
    names = [outgoing[0].data_set.pieces[0].path] if len(outgoing) == 1 else ["+sd", folder]  # type: ignore[union-attr]
    began = time.perf_counter()
    process = dcmtk("storescu", "-xe", "--max-send-pdu", 131072, "127.0.0.1", port, *names)
    if process.wait():
        raise SystemExit("storescu failed")
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", type=int, default=1500, help="small images a round")
    parser.add_argument("--ct", type=int, default=400, help="CT images a round")
    parser.add_argument("--folder", type=Path, help="where to work (default: the temporary folder)")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="axiom-bench-", dir=options.folder))
    try:
        with sink() as port:
            for size, count in (("small", options.small), ("CT", options.ct)):
                folder = root / size
                outgoing = corpus(folder, size, count)

                def run(
                    sender: Callable[[int, list[Outgoing], Path], float],
                    outgoing: list[Outgoing] = outgoing, folder: Path = folder,
                ) -> float:  # fmt: skip
                    return sender(port, outgoing, folder) - sender(port, outgoing[:1], folder)

                compare(
                    f"send {size}, 1 association", count, options.rounds,
                    [("DCMTK storescu", lambda: run(theirs)), ("Axiom Flow", lambda: run(ours))],
                )  # fmt: skip
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
