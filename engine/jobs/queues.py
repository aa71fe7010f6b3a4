"""The queues: wake-up calls, never the truth. One queue per worker process, so that no wake-up is lost in between.

A wake-up says "this node, this stage has work". The drain it starts looks at the spool itself, so one waiting wake-up is
enough, and one too many does no harm.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import redis
from rq import Queue
from rq.serializers import JSONSerializer

from engine.settings import Settings

__all__ = ["STAGES", "Wake", "connect", "enqueue", "open_queue", "queue_name"]

log = logging.getLogger(__name__)

STAGES = ("route", "deliver", "poll", "house")


def connect(settings: Settings) -> redis.Redis:
    """A connection to Redis or Valkey; nothing is sent yet."""
    return redis.Redis.from_url(settings.redis, socket_connect_timeout=5.0, health_check_interval=30)


def queue_name(settings: Settings, stage: str) -> str:
    """The queue of a stage on this node. Names of sources are mapped to what RQ allows in names."""
    return f"axiom.{settings.instance_id}.{re.sub(r'[^A-Za-z0-9_.-]', '_', stage)}"


def open_queue(settings: Settings, stage: str, connection: redis.Redis) -> Queue:
    return Queue(queue_name(settings, stage), connection=connection, serializer=JSONSerializer)


def enqueue(queue: Queue, function: str, *args: Any) -> None:
    """Enqueue a job without a time limit and without a result: its outcome is in the spool."""
    queue.enqueue(f"engine.jobs.work.{function}", args=args, job_timeout=-1, result_ttl=0, failure_ttl=600)


class Wake:
    """Wakes stages of this node. Never raises for a Redis that is away: the sweep wakes again when it is back."""

    def __init__(self, settings: Settings, connection: redis.Redis | None = None) -> None:
        self._settings = settings
        self._connection = connection or connect(settings)
        self._away = False

    def __call__(self, stage: str) -> bool:
        """Make sure that a wake-up for the stage waits. False: Redis is away."""
        try:
            queue = open_queue(self._settings, stage, self._connection)
            # The waiting wake-up is taken off the queue before its drain looks: so an empty queue means that
            # whoever drains may have looked already, and needs to be told again.
            if queue.count == 0:
                enqueue(queue, stage)
        except redis.exceptions.RedisError as e:
            if not self._away:
                log.warning("Redis is away (%s): work waits in the spool until it is back", e)
            self._away = True
            return False
        self._away = False
        return True
