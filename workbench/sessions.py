"""Signed-in people, kept in the server's memory: the browser holds an opaque ticket, never a token or a name.

A ticket is 32 random bytes; only its SHA-256 is kept here. It ends at sign-out, after some idle time, after a day, and
with this process. It says nothing by itself and is worth nothing to the API.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from dataclasses import dataclass, field

from workbench.client import Client

__all__ = ["COOKIE", "Sessions", "sessions"]

COOKIE = "axiom_session"
MOST_TOKENS = 10_000


@dataclass(slots=True)
class _Session:
    client: Client
    began: float
    seen: float


@dataclass(slots=True)
class Sessions:
    """`open` gives a ticket, `find` gives the client back, `close` ends it. Times in seconds on a monotonic clock."""

    idle_seconds: float = 12 * 3600
    longest_seconds: float = 24 * 3600
    handover_seconds: float = 60
    _open: dict[str, _Session] = field(default_factory=dict)
    _handovers: dict[str, tuple[str, float]] = field(default_factory=dict)
    _tokens: dict[str, None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, client: Client) -> str:
        ticket, now = secrets.token_urlsafe(32), time.monotonic()
        with self._lock:
            self._open[_digest(ticket)] = _Session(client, now, now)
        return ticket

    def find(self, ticket: str) -> Client | None:
        """The client of a ticket that holds, else None. Being asked for keeps it from idling out."""
        now = time.monotonic()
        with self._lock:
            self._sweep(now)
            session = self._open.get(_digest(ticket)) if ticket else None
            if session is None:
                return None
            session.seen = now
            return session.client

    def close(self, ticket: str) -> None:
        with self._lock:
            self._open.pop(_digest(ticket), None)

    def forget(self, client: Client) -> None:
        """End every ticket of this client (sign-out, password change in this page)."""
        with self._lock:
            self._open = {k: s for k, s in self._open.items() if s.client is not client}

    def hand_over(self, ticket: str) -> str:
        """A code good for one use within a minute, by which the browser fetches its ticket as an HttpOnly cookie."""
        code = secrets.token_urlsafe(32)
        with self._lock:
            self._handovers[_digest(code)] = (ticket, time.monotonic())
        return code

    def take_over(self, code: str) -> str:
        """The ticket for a code, once; "" for a code that is unknown, used or old."""
        with self._lock:
            ticket, made = self._handovers.pop(_digest(code), ("", 0.0))
        return ticket if time.monotonic() - made <= self.handover_seconds else ""

    def first_seen(self, token: str) -> bool:
        """Whether this one-time token was not here before. (Another process does not know; the API does.)"""
        seen = _digest(token)
        with self._lock:
            new = seen not in self._tokens
            self._tokens[seen] = None
            if len(self._tokens) > MOST_TOKENS:
                self._tokens.pop(next(iter(self._tokens)))
        return new

    def _sweep(self, now: float) -> None:
        def holds(s: _Session) -> bool:
            return now - s.seen <= self.idle_seconds and now - s.began <= self.longest_seconds

        self._open = {k: s for k, s in self._open.items() if holds(s)}
        self._handovers = {k: v for k, v in self._handovers.items() if now - v[1] <= self.handover_seconds}


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()


sessions = Sessions()
"""This process's: pages and the cookie's route share it."""
