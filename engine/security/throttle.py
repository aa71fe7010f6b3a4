"""How often one may try to sign in, by name and by address: a brake on guessing, on top of the lock in the store."""

from __future__ import annotations

import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from engine.errors import Denied

__all__ = ["Throttle"]


class Throttle:
    """Counts failed attempts, in this process. Thread-safe."""

    def __init__(self, *, each_name: int = 5, each_address: int = 60) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._name = RateLimitItemPerMinute(each_name, namespace="name")
        self._address = RateLimitItemPerMinute(each_address, namespace="address")

    def refuse_too_many(self, username: str, address: str) -> None:
        """Raises Denied, with the seconds to wait, when there were too many failed attempts in the last minute."""
        for item, keys in self._counted(username, address):
            if not self._limiter.test(item, *keys):
                again = max(1.0, self._limiter.get_window_stats(item, *keys).reset_time - time.time())
                raise Denied(f"Too many attempts to sign in: wait {again:.0f} seconds.", after=again)

    def failed(self, username: str, address: str) -> None:
        """Count a failed attempt."""
        for item, keys in self._counted(username, address):
            self._limiter.hit(item, *keys)

    def _counted(self, username: str, address: str) -> list[tuple[RateLimitItemPerMinute, tuple[str, ...]]]:
        return [(self._name, (username.strip().lower()[:64], address)), (self._address, (address,))]
