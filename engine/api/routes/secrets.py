"""Secrets that are typed in: taken, kept sealed, referred to; there is no way to read one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from engine.api.access import GuardedRoute, Who
from engine.api.parts import Here

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["Secrets"], route_class=GuardedRoute)

Key = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="What stands behind `stored:`.")]


class NewSecret(BaseModel):
    value: str = Field(min_length=1, max_length=64_000, examples=["correct horse battery staple"])


class Reference(BaseModel):
    reference: str = Field(examples=["stored:00112233445566778899aabbccddeeff"])
    """To be put where a source, a destination or a crosswalk asks for a secret."""


class SecretOut(Reference):
    created_at: str
    created_by: str
    used: bool
    """Whether the live configuration names it. One that is not used is kept until somebody removes it."""
    places: list[str] = Field(examples=[["destinations/pacs"]])
    """What in the live configuration names it."""
    last_revision: int | None
    """The newest revision that names it: going back to it needs the secret. Null: none ever did."""


@router.post("/secrets", summary="Keep a secret, encrypted; it is never shown again", status_code=201)
def create_secret(parts: Here, caller: Who, body: NewSecret) -> Reference:
    return Reference(reference=parts.store.secrets.put(body.value, who=caller.signature, address=caller.address))


@router.get("/secrets", summary="Which secrets are kept; not what they are")
def list_secrets(parts: Here) -> list[SecretOut]:
    return [SecretOut(**one.as_json()) for one in parts.store.secrets.list()]


@router.delete("/secrets/{key}", summary="Forget a secret that nothing uses", status_code=204)
def delete_secret(parts: Here, caller: Who, key: Key) -> Response:
    parts.store.secrets.delete(key, who=caller.signature, address=caller.address)
    return Response(status_code=204)
