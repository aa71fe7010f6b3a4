"""Live events: one look at the node a second, shared by all who listen; each change is an event, kept for a while.

A reader that comes back with the id of its last event gets what it missed, or is told that this is not known any more.
Nothing of a patient is in them: names of the configuration, counts, ids of batches and deliveries.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from starlette.concurrency import run_in_threadpool

from engine.errors import AxiomError, Denied, Retry

if TYPE_CHECKING:
    from engine.operations import Operations

__all__ = ["EVENTS", "Event", "Events"]

log = logging.getLogger(__name__)

EVENTS = {
    "hello": "The first: the revision, and which names follow.",
    "reset": "What was missed is not known any more: load the state anew.",
    "listener": "A listener's state changed.",
    "destination": "A destination fails, takes images again, is paused or resumed.",
    "received": "Images came: how many, by source, since the last such event.",
    "delivered": "Images were confirmed: how many, by destination.",
    "held": "Images of a batch are held.",
    "delivery-dead": "A delivery was refused or given up.",
    "study-delivered": "All that a delivery holds is confirmed.",
    "revision": "Another revision of the configuration is live.",
    "alert": "An alert began, or is over.",
    "bye": "The stream ends: signed out, expired, or the API is being stopped. Come back with a new token.",
}
LOOK_SECONDS = 1.0
HEARTBEAT_SECONDS = 10.0
"""How often a silent stream says that it lives, and how soon a sign-out ends it."""
LINGER_SECONDS = 120.0
"""So long it goes on looking when nobody listens: who comes back by then has missed nothing."""
KEPT = 2000
MOST = 64
MOST_EACH = 8


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as it goes over the line."""

    number: int
    name: str
    data: dict[str, Any]

    def encode(self, epoch: str) -> bytes:
        return f"id: {epoch}-{self.number}\nevent: {self.name}\ndata: ".encode() + orjson.dumps(self.data) + b"\n\n"


class Events:
    """The events of one API process. Used in its event loop; the looking is done in a thread."""

    def __init__(self, operations: Callable[[], Operations]) -> None:
        self._operations = operations
        self._epoch = secrets.token_hex(4)
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._number = 0
        self._readers: Counter[str] = Counter()
        self._news = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._left_at = 0.0
        self._seen: dict[str, Any] | None = None
        self._cursor: dict[str, int] = {}
        self._over = False

    def stop(self) -> None:
        """End every stream within a moment. May be called from a signal handler."""
        self._over = True

    def enter(self, who: str) -> None:
        """Count a reader in. Raises Retry when there are too many, Denied when they are all this one's."""
        if self._readers[who] >= MOST_EACH:
            raise Denied(f"You listen {MOST_EACH} times already: close one of them first.", known=True, after=10.0)
        if self._readers.total() >= MOST:
            raise Retry("Too many listen already: try again in a moment.", after=10.0)
        self._readers[who] += 1

    async def stream(self, who: str, last: str, allowed: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
        """The events from `last` (a `Last-Event-ID`) on, until `allowed` says no. `enter` was called before."""
        try:
            yield b"retry: 2000\n\n"
            yield b": hello\n\n"  # at once, so that the reader's side knows that it stands
            if self._looking is None or self._looking.done():
                await self._begin()
            at = self._place(last)
            if at is None:
                at = self._number
                yield self._aside("reset")
            if not last:
                yield self._aside("hello", revision=(self._seen or {}).get("revision"), events=list(EVENTS))
            asked = time.monotonic()
            while not self._over:
                for event in [e for e in self._kept if e.number > at]:
                    at = event.number
                    yield event.encode(self._epoch)
                if time.monotonic() - asked >= HEARTBEAT_SECONDS:
                    asked = time.monotonic()
                    if not await allowed():
                        break
                    yield b": alive\n\n"
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), LOOK_SECONDS)
            yield self._aside("bye")
        finally:
            self._readers[who] -= 1
            if not self._readers[who]:
                del self._readers[who]
            self._left_at = time.monotonic()

    def _aside(self, name: str, **data: Any) -> bytes:
        """An event to one reader alone: where it goes on from is the newest."""
        return Event(self._number, name, data).encode(self._epoch)

    def _place(self, last: str) -> int | None:
        """The number that a reader has seen; None when what came since is not all kept."""
        if not last:
            return self._number
        epoch, _, number = last.partition("-")
        if epoch != self._epoch or not re.fullmatch("[0-9]{1,15}", number) or int(number) > self._number:
            return None
        oldest = self._kept[0].number if self._kept else self._number + 1
        return int(number) if int(number) >= oldest - 1 else None

    async def _begin(self) -> None:
        """Start looking. What happened since it ended is not known: a new epoch."""
        self._epoch = secrets.token_hex(4)
        self._kept.clear()
        self._left_at = time.monotonic()
        self._looking = asyncio.create_task(self._look_on())
        with contextlib.suppress(AxiomError, OSError):  # it is looked for again within a second
            self._cursor, self._seen = await run_in_threadpool(self._first)

    def _first(self) -> tuple[dict[str, int], dict[str, Any]]:
        operations = self._operations()
        return operations.spool.journal.end(), _picture(operations.status())

    async def _look_on(self) -> None:
        while not self._over and (self._readers.total() or time.monotonic() - self._left_at < LINGER_SECONDS):
            await asyncio.sleep(LOOK_SECONDS)
            if self._seen is None:
                with contextlib.suppress(AxiomError, OSError):
                    self._cursor, self._seen = await run_in_threadpool(self._first)
                continue
            try:
                found, self._cursor, self._seen = await run_in_threadpool(self._look, self._cursor, self._seen)
            except (AxiomError, OSError) as e:
                log.warning("the state for live pages cannot be read: %s", e)
                continue
            for name, data in found:
                self._number += 1
                self._kept.append(Event(self._number, name, data))
            if found:
                self._news.set()
                self._news = asyncio.Event()

    def _look(
        self, cursor: Mapping[str, int], seen: Mapping[str, Any]
    ) -> tuple[list[tuple[str, dict[str, Any]]], dict[str, int], dict[str, Any]]:
        operations = self._operations()
        lines, cursor = operations.spool.journal.read(cursor)
        picture = _picture(operations.status())
        return [*_of_lines(lines), *_of_change(seen, picture)], cursor, picture


def _picture(status: Mapping[str, Any]) -> dict[str, Any]:
    """What of the status is worth an event when it changes."""
    return {
        "revision": status["revision"],
        "listener": {one["name"]: {"state": one["state"]} for one in status["listeners"]},
        "destination": {one["name"]: {"enabled": one["enabled"], "state": _state(one)} for one in status["destinations"]},
        "alert": {
            f"{one['alert']} {one['subject']}": {"alert": one["alert"], "subject": one["subject"], "words": one["words"]}
            for one in status["alerts"]["firing"]
        },
    }


def _state(destination: Mapping[str, Any]) -> str:
    if not destination["enabled"]:
        return "paused"
    return "failing" if destination["last_error"] and destination["waiting"] else "well"


def _of_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if before["revision"] != after["revision"]:
        yield "revision", {"revision": after["revision"]}
    for family in ("listener", "destination"):
        for name, now in after[family].items():
            if before[family].get(name) != now:
                yield family, {"name": name, **now}
        for name in before[family].keys() - after[family].keys():
            yield family, {"name": name, "state": "gone"}
    for key in before["alert"].keys() | after["alert"].keys():
        if key not in before["alert"]:
            yield "alert", {**after["alert"][key], "state": "firing"}
        elif key not in after["alert"]:
            yield "alert", {**before["alert"][key], "state": "resolved"}


def _of_lines(lines: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Counts are added up over one look; what is single is told singly."""
    received: Counter[str] = Counter()
    delivered: Counter[str] = Counter()
    single: list[tuple[str, dict[str, Any]]] = []
    for line in lines:
        match line["t"]:
            case "received":
                received[line["source"]] += line["instances"]
            case "routed" if line["held"]:
                single.append(("held", {key: line[key] for key in ("batch", "source", "held")}))
            case "delivery":
                if line["confirmed"]:
                    delivered[line["destination"]] += line["confirmed"]
                name = {"done": "study-delivered", "dead": "delivery-dead"}.get(line["outcome"])
                if name:
                    keys = ("delivery", "batch", "destination", "instances", "studies", "code")
                    single.append((name, {key: line[key] for key in keys}))
    if received:
        yield "received", {"sources": dict(received), "seconds": LOOK_SECONDS}
    if delivered:
        yield "delivered", {"destinations": dict(delivered), "seconds": LOOK_SECONDS}
    yield from single
