"""The settings of this API's process, to be read: they come from its environment, and change with a restart."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, SecretStr

from engine.api.access import GuardedRoute
from engine.api.parts import Here
from engine.described import description
from engine.settings import Settings

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["Configuration"], route_class=GuardedRoute)

_PASSWORD = re.compile(r"(?<=://).*(?=@)|(?<=[?&])[^=&\s]*pass[^=&\s]*=[^&\s]*", re.IGNORECASE)
"""In the URLs of databases: who signs in and with what, before the host or among the parameters."""


class SettingOut(BaseModel):
    name: str = Field(examples=["AXIOM_IDLE_MINUTES"])
    value: Any
    """As it holds now. Null for a secret; the sign-in in a URL is left out."""
    given: bool
    """Whether the environment names it; else it has its default."""
    secret: bool
    words: str


@router.get("/settings", summary="The settings of this API, without their secrets")
def list_settings(parts: Here) -> list[SettingOut]:
    """Each variable of the environment that counts. Other nodes, and the workbench, have their own."""
    settings = parts.settings
    return [
        SettingOut(
            name=f"AXIOM_{name.upper()}", value=_shown(getattr(settings, name)), given=name in settings.model_fields_set,
            secret=field.annotation is SecretStr, words=" ".join(description(Settings, name).split()),
        )
        for name, field in Settings.model_fields.items()
    ]  # fmt: skip


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return None
    if isinstance(value, bool | int | float):
        return value
    return _PASSWORD.sub("(hidden)", str(value))
