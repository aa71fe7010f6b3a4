"""Crosswalks at work: what a map says of a value, how far the copies of the tables are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from engine.api.access import GuardedRoute, Who
from engine.api.parts import Here
from engine.errors import Hold, Retry

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["Crosswalk"], route_class=GuardedRoute)


class Values(BaseModel):
    values: list[Annotated[str, Field(min_length=1, max_length=1024)]] = Field(
        min_length=1, max_length=8, examples=[["4711"]]
    )
    """One for each matched tag, in the map's order."""


@router.get("/crosswalk/status", summary="Each map: its last sync, and the batches that wait for its database")
def crosswalk_status(parts: Here) -> dict[str, Any]:
    return parts.operations.crosswalk_status()


@router.post("/crosswalk_maps/{name}/lookup", summary="What a map says of one value")
def crosswalk_lookup(parts: Here, caller: Who, name: str, body: Values) -> dict[str, Any]:
    """Answers `{"map", "match", "found", "several", "replace": {tag: value} or null, "on_miss"}`."""
    parts.store.audit.write(
        who=caller.signature, action="look-up", family="crosswalk_maps", name=name, detail={}, address=caller.address
    )
    try:
        return parts.operations.crosswalk_lookup(name, body.values)
    except Hold as e:
        if e.waits_for:
            raise Retry(str(e)) from e
        raise


@router.post("/crosswalk_maps/{name}/sync", summary="Copy a map's whole table into the cache, soon", status_code=202)
def crosswalk_sync(parts: Here, caller: Who, name: str) -> dict[str, Any]:
    return parts.operations.crosswalk_ask_for_sync(name, caller.signature)
