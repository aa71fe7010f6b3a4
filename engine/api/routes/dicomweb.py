"""STOW-RS (PS3.18 10.5): images come in over the web, streamed to the spool; the answer says what is on disk."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import anyio.from_thread
import anyio.to_thread
from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from engine.api.access import GuardedRoute, Who
from engine.api.parts import Here
from engine.api.problems import PROBLEM_CONTENT, problem
from engine.connection.multipart import MultipartError
from engine.dicom.network.uids import is_uid
from engine.dicom.store_response import StoreResponse
from engine.errors import Missing, Retry
from engine.operations.reception import StoreDoor
from engine.sources.stow_rs import BrokenOff, not_taken

__all__ = ["STREAMED", "router"]

router = APIRouter(prefix="/api/v1", tags=["DICOMweb"], route_class=GuardedRoute)

STREAMED: Final = "/api/v1/dicomweb/studies"
JSON, XML = "application/dicom+json", "application/dicom+xml"

_log = logging.getLogger(__name__)

_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_ANSWER: Final = {JSON: {"schema": {"type": "object"}}, XML: {"schema": {"type": "string"}}}
_DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "All instances are stored: `ReferencedSOPSequence` (0008,1199) names them", "content": _ANSWER},
    202: {
        "description": "Some are stored; `FailedSOPSequence` (0008,1198) and `OtherFailuresSequence` (0008,119A) name the rest, "
        "with reasons", "content": _ANSWER,
    },
    400: {"description": "The request cannot be read: nothing was stored", "content": PROBLEM_CONTENT},
    408: {"description": "The sender was silent for too long", "content": PROBLEM_CONTENT},
    409: {"description": "None could be stored: the answer says why of each", "content": _ANSWER},
    413: {
        "description": "The request, or its only instances, are larger than the source takes",
        "content": _ANSWER | PROBLEM_CONTENT,
    },
    415: {"description": "A type of body that is not taken", "content": PROBLEM_CONTENT},
    503: {"description": "No engine beside this API, or too many requests at once: try again", "content": PROBLEM_CONTENT},
    507: {"description": "No room: the spool is below its watermark", "content": _ANSWER | PROBLEM_CONTENT},
}  # fmt: skip
_NONE: Final[dict[int | str, dict[str, Any]]] = {
    404: {"description": "Nothing is kept here to be found", "content": PROBLEM_CONTENT}
}
_BODIES: Final = {"requestBody": {"required": True, "content": {"multipart/related": _BINARY, "application/dicom": _BINARY}}}

_under_way: Counter[str] = Counter()
"""Requests by source, in this process. The event loop alone touches it."""


@router.post(
    "/dicomweb/studies", summary="Store instances (STOW-RS)", responses=_DOCUMENTED, openapi_extra=_BODIES,
    response_class=Response,
)  # fmt: skip
@router.post(
    "/dicomweb/studies/{study}", summary="Store instances of one study (STOW-RS)", responses=_DOCUMENTED,
    openapi_extra=_BODIES, response_class=Response,
)  # fmt: skip
async def store_instances(request: Request, parts: Here, caller: Who, study: str = "") -> Response:
    """`multipart/related; type="application/dicom"` (or `type="application/dicom+json"` with bulk data), or one instance as
    `application/dicom`. A source of kind `stow_rs` has to be configured. What is answered as stored is on disk."""
    content_type = request.headers.get("content-type", "")
    try:
        words = not_taken(content_type, request.headers.get("content-encoding", ""))
    except MultipartError as e:
        return problem(request, 400, str(e))
    if words:
        return problem(request, 415, words)
    if "study" in request.path_params and not is_uid(study):
        return problem(request, 400, "The study in the address is no UID.")
    door = await run_in_threadpool(parts.operations.store_door, caller.sender, caller.address)
    source = door.source
    limit = None if source.max_request_mb is None else source.max_request_mb << 20
    said = request.headers.get("content-length", "0")
    if limit is not None and (not said.isdigit() or int(said) > limit):
        return problem(request, 413, _Body.too_long(limit))
    if _under_way[source.name] >= source.max_requests:
        raise Retry(f"The source {source.name} has {source.max_requests} requests under way already: try again.")
    _under_way[source.name] += 1
    try:
        return await _receive(request, door, _Body(request, source.network_timeout, limit), content_type, study)
    finally:
        _under_way[source.name] -= 1


async def _receive(request: Request, door: StoreDoor, body: _Body, content_type: str, study: str) -> Response:
    """The work goes on in a thread of its own: disks block, and the threads of other routes are not to wait for senders."""
    alone = anyio.CapacityLimiter(1)
    try:
        response = await anyio.to_thread.run_sync(door.receive, body, content_type, study, limiter=alone)
    except BrokenOff as e:
        return problem(request, e.status, str(e))
    except MultipartError as e:
        return problem(request, 400, f"{e} Nothing was stored.")
    _log.info("%s: %d stored, %d not", door.source.name, len(response.stored), len(response.failed))
    return _answer(response, request.headers.get("accept", ""))


class _Body:
    """The request's body as the thread that stores it reads it: each chunk is fetched from the event loop."""

    def __init__(self, request: Request, patience: float, limit: int | None) -> None:
        self._stream: AsyncIterator[bytes] = request.stream()
        self._patience = patience
        self._limit = limit
        self._came = 0

    def __iter__(self) -> Iterator[bytes]:
        """Raises BrokenOff when the sender goes, falls silent, or sends more than is taken."""
        while (chunk := anyio.from_thread.run(self._next)) is not None:
            self._came += len(chunk)
            if self._limit is not None and self._came > self._limit:
                raise BrokenOff(self.too_long(self._limit), 413)
            if chunk:
                yield chunk

    @staticmethod
    def too_long(limit: int) -> str:
        return f"The request is longer than the {limit >> 20} MB that this source takes: send fewer instances at once."

    async def _next(self) -> bytes | None:
        try:
            with anyio.fail_after(self._patience):
                return await anext(self._stream, None)
        except TimeoutError as e:
            raise BrokenOff(f"Nothing came for {self._patience:g} seconds, so the request was broken off.", 408) from e
        except ClientDisconnect as e:
            raise BrokenOff("The sender closed the connection before the request was whole.") from e


def _answer(response: StoreResponse, accept: str) -> Response:
    if _prefers_xml(accept):
        return Response(response.as_xml(), response.status, media_type=XML)
    return Response(response.as_json(), response.status, media_type=JSON)


def _prefers_xml(accept: str) -> bool:
    """Whether XML is asked for, and JSON not more so (RFC 9110 12.5.1). Who asks for neither gets JSON."""
    wanted = {"json": 0.0, "xml": 0.0}
    for one in accept.lower().split(","):
        kind, *parameters = (p.strip() for p in one.split(";"))
        weight = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
        form = {JSON: "json", "application/json": "json", XML: "xml", "application/xml": "xml", "text/xml": "xml"}.get(kind)
        if form is not None and re.fullmatch(r"[0-9]{1,3}(\.[0-9]{0,3})?", weight):
            wanted[form] = max(wanted[form], float(weight))
    return wanted["xml"] > wanted["json"]


@router.get(
    "/dicomweb/studies", summary="Search (QIDO-RS): there is none, as the answer says", status_code=404, responses=_NONE
)
@router.get(
    "/dicomweb/studies/{study}", summary="Retrieve (WADO-RS): there is none, as the answer says", status_code=404,
    responses=_NONE,
)  # fmt: skip
@router.get("/dicomweb/{rest:path}", include_in_schema=False)
def no_archive(rest: str = "", study: str = "") -> None:
    raise Missing(
        "Axiom Flow is a router, not an archive: it takes instances (POST /api/v1/dicomweb/studies) and passes them on. "
        "Search and retrieve (QIDO-RS, WADO-RS) where they were sent to."
    )
