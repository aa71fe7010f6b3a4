"""A double of Cloud Storage's JSON API for what the emulator does not do: preconditions, resumable sessions that break and
go on, checksums that do not fit, rights, tokens. It is a double: written from Google's public documents.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import google_crc32c

from tests.doubles.google_tokens import GoogleTokens, google_error
from tests.doubles.server import Answer, Asked, serve

__all__ = ["CloudStorage", "Stored", "cloud_storage"]

SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write", "https://www.googleapis.com/auth/cloud-platform")
GRANULE = 256 << 10


@dataclass
class Stored:
    """An object."""

    data: bytes
    generation: int
    about: dict[str, Any]


@dataclass
class Session:
    """A resumable upload that is not done."""

    about: dict[str, Any]
    over: int | None
    data: bytearray = field(default_factory=bytearray)


class CloudStorage:
    """One bucket. `next` answers come first; `keep` says how many bytes of the next chunks arrive before they fail."""

    def __init__(self) -> None:
        self.tokens = GoogleTokens()
        self.url = ""
        self.objects: dict[str, Stored] = {}
        self.rights = ["storage.objects.create", "storage.objects.get", "storage.objects.delete"]
        self.asked: list[Asked] = []
        self.breaks: list[tuple[int, Answer]] = []
        """For each next chunk: how many of its bytes are kept (in granules of 256 KiB), and what is answered then."""
        self.next: list[Answer] = []
        self.spoil = False
        """Whether the next object arrives with a byte changed, unnoticed."""
        self._sessions: dict[str, Session] = {}
        self._generation = 1000
        self._lock = threading.Lock()

    def forget_sessions(self) -> None:
        self._sessions.clear()

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/token":
            return self.tokens.answer(asked)
        with self._lock:
            self.asked.append(asked)
            if refused := self.tokens.refuse(asked, *SCOPES):
                return refused
            if self.next:
                return self.next.pop(0)
            if found := re.fullmatch(r"/storage/v1/b/bucket/o/([^/]+)", asked.path):
                return self._object(asked, unquote(found[1]))
            if asked.path == "/storage/v1/b/bucket/iam/testPermissions":
                return _json({"permissions": [p for p in asked.query["permissions"] if p in self.rights]})
            if asked.path == "/upload/storage/v1/b/bucket/o":
                return self._upload(asked)
            return google_error(404, "NOT_FOUND", "The specified bucket does not exist.")

    def _object(self, asked: Asked, name: str) -> Answer:
        there = self.objects.get(name)
        if there is None:
            return google_error(404, "NOT_FOUND", f"No such object: bucket/{name}")
        if asked.method == "DELETE":
            if asked.param("ifGenerationMatch") not in ("", str(there.generation)):
                return _precondition()
            del self.objects[name]
            return Answer(204)
        return _json(_resource(name, there))

    def _upload(self, asked: Asked) -> Answer:
        if asked.method == "PUT":
            return self._chunk(asked, asked.param("upload_id"))
        over = int(asked.param("ifGenerationMatch")) if "ifGenerationMatch" in asked.query else None
        if asked.param("uploadType") == "multipart":
            boundary = re.search(r"boundary=(\S+)", asked.headers["Content-Type"])[1].encode()  # type: ignore[index]
            about, data = [
                part.split(b"\r\n\r\n", 1)[1] for part in (b"\r\n" + asked.body).split(b"\r\n--" + boundary)[1:-1]
            ]
            return self._make(json.loads(about), over, data)
        about = json.loads(asked.body)
        if over is not None and over != self._there(about["name"]):
            return _precondition()
        name = f"session-{len(self._sessions)}-{len(self.asked)}"
        self._sessions[name] = Session(about, over)
        return Answer(200, headers={"Location": f"{self.url}{asked.path}?uploadType=resumable&upload_id={name}"})

    def _chunk(self, asked: Asked, name: str) -> Answer:
        session = self._sessions.get(name)
        if session is None:
            return Answer(410, b"Gone", {"Content-Type": "text/plain"})
        found = re.fullmatch(r"bytes (?:\*|(\d+)-(\d+))/(\d+)", asked.headers["Content-Range"])
        assert found
        total = int(found[3])
        if found[1] is not None:
            first, end = int(found[1]), int(found[2]) + 1
            if first > len(session.data):
                return google_error(503, "UNAVAILABLE", "The chunk begins behind what is there.")
            assert len(asked.body) == end - first
            assert end == total or (end - first) % GRANULE == 0
            if self.breaks:
                keep, said = self.breaks.pop(0)
                session.data[first:] = asked.body[: keep // GRANULE * GRANULE]
                return said
            session.data[first:] = asked.body
        if len(session.data) < total:
            reached = {"Range": f"bytes=0-{len(session.data) - 1}"} if session.data else {}
            return Answer(308, headers=reached)
        del self._sessions[name]
        return self._make(session.about, session.over, bytes(session.data))

    def _make(self, about: dict[str, Any], over: int | None, data: bytes) -> Answer:
        if over is not None and over != self._there(about["name"]):
            return _precondition()
        if about.get("crc32c") not in (None, _crc(data)):
            return google_error(400, "INVALID_ARGUMENT", f"Provided CRC32C does not match the computed {_crc(data)}.")
        if self.spoil:
            data, self.spoil = bytes([data[0] ^ 1]) + data[1:], False
        self._generation += 1
        self.objects[about["name"]] = Stored(data, self._generation, about)
        return _json(_resource(about["name"], self.objects[about["name"]]))

    def _there(self, name: str) -> int:
        there = self.objects.get(name)
        return there.generation if there else 0


@contextmanager
def cloud_storage() -> Iterator[CloudStorage]:
    double = CloudStorage()
    with serve(double.answer) as url:
        double.url = url
        double.tokens.url = f"{url}/token"
        yield double


def _crc(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def _resource(name: str, one: Stored) -> dict[str, str]:
    return {"name": name, "generation": str(one.generation), "crc32c": _crc(one.data), "size": str(len(one.data))}


def _json(said: Any) -> Answer:
    return Answer(200, json.dumps(said).encode(), {"Content-Type": "application/json; charset=UTF-8"})


def _precondition() -> Answer:
    return google_error(412, "FAILED_PRECONDITION", "At least one of the pre-conditions you specified did not hold.")
