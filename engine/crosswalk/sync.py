"""Copying a map's whole table into the cache: made aside, then put in place at once; one at a time over all nodes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import orjson
import redis

from engine.crosswalk.base import CrosswalkSource, Row
from engine.crosswalk.cache import MANY, PREFIX, WHOLE, Answer, Cache, field, pack
from engine.crosswalk.map import CrosswalkMap
from engine.errors import AxiomError, Conflict, Hold, Retry

__all__ = ["ask_for_sync", "is_due", "status_of", "sync"]

LOCK = f"{PREFIX}:syncing"
WANTED = f"{PREFIX}:wanted"
LOCK_SECONDS = 120
CHUNK = 1000
Progress = Callable[[int, int], None]
"""Told rows so far, and how many there are."""


def status_of(cache: Cache, one: CrosswalkMap) -> dict[str, Any]:
    """`{"state": "never|syncing|done|failed", "rows", "total", "started_at", "finished_at", "error"}` (seconds of the epoch).

    Raises Retry when Redis is away.
    """
    try:
        data = cache.client.get(f"{PREFIX}:{one.name}:status")
        running = cache.client.exists(LOCK)
    except redis.exceptions.RedisError as e:
        raise Retry(f"Redis is away: {e}. The databases are asked meanwhile.") from e
    status: dict[str, Any] = orjson.loads(data) if data else {"state": "never", "rows": 0, "total": 0}
    if status["state"] == "syncing" and not running:
        status |= {"state": "failed", "error": "It was cut off; it begins anew at its next time."}
    return status


def ask_for_sync(cache: Cache, name: str) -> None:
    """Have a map synced by the engine soon. Raises Retry when Redis is away."""
    try:
        cache.client.sadd(WANTED, name)
    except redis.exceptions.RedisError as e:
        raise Retry(f"Redis is away: {e}. There is nowhere to copy the table to.") from e


def is_due(cache: Cache, one: CrosswalkMap, source: CrosswalkSource) -> bool:
    """Whether it is to be synced now. Raises Retry when Redis is away."""
    status = status_of(cache, one)
    try:
        if cache.client.sismember(WANTED, one.name):
            return True
        there = cache.client.hexists(f"{PREFIX}:{one.name}:{one.digest(source)}:table", WHOLE)
    except redis.exceptions.RedisError as e:
        raise Retry(f"Redis is away: {e}.") from e
    if not one.sync_seconds or status["state"] == "syncing":
        return False
    age = time.time() - float(status.get("started_at", 0))
    if status["state"] == "failed":
        return age >= min(one.sync_seconds, 60.0)
    return not there or age >= one.sync_seconds


def sync(cache: Cache, one: CrosswalkMap, source: CrosswalkSource, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """Copy the table; returns the status. Raises Conflict when another sync runs, Retry or Hold when it cannot be done."""
    try:
        return _Sync(cache.client, one, source, progress).run()
    except redis.exceptions.RedisError as e:
        raise Retry(f"Redis is away: {e}. There is nowhere to copy the table to.") from e


class _Sync:
    def __init__(self, client: Any, one: CrosswalkMap, source: CrosswalkSource, progress: Progress) -> None:
        self.client = client
        self.map = one
        self.source = source
        self.progress = progress
        self.token = secrets.token_hex(8)
        self.table = f"{PREFIX}:{one.name}:{one.digest(source)}:table"
        self.making = f"{self.table}:{self.token}"
        self.status: dict[str, Any] = {"state": "syncing", "rows": 0, "total": 0, "started_at": time.time(), "error": ""}

    def run(self) -> dict[str, Any]:
        if not self.client.set(LOCK, self.token, nx=True, ex=LOCK_SECONDS):
            raise Conflict("Another table is being synced: try again when it is done.")
        try:
            self.client.srem(WANTED, self.map.name)
            self._say()
            self._copy()
        except AxiomError as e:
            self.status |= {"state": "failed", "error": str(e), "finished_at": time.time()}
            self._say()
            raise
        finally:
            self.client.delete(self.making)
            if self._is_ours():
                self.client.delete(LOCK)
        return self.status

    def _is_ours(self) -> bool:
        return bool(self.client.get(LOCK) == self.token.encode())

    def _copy(self) -> None:
        self.status["total"] = self.source.count()
        self._say()
        rows = self.source.rows(self.map.match_columns, self.map.replace_columns)
        while chunk := list(islice(rows, CHUNK)):
            self._put(chunk)
            self.status["rows"] += len(chunk)
            self._say()
        self.client.hset(self.making, WHOLE, b"1")
        self.client.expire(self.making, int(max(3 * self.map.sync_seconds, 3600.0)))
        self.client.rename(self.making, self.table)
        self.status |= {"state": "done", "total": self.status["rows"], "finished_at": time.time()}
        self._say()

    def _put(self, chunk: list[Row]) -> None:
        """The rows that are whole. Of a key that comes twice and differs it is written down that it does."""
        told = [
            (field(key), pack(Answer(tuple(v for v in values if v is not None))))
            for key, values in chunk
            if all(v is not None for v in values)
        ]
        pipe = self.client.pipeline(transaction=False)
        for name, data in told:
            pipe.hsetnx(self.making, name, data)
        pipe.expire(self.making, LOCK_SECONDS * 10)
        taken = [one for one, is_new in zip(told, pipe.execute(), strict=False) if not is_new]
        for name, data in taken:
            if self.client.hget(self.making, name) != data:
                self.client.hset(self.making, name, pack(MANY))

    def _say(self) -> None:
        """The status, and the lock held on. Raises Hold when another has taken it: we were too slow."""
        if self.status["state"] == "syncing":
            if not self._is_ours():
                raise Hold("The sync was too slow for its lock, and another has begun.")
            self.client.expire(LOCK, LOCK_SECONDS)
        self.client.set(f"{PREFIX}:{self.map.name}:status", orjson.dumps(self.status))
        self.progress(self.status["rows"], self.status["total"])
