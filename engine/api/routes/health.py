"""Is it alive, and could it work? For supervisors and load balancers: no sign-in, and no more said than that."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import redis
from fastapi import APIRouter, Response
from pydantic import BaseModel

from engine.api.access import GuardedRoute
from engine.api.parts import Here, Parts
from engine.errors import AxiomError

__all__ = ["router"]

router = APIRouter(tags=["Health"], route_class=GuardedRoute)

SECONDS = 2.0


class Alive(BaseModel):
    status: str = "live"


class Part(BaseModel):
    name: str
    ok: bool
    words: str


class Ready(BaseModel):
    ready: bool
    parts: list[Part]


@router.get("/health/live", summary="This process answers")
@router.get("/api/v1/health/live", include_in_schema=False)
def health_live() -> Alive:
    return Alive()


@router.get("/health/ready", summary="The parts it needs answer", responses={503: {"model": Ready}})
@router.get("/api/v1/health/ready", include_in_schema=False)
def health_ready(parts: Here, response: Response) -> Ready:
    """503 when one of them does not."""
    checks: dict[str, Callable[[Parts], str]] = {"store": _store, "redis": _redis, "spool": _spool}
    found = [_try(name, check, parts) for name, check in checks.items()]
    ready = all(part.ok for part in found)
    response.status_code = 200 if ready else 503
    return Ready(ready=ready, parts=found)


def _try(name: str, check: Callable[[Parts], str], parts: Parts) -> Part:
    try:
        return Part(name=name, ok=True, words=check(parts))
    except _NotReadyError as e:
        return Part(name=name, ok=False, words=str(e))


class _NotReadyError(Exception):
    """What is wrong with a part, in words that may be read by anybody."""


def _store(parts: Parts) -> str:
    try:
        parts.store.live_revision()
    except AxiomError as e:
        raise _NotReadyError("cannot be reached") from e
    return "reachable"


def _redis(parts: Parts) -> str:
    client: Any = redis.Redis.from_url(parts.settings.redis, socket_timeout=SECONDS, socket_connect_timeout=SECONDS)
    try:
        client.ping()
    except (redis.RedisError, OSError) as e:
        raise _NotReadyError("cannot be reached") from e
    finally:
        client.close()
    return "reachable"


def _spool(parts: Parts) -> str:
    spool = parts.settings.spool
    if not spool.is_dir():
        return "none on this node"
    if not os.access(spool, os.W_OK | os.X_OK):
        raise _NotReadyError("cannot be written")
    if shutil.disk_usage(spool).free < parts.settings.min_free_bytes:
        raise _NotReadyError("below the watermark: nothing is received")
    return "writable"
