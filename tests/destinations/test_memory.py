"""A large image leaves over HTTP without being held in memory."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.destinations.support import CT, EXPLICIT, instance
from tests.running import ROOT

DELIVER = """
# The peak of this process alone: ru_maxrss begins with that of the one it was forked from.
import json, re, sys, threading
from pathlib import Path
from engine.destinations.{module} import {name}
from engine.destinations.base import Outgoing
from engine.dicom.content import Content, Slice
from engine.dicom.header import Header
from engine.security.outward import use_outward
use_outward("127.0.0.1")

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

file, fields, uids = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
header = Header.read(file)
start = header.data_offset
data = Content((Slice(file, start, file.stat().st_size - start),))
destination = {name}.model_validate(fields)
before = peak()
receipts = []
destination.deliver([Outgoing(0, *uids, header.head, data, header)], receipts.append, threading.Event())
after = peak()
print(json.dumps({{"outcome": receipts[0].outcome, "before": before, "after": after}}))
"""


class Drain:
    """Reads one request and keeps nothing of its body but its hash; answers a store response for one UID."""

    def __init__(self, uid: str) -> None:
        self.digest = ""
        self._uid = uid

    @contextmanager
    def serving(self) -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=self._serve, args=(listening,))
            thread.start()
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/dicom-web"
            thread.join(60)

    def _serve(self, listening: socket.socket) -> None:
        sock, _ = listening.accept()
        with sock, sock.makefile("rb") as stream:
            headers = {}
            for raw in iter(stream.readline, b"\r\n"):
                name, _, value = raw.decode().partition(":")
                headers[name.lower()] = value.strip()
            boundary = headers["content-type"].rpartition("boundary=")[2].encode()
            left, digest = int(headers["content-length"]), hashlib.sha256()
            stream.readline()
            left -= len(boundary) + 4
            while (line := stream.readline()) != b"\r\n":
                left -= len(line)
            left -= 2 + len(boundary) + 8
            while left:
                chunk = stream.read(min(left, 1 << 20))
                digest.update(chunk)
                left -= len(chunk)
            stream.read(len(boundary) + 8)
            self.digest = digest.hexdigest()
            body = json.dumps({"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [self._uid]}}]}}).encode()
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
@pytest.mark.parametrize("megabytes", [200, pytest.param(2048, marks=pytest.mark.slow)])
def test_an_image_is_never_in_memory_as_a_whole(tmp_path: Path, megabytes: int) -> None:
    one = instance(tmp_path, 0, pixels=b"")
    [piece] = one.data_set.pieces
    assert not isinstance(piece, bytes)
    file = piece.path
    head = file.read_bytes()[:-4]
    digest = hashlib.sha256(head + (megabytes << 20).to_bytes(4, "little"))
    with file.open("wb") as out:
        out.write(head + (megabytes << 20).to_bytes(4, "little"))
        for number in range(megabytes):
            block = number.to_bytes(4, "little") * (1 << 18)
            out.write(block)
            digest.update(block)
    drain = Drain(one.sop_instance_uid)
    with drain.serving() as url:
        code = DELIVER.format(module="stow_rs", name="StowRs")
        fields = json.dumps({"name": "pacs", "url": url})
        uids = json.dumps([CT, one.sop_instance_uid, EXPLICIT])
        done = subprocess.run(
            [sys.executable, "-c", code, file, fields, uids], capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=170,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["outcome"] == "confirmed"
    assert drain.digest == digest.hexdigest()
    assert said["after"] < 300 << 10  # kB
    assert said["after"] - said["before"] < 60 << 10
