"""How fast images are received by STOW-RS: our API into the real spool, fsync before each answer, against Orthanc's.

    python -m benchmarks.stow [--rounds 3] [--small 400] [--ct 200] [--folder /tmp]

Both get the same multipart requests of 20 images each, from one connection and from four, over the loopback. Orthanc writes an
index besides, and does not fsync; it is emptied between rounds. Our API runs as in production but for the engine beside it:
what is received is not routed meanwhile. Rates are medians; x is the ratio to ours.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import orjson

from benchmarks.dimse import compare, corpus
from engine.api.app import serve
from engine.connection.multipart import MultipartWriter
from engine.dicom.content import Content
from engine.settings import Settings
from engine.spool.spool import Spool
from engine.store import Store
from tests.peers import free_port, orthanc, wait_until

__all__ = ["main"]

PER_REQUEST = 20
fork = multiprocessing.get_context("fork")

Request = tuple[bytes, str]


def requests_of(folder: Path, size: str, count: int) -> list[Request]:
    corpus(folder, size, count)
    images = [Content((path.read_bytes(),)) for path in sorted(folder.glob("*.dcm"))]
    out = []
    for start in range(0, count, PER_REQUEST):
        writer = MultipartWriter([({}, image) for image in images[start : start + PER_REQUEST]])
        out.append((b"".join(writer), writer.content_type))
    return out


def send(url: str, requests: list[Request], connections: int, headers: dict[str, str]) -> float:
    """Seconds until the last answer."""

    def one(mine: list[Request]) -> None:
        with httpx.Client(headers=headers | {"Accept": "application/dicom+json"}, timeout=300, trust_env=False) as client:
            for body, content_type in mine:
                answer = client.post(url, content=body, headers={"Content-Type": content_type})
                if answer.status_code != 200:
                    raise SystemExit(f"{url} answered {answer.status_code}: {answer.text[:500]}")

    begun = time.monotonic()
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(one, [requests[n::connections] for n in range(connections)]))
    return time.monotonic() - begun


@contextmanager
def ours(home: Path) -> Iterator[tuple[Settings, dict[str, str]]]:
    settings = Settings(home=home, api_port=free_port(), min_free_mb=0)
    Spool(settings.spool, node=settings.instance_id).make()
    settings.run_dir.mkdir(parents=True)
    (settings.run_dir / "engine.json").write_bytes(orjson.dumps({"beat": time.time() + 86_400, "workers": []}))
    store = Store(settings)
    store.people.create("sender", role="Sender", who="bench", password="a long enough sentence", must_change=False)
    key, _ = store.keys.create("sender", "bench", who="bench")
    store.apply({"sources": [{"name": "web", "kind": "stow_rs"}]}, author="bench")
    store.close()
    process = fork.Process(target=serve, args=(settings,))
    process.start()
    try:
        live = f"http://127.0.0.1:{settings.api_port}/health/live"
        wait_until(lambda: _answers(live), 60, "the API")
        yield settings, {"Authorization": f"Bearer {key}"}
    finally:
        os.kill(process.pid or 0, signal.SIGTERM)
        process.join(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", type=int, default=400)
    parser.add_argument("--ct", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="axiom-bench-stow-", dir=options.folder))
    try:
        with ours(base / "home") as (settings, headers), orthanc(base / "orthanc") as (_, rest):

            def to_us(requests: list[Request], connections: int) -> float:
                seconds = send(f"http://127.0.0.1:{settings.api_port}/api/v1/dicomweb/studies", requests, connections, headers)
                for batch in Spool(settings.spool, node="").batches("ready"):
                    shutil.rmtree(batch)
                return seconds

            def to_orthanc(requests: list[Request], connections: int) -> float:
                seconds = send(f"{rest}/dicom-web/studies", requests, connections, {})
                for patient in httpx.get(f"{rest}/patients", trust_env=False).json():
                    httpx.delete(f"{rest}/patients/{patient}", timeout=300, trust_env=False)
                return seconds

            for size, count in (("small", options.small), ("CT", options.ct)):
                requests = requests_of(base / size, size, count)
                for connections in (1, 4):
                    title = f"{size}, {connections} connection{'s' if connections > 1 else ''}"
                    contenders = [
                        ("ours", lambda r=requests, c=connections: to_us(r, c)),
                        ("Orthanc", lambda r=requests, c=connections: to_orthanc(r, c)),
                    ]
                    compare(title, count, options.rounds, contenders)
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
