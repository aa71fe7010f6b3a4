"""Pollers and back-fills: how far they are, and the buttons beside them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from engine.api.access import GuardedRoute, Who
from engine.api.bodies import Whole
from engine.api.parts import Here
from engine.component import Date

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["Pollers"], route_class=GuardedRoute)

Limit = Annotated[Whole, Query(ge=1, le=10_000)]


class Studies(BaseModel):
    studies: list[Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[0-9.]+$")]] = Field(
        default=[], max_length=10_000, examples=[["1.2.840.113619.2.55.3"]]
    )
    """Study Instance UIDs; empty: all that could not be fetched."""


class NewBackfill(BaseModel):
    model_config = ConfigDict(populate_by_name=True, extra="forbid")

    source: str = Field(min_length=1, max_length=63, examples=["archive"])
    """The source's name."""
    first: Date = Field(alias="from", examples=["2026-01-01"])
    """The first study date."""
    last: Date = Field(alias="to", examples=["2026-01-31"])
    """The last study date."""
    again: StrictBool = False
    """Whether what was fetched before is fetched again."""


@router.get("/pollers", summary="Sources that can be asked: state, next time, what was seen, fetched and not")
def pollers(parts: Here) -> list[dict[str, Any]]:
    return parts.operations.polling.pollers()


@router.post("/pollers/{name}/poll", summary="Ask a source now, whatever its interval", status_code=202)
def poll_now(parts: Here, caller: Who, name: str) -> dict[str, Any]:
    return parts.operations.polling.poll_now(name, caller.signature)


@router.get("/pollers/{name}/troubles", summary="What could not be fetched, and why")
def poll_troubles(parts: Here, caller: Who, name: str, limit: Limit = 200) -> list[dict[str, Any]]:
    return parts.operations.polling.troubled(name, limit, mask=caller.masked)


@router.post("/pollers/{name}/retry", summary="Try again now what could not be fetched", status_code=202)
def retry_polled(parts: Here, caller: Who, name: str, body: Studies) -> dict[str, Any]:
    return parts.operations.polling.retry(name, body.studies, caller.signature)


@router.get("/backfills", summary="Back-fills, the newest first")
def list_backfills(parts: Here, source: Annotated[str, Query(max_length=63)] = "", limit: Limit = 100) -> list[dict[str, Any]]:
    return parts.operations.polling.backfills(source, limit)


@router.post("/backfills", summary="Fetch all studies of a range of days", status_code=201)
def create_backfill(parts: Here, caller: Who, body: NewBackfill) -> dict[str, Any]:
    return parts.operations.polling.create_backfill(body.source, body.first, body.last, caller.signature, again=body.again)


@router.get("/backfills/{backfill}", summary="How far a back-fill is")
def get_backfill(parts: Here, backfill: str) -> dict[str, Any]:
    return parts.operations.polling.backfill(backfill)


@router.post("/backfills/{backfill}/{action}", summary="Pause, resume or cancel a back-fill")
def change_backfill(
    parts: Here, caller: Who, backfill: str, action: Literal["pause", "resume", "cancel"]
) -> dict[str, Any]:
    return parts.operations.polling.change_backfill(backfill, action, caller.signature)
