"""What the engine does now: its state, what flows, what is held, what waits; and the buttons beside them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from engine.api.access import GuardedRoute, Who
from engine.api.bodies import Whole
from engine.api.parts import Here

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["What flows"], route_class=GuardedRoute)

Limit = Annotated[Whole, Query(ge=1, le=10_000)]


class Ids(BaseModel):
    ids: list[Annotated[str, Field(min_length=1, max_length=300)]] = Field(min_length=1, max_length=10_000)


class Discard(Ids):
    reason: str = Field(min_length=1, max_length=500, examples=["test images"])
    """Kept in the audit and the history."""


@router.get("/status", summary="Listeners, queues, workers, spool and destinations of this node")
def status(parts: Here) -> dict[str, Any]:
    return parts.operations.status()


@router.get("/flow", summary="What went from where to where in the last minutes")
def flow(parts: Here, minutes: Annotated[Whole, Query(ge=1, le=10_080)] = 60) -> dict[str, Any]:
    return parts.operations.flow_picture(minutes)


@router.get("/held", summary="Batches that wait for a person, with their reasons")
def held(parts: Here, caller: Who, limit: Limit = 200) -> list[dict[str, Any]]:
    return parts.operations.held(limit, mask=caller.masked)


@router.post("/held/retry", summary="Send held batches through the rules again")
def retry_held(parts: Here, caller: Who, body: Ids) -> dict[str, Any]:
    return parts.operations.retry_held(body.ids, caller.signature)


@router.post("/held/discard", summary="Throw held batches away for good")
def discard_held(parts: Here, caller: Who, body: Discard) -> dict[str, Any]:
    return parts.operations.discard_held(body.ids, body.reason, caller.signature)


@router.get("/unmatched", summary="Batches that no rule matched")
def unmatched(parts: Here, caller: Who, limit: Limit = 200) -> list[dict[str, Any]]:
    return parts.operations.unmatched(limit, mask=caller.masked)


@router.post("/unmatched/replay", summary="Send them through the rules again")
def replay_unmatched(parts: Here, caller: Who, body: Ids) -> dict[str, Any]:
    return parts.operations.replay_unmatched(body.ids, caller.signature)


@router.get("/deliveries", summary="Deliveries that are not done")
def deliveries(
    parts: Here,
    state: Literal["waiting", "sending", "dead"] | None = None,
    destination: Annotated[str | None, Query(max_length=63)] = None,
    limit: Limit = 200,
) -> list[dict[str, Any]]:
    return parts.operations.deliveries(state, destination, limit)


@router.post("/deliveries/retry", summary="Try deliveries again now; what was confirmed is not sent again")
def retry_deliveries(parts: Here, caller: Who, body: Ids) -> dict[str, Any]:
    return parts.operations.retry_deliveries(body.ids, caller.signature)


@router.get("/gatherings", summary="Series and studies that are gathered before they go")
def gatherings(parts: Here, limit: Limit = 200) -> list[dict[str, Any]]:
    return parts.operations.gatherings(limit)


@router.post("/gatherings/send-now", summary="Deliver them now, with what has come so far")
def send_gatherings(parts: Here, caller: Who, body: Ids) -> dict[str, Any]:
    return parts.operations.send_gatherings(body.ids, caller.signature)


@router.post("/deliveries/discard", summary="Give up what is left of deliveries")
def discard_deliveries(parts: Here, caller: Who, body: Discard) -> dict[str, Any]:
    return parts.operations.discard_deliveries(body.ids, body.reason, caller.signature)
