"""For those who watch from outside: metrics for Prometheus, and events as they happen."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response, StreamingResponse
from prometheus_client.exposition import choose_encoder
from starlette.concurrency import run_in_threadpool

from engine.api.access import GuardedRoute, Who, still_admitted
from engine.api.events import EVENTS
from engine.api.parts import Here
from engine.errors import AxiomError

__all__ = ["router"]

router = APIRouter(tags=["Monitoring"], route_class=GuardedRoute)

STREAM = "text/event-stream"
TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "As the `Accept` header asks", "content": {
        "text/plain": {"schema": {"type": "string"}}, "application/openmetrics-text": {"schema": {"type": "string"}}}}
}  # fmt: skip
LINES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Until it is closed. " + " ".join(f"`{name}`: {words}" for name, words in EVENTS.items()),
        "content": {STREAM: {"schema": {"type": "string"}}},
    }
}


@router.get("/metrics", summary="Metrics for Prometheus: as text, or as OpenMetrics", response_class=Response, responses=TEXT)
def metrics(parts: Here, request: Request) -> Response:
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(parts.metrics.registry), headers={"Content-Type": media_type})


@router.get("/api/v1/events", summary="What happens, as it happens (SSE)", response_class=StreamingResponse, responses=LINES)
async def events(
    parts: Here, caller: Who, request: Request,
    last_event_id: Annotated[str, Header(max_length=64, description="Goes on behind this event, if it is still kept.")] = "",
) -> Response:  # fmt: skip
    who = caller.key or caller.username

    async def allowed() -> bool:
        try:
            return await run_in_threadpool(still_admitted, request, "events")
        except AxiomError:
            return True  # the store is away: nobody was signed out by that

    parts.events.enter(who)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(parts.events.stream(who, last_event_id, allowed), media_type=STREAM, headers=headers)
