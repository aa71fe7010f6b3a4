"""When a schedule is on: now, next, and in the days to come; a saved one's or a draft's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from engine.api.access import GuardedRoute
from engine.api.bodies import Whole
from engine.api.parts import Here
from engine.component import Moment
from engine.errors import Missing
from engine.rules.outlook import outlook
from engine.rules.schedule import Schedule

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["Schedules"], route_class=GuardedRoute)

At = Annotated[Moment | None, Query(description="As seen from this moment, with its offset from UTC; else from now.")]
Days = Annotated[Whole, Query(ge=1, le=31, description="So many days, from that of the moment on.")]


@router.get("/schedules/{name}/next-on", summary="When is this schedule next on?")
def schedule_next_on(parts: Here, name: str, at: At = None, days: Days = 7) -> dict[str, Any]:
    """`on` now, `next_on`, `next_off` (null: never again), and each day's stretches on the clock of the schedule's zone."""
    found = next((s for s in parts.store.live().configuration.schedules if s.name == name), None)
    if found is None:
        raise Missing(f"There is no schedule called {name}.")
    return outlook(found, at or datetime.now(UTC), days)


@router.post("/schedules/next-on", summary="When would this schedule be on?")
def draft_next_on(schedule: Schedule, at: At = None, days: Days = 7) -> dict[str, Any]:
    """The same of one that is not saved."""
    return outlook(schedule, at or datetime.now(UTC), days)
