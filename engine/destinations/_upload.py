"""One object into Google Cloud Storage by its JSON API: in one request when it is small, else resumable.

A resumable upload goes on where it stopped (after 5xx, 408, 429 and broken connections the session is asked how far it
came), and begins anew when its session is gone (404, 410). The object appears whole or not at all, only if the generation
under its name is the one that was expected, and its CRC32C as Cloud Storage computed it must be ours.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

import google_crc32c
import httpx

from engine.connection.http import HttpClient, retry_after
from engine.connection.multipart import MultipartWriter
from engine.dicom.content import Content
from engine.dicom.source import Source
from engine.errors import Permanent, Retry

__all__ = ["ArrivedChanged", "Bucket", "Found", "OtherGeneration", "crc32c_of"]

SMALL = 4 << 20
"""Up to here one request does: a resumable upload takes two, and a broken one loses little."""
CHUNK = 16 << 20
"""Bytes of a resumable request; a multiple of 256 KiB, as Cloud Storage wants it. They are streamed, not held."""
RESUMES = 6
"""How often in a row an upload is taken up again without any progress."""
FIRST_PAUSE = 0.5
_FIELDS = {"fields": "name,generation,crc32c,size"}
_GONE = {"404", "410"}


class OtherGeneration(Exception):
    """What stands under the name is not what was expected (412)."""


class ArrivedChanged(Exception):
    """Cloud Storage has other bytes than were read here."""


class Found(NamedTuple):
    """An object that is there."""

    generation: int
    crc32c: str
    size: int


@dataclass(frozen=True)
class Bucket:
    """A bucket, over one client. `stop` ends the pauses of a resumed upload."""

    client: HttpClient
    name: str
    stop: threading.Event

    def find(self, name: str) -> Found | None:
        """The object of this name, None when there is none. Raises Retry or Permanent."""
        answer = self.client.request("GET", self._path(name), params=_FIELDS, takes=(404,))
        return None if answer.status_code == 404 else _found(answer)

    def delete(self, name: str, generation: int) -> None:
        """Delete that generation; one that is gone is as well. Raises Retry or Permanent."""
        self.client.request("DELETE", self._path(name), params={"ifGenerationMatch": generation}, takes=(404, 412))

    def put(self, name: str, content: Content, about: Mapping[str, Any], crc32c: str, *, over: int = 0) -> Found:
        """Make the object; `about` is its metadata, `over` the generation that it replaces (0: none is there).

        Raises OtherGeneration, ArrivedChanged (it has been deleted again), Retry, Permanent, and what reading raises.
        """
        resource = {"name": name, "contentType": "application/dicom", "crc32c": crc32c, **about}
        params: dict[str, str | int] = {"name": name, "ifGenerationMatch": over}
        send = self._at_once if content.length <= SMALL else self._resumable
        found = send(content, resource, params)
        if (found.crc32c, found.size) != (crc32c, content.length):
            self.delete(name, found.generation)
            raise ArrivedChanged
        return found

    def may(self, permissions: tuple[str, ...]) -> set[str]:
        """Which of these rights we have on the bucket. Raises Retry or Permanent."""
        asked = [("permissions", p) for p in permissions]
        answer = self.client.request("GET", f"storage/v1/b/{self.name}/iam/testPermissions", params=asked)
        try:
            return set(answer.json().get("permissions", []))
        except (ValueError, AttributeError, TypeError) as error:
            raise Retry("The answer to a question for our rights cannot be read.") from error

    def _path(self, name: str) -> str:
        return f"storage/v1/b/{self.name}/o/{quote(name, safe='')}"

    @property
    def _uploads(self) -> str:
        return f"upload/storage/v1/b/{self.name}/o"

    def _at_once(self, content: Content, resource: Mapping[str, Any], params: dict[str, str | int]) -> Found:
        about = Content((json.dumps(resource).encode(),))
        writer = MultipartWriter(
            [({"Content-Type": "application/json; charset=UTF-8"}, about), ({"Content-Type": "application/dicom"}, content)],
            "application/json",
        )
        headers = {"Content-Type": writer.content_type, "Content-Length": str(writer.length)}
        params = {"uploadType": "multipart", **params}
        return _made(
            self.client.request("POST", self._uploads, params=params, headers=headers, body=lambda: writer, takes=(412,))
        )

    def _resumable(self, content: Content, resource: Mapping[str, Any], params: dict[str, str | int]) -> Found:
        for last in (False, True):
            session = self._begin(content, resource, params)
            try:
                return self._send(session, content)
            except Permanent as error:
                if error.code not in _GONE or last:
                    raise
        raise AssertionError  # the second round returns or raises

    def _begin(self, content: Content, resource: Mapping[str, Any], params: dict[str, str | int]) -> str:
        """The URI of a new upload session."""
        headers = {
            "Content-Type": "application/json; charset=UTF-8",
            "X-Upload-Content-Type": "application/dicom",
            "X-Upload-Content-Length": str(content.length),
        }
        params = {"uploadType": "resumable", **params}
        body = json.dumps(resource).encode()
        answer = self.client.request("POST", self._uploads, params=params, headers=headers, body=body, takes=(412,))
        if answer.status_code == 412:
            raise OtherGeneration
        session: str = answer.headers.get("Location", "")
        if not session:
            raise Retry("Cloud Storage began an upload without naming its session.", str(answer.status_code))
        return session

    def _send(self, session: str, content: Content) -> Found:
        at, stuck = 0, 0
        ask = False
        while True:
            try:
                answer = self._state(session, content) if ask else self._chunk(session, content, at)
            except Retry as error:
                stuck += 1
                if stuck > RESUMES or self.stop.wait(_pause(stuck, error.after)):
                    raise
                ask = True
                continue
            if answer.status_code != 308:
                return _made(answer)
            reached = _reached(answer)
            stuck = 0 if reached > at else stuck + 1
            if stuck > RESUMES:
                raise Retry(f"The upload does not get beyond {reached} of {content.length} bytes.", "308")
            at, ask = reached, False

    def _chunk(self, session: str, content: Content, at: int) -> httpx.Response:
        end = min(at + CHUNK, content.length)
        headers = {"Content-Length": str(end - at), "Content-Range": f"bytes {at}-{end - 1}/{content.length}"}
        return self.client.request("PUT", session, headers=headers, body=_part(content, at, end), takes=(308, 412))

    def _state(self, session: str, content: Content) -> httpx.Response:
        """How far the session came."""
        headers = {"Content-Length": "0", "Content-Range": f"bytes */{content.length}"}
        return self.client.request("PUT", session, headers=headers, takes=(308, 412))


def _part(content: Content, at: int, end: int) -> Callable[[], Iterator[bytes]]:
    return lambda: Content(tuple(Source(content.pieces).cut(at, end))).chunks()


def _pause(stuck: int, asked: float | None) -> float:
    return max(FIRST_PAUSE * 2.0 ** (stuck - 1), min(asked or 0.0, 30.0))


def _reached(answer: httpx.Response) -> int:
    """Bytes that the session has: none without a Range header."""
    found = re.fullmatch(r"bytes=0-(\d+)", answer.headers.get("Range", ""))
    return int(found[1]) + 1 if found else 0


def _made(answer: httpx.Response) -> Found:
    if answer.status_code == 412:
        raise OtherGeneration
    return _found(answer)


def _found(answer: httpx.Response) -> Found:
    try:
        said = answer.json()
        return Found(int(said["generation"]), str(said["crc32c"]), int(said["size"]))
    except (ValueError, KeyError, TypeError) as error:
        after = retry_after(answer.headers.get("Retry-After", ""))
        raise Retry("Cloud Storage's answer does not describe the object.", str(answer.status_code), after) from error


def crc32c_of(content: Content) -> str:
    """As Cloud Storage writes it: big endian, in base64. Raises what reading raises."""
    checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    for chunk in content.chunks():
        checksum.update(chunk)
    return base64.b64encode(checksum.digest()).decode()
