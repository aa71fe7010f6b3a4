"""Errors as `application/problem+json` (RFC 9457): one shape for all, with a sentence and the places that are wrong."""

from __future__ import annotations

import http
import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from engine.configuration import words_of
from engine.errors import (
    AxiomError,
    Conflict,
    Denied,
    Hold,
    InUse,
    Invalid,
    Missing,
    OutOfSpace,
    Permanent,
    Refuse,
    Retry,
)

__all__ = ["PROBLEM_CONTENT", "PROBLEM_JSON", "PlaceOut", "ProblemOut", "handle_errors", "problem"]

PROBLEM_JSON = "application/problem+json"
PROBLEM_CONTENT: dict[str, Any] = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
"""What the document says of an answer that is an error."""

_log = logging.getLogger(__name__)


class PlaceOut(BaseModel):
    """One thing that is wrong, and where."""

    loc: list[str | int] = Field(examples=[["rulesets", "main", "rules", "ct", "when", "value"]])
    words: str = Field(examples=["There is no destination called pac; there are pacs."])


class ProblemOut(BaseModel):
    """What every error looks like (RFC 9457)."""

    type: str = Field(examples=["urn:axiom:problem:invalid"])
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["destinations.pacs.port: Input should be less than or equal to 65535"])
    problems: list[PlaceOut] = []
    used_by: list[str] | None = None
    """With 409, when something still needs it: what."""
    request_id: str = ""
    """Also in the answer's `X-Request-ID`, and in the log."""


def problem(
    request: Request,
    status: int,
    detail: str,
    *,
    slug: str = "",
    problems: list[dict[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    title = http.HTTPStatus(status).phrase
    body = {
        "type": f"urn:axiom:problem:{slug or title.lower().replace(' ', '-')}", "title": title, "status": status,
        "detail": detail, "problems": problems or [], "request_id": request.scope.get("axiom_request_id", ""), **more,
    }  # fmt: skip
    # escaped, for it may repeat half a character that came in
    return Response(json.dumps(body), status, headers, media_type=PROBLEM_JSON)


def handle_errors(app: FastAPI) -> None:
    """Every error of the engine, of FastAPI and of Starlette becomes a problem (`Hygiene` sees to what nobody expected)."""
    app.add_exception_handler(AxiomError, _axiom)
    app.add_exception_handler(RequestValidationError, _request)
    app.add_exception_handler(HTTPException, _http)


def _axiom(request: Request, error: Exception) -> Response:
    match error:
        case Invalid():
            places = [{"loc": list(p.loc), "words": p.words} for p in error.problems]
            return problem(request, 422, str(error), slug="invalid", problems=places)
        case Missing():
            return problem(request, 404, str(error), slug="missing")
        case InUse():
            return problem(request, 409, str(error), slug="in-use", used_by=list(error.users))
        case Conflict() if "if-match" in request.headers:
            return problem(request, 412, str(error), slug="changed-meanwhile")
        case Conflict():
            return problem(request, 409, str(error), slug="conflict")
        case Denied() if error.after is not None:
            headers = {"Retry-After": f"{error.after:.0f}"}
            return problem(request, 429, str(error), slug="too-many-attempts", headers=headers)
        case Denied() if error.known:
            return problem(request, 403, str(error), slug="not-allowed")
        case Denied():
            return problem(request, 401, str(error), slug="sign-in", headers={"WWW-Authenticate": "Bearer"})
        case OutOfSpace():
            return problem(request, 507, str(error), slug="out-of-space")
        case Retry():
            headers = {"Retry-After": f"{error.after or 5:.0f}"}
            return problem(request, 503, str(error), slug="try-again", headers=headers)
        case Hold() | Refuse() | Permanent():
            return problem(request, 422, str(error), slug="refused")
    _log.error("%s", error)
    return problem(request, 500, str(error))


def _request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    places: list[dict[str, Any]] = []
    for e in error.errors():
        loc = [part for part in e["loc"] if part != "body"] if e["type"] != "json_invalid" else []
        places.append({"loc": loc, "words": "This is not JSON." if e["type"] == "json_invalid" else words_of(e)})
    detail = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['words']}" if p["loc"] else p["words"] for p in places)
    return problem(request, 422, detail, slug="invalid", problems=places)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {
        404: "There is nothing at this address; /api/v1/docs shows what there is.",
        405: "This address does not take this method.",
        413: "The request is too large.",
    }
    detail = words.get(error.status_code, str(error.detail))
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
    return problem(request, error.status_code, detail, headers=headers)


def _allowed(request: Request) -> str:
    """Every method of this address (RFC 9110 15.5.6): several routes may share it, and one that is meant for it alone counts
    before one with a name in its place."""
    here = [r for r in request.app.routes if isinstance(r, APIRoute) and r.matches(request.scope)[0] is not Match.NONE]
    exact = [r for r in here if not r.param_convertors]
    return ", ".join(sorted({method for r in exact or here for method in r.methods or ()}))
