"""The real things that tests talk to, and waiting for conditions instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["wait_until"]

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = 20.0, what: str = "") -> T:
    """Call `condition` until it gives something true, and give that back; AssertionError after `timeout` seconds.

    The timeout is how long the test may hang when it fails, not how long things take.
    """
    deadline = time.monotonic() + timeout
    wait = 0.005
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:.0f} s in vain for {what or condition}; it gave {result!r} last")
        time.sleep(wait)
        wait = min(wait * 1.5, 0.2)
