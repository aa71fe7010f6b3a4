"""The order of rules, and revisions that become live at a time."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, Field

from engine.api.access import GuardedRoute, Who
from engine.api.bodies import Whole, etag, expected_revision
from engine.api.openapi import REF
from engine.api.parts import Here
from engine.component import Moment

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", route_class=GuardedRoute)

Expected = Annotated[int | None, Depends(expected_revision)]
Number = Annotated[Whole, Path(ge=1, le=2_000_000_000)]


class Move(BaseModel):
    """Neither: behind all others."""

    before: str | None = Field(None, max_length=63, examples=["ct-to-pacs"])
    after: str | None = Field(None, max_length=63)
    reason: str = Field("", max_length=500)


class Plan(BaseModel):
    revision: Annotated[int, Field(ge=1, le=2_000_000_000, strict=True)]
    at: Moment = Field(examples=["2099-01-31T06:00:00+01:00"])
    reason: str = Field("", max_length=500)


class PlanOut(BaseModel):
    id: int
    revision: int
    at: str
    who: str
    reason: str
    ended_at: str | None
    """Null: it is to come."""
    outcome: str


@router.post(
    "/rulesets/{name}/rules/{rule}/move", tags=["Rulesets"], summary="Put a rule before or after another one",
    responses={200: {"content": {"application/json": {"schema": {"$ref": f"{REF}Ruleset"}}}}},
)  # fmt: skip
def move_rule(
    parts: Here, caller: Who, name: str, rule: str, body: Move, expected: Expected, response: Response
) -> Any:
    """Priorities are numbered anew: 10, 20, 30, ... Answers the ruleset."""
    revision = parts.store.move_rule(
        name, rule, before=body.before, after=body.after, author=caller.signature, reason=body.reason, expected=expected,
        address=caller.address,
    )  # fmt: skip
    response.headers["ETag"] = etag(revision)
    return parts.store.item("rulesets", name)


@router.get("/activations", tags=["Configuration"], summary="Revisions that become live at a time, and what became of them")
def list_activations(parts: Here, limit: Annotated[Whole, Query(ge=1, le=1000)] = 100) -> list[PlanOut]:
    return [PlanOut(**one.as_json()) for one in parts.store.activations.list(limit)]


@router.post("/activations", tags=["Configuration"], summary="Have a revision become live at a time", status_code=201)
def create_activation(parts: Here, caller: Who, body: Plan) -> PlanOut:
    """A running engine does it, within a second; the configuration is then as in that revision, whatever was saved between."""
    plan = parts.store.activations.plan(
        body.revision, body.at, who=caller.signature, reason=body.reason, address=caller.address
    )
    return PlanOut(**plan.as_json())


@router.delete("/activations/{number}", tags=["Configuration"], summary="Do not do it", status_code=204)
def cancel_activation(parts: Here, caller: Who, number: Number) -> Response:
    parts.store.activations.cancel(number, who=caller.signature, address=caller.address)
    return Response(status_code=204)
