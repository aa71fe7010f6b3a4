"""The data browser: what the sources that can be asked have, and what of it is to be fetched and routed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, StrictInt

from engine.api.access import GuardedRoute, Who
from engine.api.bodies import Whole
from engine.api.notes import note, veil
from engine.api.parts import Here
from engine.api.problems import PROBLEM_CONTENT, problem
from engine.errors import Permanent, Retry
from engine.operations.browser import TIMED_OUT

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["Data browser"], route_class=GuardedRoute)

Level = Literal["patient", "study", "series", "instance"]
_PEER: dict[int | str, dict[str, Any]] = {
    502: {"content": PROBLEM_CONTENT, "description": "The peer cannot be reached, or refuses: in its own words"},
    503: {"content": PROBLEM_CONTENT, "description": "Too many questions to it have no answer yet"},
    504: {"content": PROBLEM_CONTENT, "description": "The peer did not answer in time"},
}


class QueryBody(BaseModel):
    source: str = Field(min_length=1, max_length=63, examples=["pacs"])
    level: Level = "study"
    filters: dict[Annotated[str, Field(max_length=200)], Annotated[str, Field(max_length=1024)]] = Field(
        default={}, max_length=50, examples=[{"PatientID": "123", "StudyDate": "-7d.."}]
    )
    """Tag path -> what is sought: a value, `DOE*`, `20260101-20260131`, or relative dates (`-1d`, `-7d..`)."""
    fields: list[Annotated[str, Field(max_length=200)]] = Field(default=[], max_length=50, examples=[["InstitutionName"]])
    """Tag paths that are wanted besides the usual ones."""
    limit: int = Field(100, ge=1, le=5000, strict=True)
    offset: int = Field(0, ge=0, le=1_000_000, strict=True)
    timeout: float = Field(30.0, gt=0, le=300, strict=True)
    """Seconds after which the answer is given up; what has come by then is given."""


class Item(BaseModel):
    """A match as the query gave it; its level and UIDs are needed."""

    level: Level = "study"
    study_instance_uid: str = Field("", max_length=64)
    series_instance_uid: str = Field("", max_length=64)
    sop_instance_uid: str = Field("", max_length=64)
    instances: StrictInt | None = None
    attributes: dict[str, dict[str, Any]] = Field(default={}, max_length=200)


class RouteBody(BaseModel):
    source: str = Field(min_length=1, max_length=63, examples=["pacs"])
    items: list[Item] = Field(min_length=1, max_length=5000)


@router.get("/data-browser/sources", summary="The sources that can be asked")
def browse_sources(parts: Here) -> list[dict[str, Any]]:
    return parts.operations.browse_sources()


@router.post("/data-browser/query", summary="What a source has", response_model=None, responses=_PEER)
def browse(request: Request, parts: Here, caller: Who, body: QueryBody) -> dict[str, Any] | Response:
    """Answers `{"matches": [{level, study_instance_uid, series_instance_uid, sop_instance_uid, instances, attributes}],
    "more", "words", ...}`: `more` tells that there are more, `words` why the answer is not whole."""
    sought = {path: veil(parts, text) for path, text in body.filters.items()}
    note(parts, caller, "query-patients", "sources", {"level": body.level, "sought": sought}, name=body.source)
    try:
        return parts.operations.browse(
            body.source, body.level, body.filters, body.fields, limit=body.limit, offset=body.offset,
            seconds=body.timeout, mask=caller.masked,
        )  # fmt: skip
    except (Retry, Permanent) as e:
        return _of_peer(request, e)


@router.post(
    "/data-browser/route", summary="Fetch what was chosen and send it through the rules", status_code=202,
    response_model=None, responses=_PEER,
)  # fmt: skip
def route_selected(request: Request, parts: Here, caller: Who, body: RouteBody) -> dict[str, Any] | Response:
    """Answers the route; `GET /data-browser/routes/{id}` says how far it is, also after a restart."""
    try:
        return parts.operations.route_selected(
            body.source, [item.model_dump() for item in body.items], caller.signature
        )
    except (Retry, Permanent) as e:
        return _of_peer(request, e)


@router.get("/data-browser/routes", summary="What was chosen to be fetched, the newest first")
def selected_routes(parts: Here, limit: Annotated[Whole, Query(ge=1, le=500)] = 50) -> list[dict[str, Any]]:
    return parts.operations.selected_routes(limit)


@router.get("/data-browser/routes/{route}", summary="How far it is, item by item")
def selected_route(parts: Here, route: str) -> dict[str, Any]:
    """`state` is `running`, `done` or `failed`; that of an item `waiting fetching retrying fetched failed gone`."""
    return parts.operations.selected_route(route)


def _of_peer(request: Request, error: Retry | Permanent) -> Response:
    """What the peer said, or that it said nothing: its failure, not ours."""
    if error.code == TIMED_OUT:
        return problem(request, 504, str(error), slug="peer-timed-out")
    if isinstance(error, Retry) and error.after is not None and not error.code:
        return problem(request, 503, str(error), slug="try-again", headers={"Retry-After": f"{error.after:.0f}"})
    return problem(request, 502, str(error), slug="peer-failed", code=error.code)
