"""Messages of alerts on their way: a file each, kept until their channel has taken them.

    monitor/outbox/<channel>/<when>-<id>.json     written durably, then sent, then removed

A channel gets them in order, and waits longer after each failure; another channel does not wait for it.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import orjson

from engine.channels.base import Channel, Message
from engine.durable import replace_file, write_durably
from engine.errors import Permanent, Retry
from engine.security.outward import Outward

__all__ = ["MessageOutbox", "said", "waiting"]

log = logging.getLogger(__name__)

FIRST_SECONDS = 2.0
LONGEST_SECONDS = 900.0
KEPT_SECONDS = 3 * 86_400.0
MOST_EVENTS = 10_000
"""Beyond so many messages that wait for a channel, single events are dropped: a disk full of them would stop the images."""
AT_ONCE = 200
"""So many messages a channel is handed in one go."""


class MessageOutbox:
    """The messages of one node. One process uses it."""

    def __init__(self, folder: Path, guard: Outward, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._guard = guard
        self._clock = clock
        self._failures: dict[str, int] = {}
        self._next: dict[str, float] = {}
        self._running: dict[str, Future[None]] = {}
        self._counts = waiting(folder)
        self._full: set[str] = set()
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="channel")

    def add(self, channel: str, message: Message) -> None:
        """Keep a message for a channel; durable on return. The same id again replaces it. Raises OSError."""
        if message["state"] == "event" and self._counts.get(channel, 0) >= MOST_EVENTS:
            if channel not in self._full:
                log.error("the channel %s has %d messages waiting: further events are dropped", channel, MOST_EVENTS)
            self._full.add(channel)
            return
        self._full.discard(channel)
        self._counts[channel] = self._counts.get(channel, 0) + 1
        folder = self._folder / channel
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = hashlib.sha256(str(message["id"]).encode()).hexdigest()[:24]
        there = next(folder.glob(f"*-{name}.json"), None)
        path = there or folder / f"{self._clock():.6f}-{name}.json"
        write_durably(path, orjson.dumps(message))

    def waiting(self) -> dict[str, int]:
        """How many wait, by channel."""
        return waiting(self._folder)

    def send_due(self, channels: Mapping[str, Channel]) -> None:
        """Hand over what is due, in threads of the channels; returns at once. Call it every few seconds."""
        self._counts = self.waiting()
        for name in self._counts:
            if (running := self._running.get(name)) is not None and not running.done():
                continue
            if name not in channels:
                self._drop_all(name)
            elif channels[name].enabled and self._clock() >= self._next.get(name, 0.0):
                self._running[name] = self._pool.submit(self._send, channels[name])

    def close(self) -> None:
        """Let what is being sent come to its end."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _send(self, channel: Channel) -> None:
        try:
            for path in sorted((self._folder / channel.name).glob("*.json"))[:AT_ONCE]:
                if not self._send_one(channel, path):
                    return
        except Exception:
            # A site's own kind may fail in its own way: the message stays, and the others go on.
            log.exception("the channel %s failed by itself", channel.name)
            self._later(channel.name, "it failed by itself: the log says more")

    def _send_one(self, channel: Channel, path: Path) -> bool:
        message: Message = orjson.loads(path.read_bytes())
        try:
            channel.tell(message, self._guard)
        except Retry as e:
            if self._clock() - float(path.name.partition("-")[0]) > KEPT_SECONDS:
                log.error("a message of %s is given up after three days: %s", message["alert"], e)  # noqa: TRY400
                path.unlink()
                return True
            self._later(channel.name, str(e))
            return False
        except Permanent as e:
            log.error("a message of %s is not taken and not sent again: %s", message["alert"], e)  # noqa: TRY400
            self._note(channel.name, str(e))
            path.unlink()
            return True
        path.unlink()
        self._failures.pop(channel.name, None)
        self._note(channel.name, "")
        return True

    def _later(self, name: str, words: str) -> None:
        failures = self._failures.get(name, 0)
        self._failures[name] = failures + 1
        self._next[name] = self._clock() + min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(failures, 20))
        log.warning("the channel %s takes nothing just now: %s", name, words)
        self._note(name, words)

    def _note(self, name: str, words: str) -> None:
        """What the channel said last, for the status."""
        replace_file(self._folder / name / "said", words.encode())

    def _drop_all(self, name: str) -> None:
        """The channel is not configured any more: what waited for it was for nobody."""
        for path in (self._folder / name).glob("*.json"):
            path.unlink(missing_ok=True)
        log.warning("messages for the channel %s are dropped: there is no such channel any more", name)


def waiting(folder: Path) -> dict[str, int]:
    """How many messages wait, by channel."""
    counts = {one.name: len(list(one.glob("*.json"))) for one in folder.iterdir()} if folder.is_dir() else {}
    return {name: count for name, count in sorted(counts.items()) if count}


def said(folder: Path, channel: str) -> str:
    """Why the channel took nothing last; "" when it did."""
    try:
        return (folder / channel / "said").read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
