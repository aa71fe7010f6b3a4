"""What crosswalks have answered, in Redis or Valkey: JSON, with a time to live. Away, it is as if it were empty.

    axiom:crosswalk:<map>:<digest>:<key>   one answer
    axiom:crosswalk:<map>:<digest>:table   the synced copy of the whole table: one hash, so that it is whole or not there
    axiom:crosswalk:<map>:status           what its last sync says of itself
    axiom:crosswalk:wanted                 maps that a person wants synced now
    axiom:crosswalk:syncing                the lock of who syncs: one at a time, over all nodes
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
import redis

from engine.crosswalk.base import Key

__all__ = ["MANY", "MISS", "WHOLE", "Answer", "Cache", "field", "pack", "unpack"]

log = logging.getLogger(__name__)

PREFIX = "axiom:crosswalk"
WHOLE = "whole"
"""The field of a synced copy that says that all of it is there."""
REST_SECONDS = 5.0


class Answer(NamedTuple):
    """What the table says of a key: the replacing values; None: it has no such row, or (`many`) several that differ."""

    values: tuple[str, ...] | None
    many: bool = False


MISS = Answer(None)
MANY = Answer(None, True)


def field(key: Key) -> str:
    """A key as its name in the cache: of a length that does not vary, and no patient's identifier."""
    return hashlib.sha256(orjson.dumps(key)).hexdigest()[:40]


def pack(answer: Answer) -> bytes:
    return orjson.dumps({"many": True} if answer.many else {"values": answer.values})


def unpack(data: bytes, width: int) -> Answer | None:
    """None for what is not an answer of so many values: it is then asked again."""
    try:
        told = orjson.loads(data)
        if told.get("many") is True:
            return MANY
        values = told["values"]
    except (orjson.JSONDecodeError, KeyError, AttributeError):
        return None
    if values is None:
        return MISS
    if not isinstance(values, list) or len(values) != width or not all(isinstance(v, str) for v in values):
        return None
    return Answer(tuple(values))


class Cache:
    """The answers. Never raises for a Redis that is away: the databases are asked instead."""

    def __init__(self, url: str) -> None:
        self._client: Any = redis.Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=1.0)
        self._rests_until = 0.0

    @property
    def client(self) -> Any:
        """The connection itself, for syncing: it raises RedisError."""
        return self._client

    def _away(self, error: Exception) -> None:
        if time.monotonic() >= self._rests_until:
            log.warning("the cache of the crosswalks is away (%s): the databases are asked", type(error).__name__)
        self._rests_until = time.monotonic() + REST_SECONDS

    @property
    def _rests(self) -> bool:
        return time.monotonic() < self._rests_until

    def get(self, name: str, digest: str, keys: Sequence[Key], width: int) -> dict[Key, Answer]:
        """The remembered answers, in one question."""
        if self._rests or not keys:
            return {}
        try:
            found = self._client.mget([f"{PREFIX}:{name}:{digest}:{field(k)}" for k in keys])
        except redis.exceptions.RedisError as e:
            self._away(e)
            return {}
        answers = {k: unpack(data, width) for k, data in zip(keys, found, strict=True) if data is not None}
        return {k: a for k, a in answers.items() if a is not None}

    def put(self, name: str, digest: str, answers: Mapping[Key, Answer], seconds: float, miss_seconds: float) -> None:
        """Remember answers; misses for `miss_seconds`."""
        if self._rests:
            return
        try:
            pipe = self._client.pipeline(transaction=False)
            for key, answer in answers.items():
                milliseconds = int(1000 * (miss_seconds if answer.values is None else seconds))
                if milliseconds > 0:
                    pipe.set(f"{PREFIX}:{name}:{digest}:{field(key)}", pack(answer), px=milliseconds)
            pipe.execute()
        except redis.exceptions.RedisError as e:
            self._away(e)

    def table(self, name: str, digest: str, keys: Sequence[Key], width: int) -> dict[Key, Answer] | None:
        """What the synced copy says of the keys it has; None when there is no whole copy."""
        if self._rests or not keys:
            return None
        try:
            found = self._client.hmget(f"{PREFIX}:{name}:{digest}:table", [WHOLE, *map(field, keys)])
        except redis.exceptions.RedisError as e:
            self._away(e)
            return None
        if found[0] is None:
            return None
        out: dict[Key, Answer] = {}
        for key, data in zip(keys, found[1:], strict=True):
            if data is None:
                continue
            answer = unpack(data, width)
            if answer is None:
                return None
            out[key] = answer
        return out
