"""How fast images are received: our listener into the real spool, fsync before each answer, against DCMTK storescp.

    python -m benchmarks.receive [--rounds 5] [--small 800] [--ct 240] [--folder /tmp]

The same feeder sends to both: our own sender in a process for each association, files from the page cache. DCMTK runs
bit preserving with 128K PDUs, TCP_NODELAY and a process for each association, and does not fsync: on a disk the ratio is
mostly the price of durability, in a folder of memory (`--folder /dev/shm`) it compares the two programs alone. Rates
are medians; x is the ratio to DCMTK.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.dimse import CT, EXPLICIT, compare, corpus, dcmtk
from engine.destinations.base import Outgoing
from engine.dicom.network.requestor import Peer
from engine.dicom.network.store_scu import StoreScu
from engine.sources.base import SourceStatus
from engine.sources.dimse_listener import DimseListener
from engine.spool.intake import SpoolIntake

__all__ = ["main"]

fork = multiprocessing.get_context("fork")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    for _ in range(2000):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise SystemExit(f"nothing listens on port {port}")


def _listen(port: int, folder: Path) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    intake = SpoolIntake(folder, node="bench", max_instances=250, min_free_bytes=0)
    DimseListener(name="bench", port=port, drain_seconds=0).run(intake, stop, SourceStatus())


@contextmanager
def ours(folder: Path) -> Iterator[int]:
    port = free_port()
    process = fork.Process(target=_listen, args=(port, folder))
    process.start()
    wait_for(port)
    yield port
    process.terminate()
    process.join()


@contextmanager
def theirs(folder: Path) -> Iterator[int]:
    port = free_port()
    process = dcmtk("storescp", "+B", "+xa", "-pdu", 131072, "+uf", "--fork", "-od", folder, port)
    wait_for(port)
    yield port
    process.terminate()
    process.wait()


def _feed(port: int, outgoing: list[Outgoing], gate: object) -> None:
    peer = Peer("127.0.0.1", port, "ANY-SCP", "FEEDER")
    with StoreScu(peer, [(CT, EXPLICIT)]) as scu:
        context = scu.contexts[CT, EXPLICIT]
        gate.wait()  # type: ignore[attr-defined]
        for one in outgoing:
            status, words = scu.store(context, CT, one.sop_instance_uid, one.data_set)
            if status:
                raise SystemExit(f"{status:04X} {words}")
        gate.wait()  # type: ignore[attr-defined]


def feed(port: int, outgoing: list[Outgoing], associations: int) -> float:
    """Seconds until all of `outgoing` has been sent and answered over so many associations at once."""
    gate = fork.Barrier(associations + 1)
    parts = [outgoing[i::associations] for i in range(associations)]
    feeders = [fork.Process(target=_feed, args=(port, part, gate)) for part in parts]
    for feeder in feeders:
        feeder.start()
    gate.wait()
    began = time.perf_counter()
    gate.wait()
    seconds = time.perf_counter() - began
    for feeder in feeders:
        feeder.join()
        if feeder.exitcode:
            raise SystemExit("a feeder failed")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", type=int, default=800, help="small images a round")
    parser.add_argument("--ct", type=int, default=240, help="CT images a round")
    parser.add_argument("--folder", type=Path, help="where to work (default: the temporary folder)")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="axiom-bench-", dir=options.folder))
    try:
        for size, count in (("small", options.small), ("CT", options.ct)):
            outgoing = corpus(root / f"corpus-{size}", size, count)
            for associations in (1, 4):

                def run(
                    server: Callable[[Path], object], outgoing: list[Outgoing] = outgoing, n: int = associations
                ) -> float:
                    folder = Path(tempfile.mkdtemp(dir=root))
                    with server(folder) as port:  # type: ignore[attr-defined]
                        seconds = feed(port, outgoing, n)
                    shutil.rmtree(folder)
                    os.sync()  # what one run left to be written does not slow the next
                    return seconds

                compare(
                    f"receive {size}, {associations} association{'s'[: associations > 1]}", count, options.rounds,
                    [("DCMTK storescp", lambda: run(theirs)), ("Axiom Flow, fsync", lambda: run(ours))],
                )  # fmt: skip
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
