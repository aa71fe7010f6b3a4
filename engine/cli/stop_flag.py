"""How `axiom up` hears that it is to end."""

from __future__ import annotations

import contextlib
import os
import select
import weakref

__all__ = ["StopFlag"]


class StopFlag:
    """Raised by a signal handler, waited for by the main thread.

    A `threading.Event` will not do: its `set` takes a lock that the code which the signal interrupted may be holding.
    """

    def __init__(self) -> None:
        self._raised = False
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        weakref.finalize(self, _close, self._read, self._write)

    def set(self) -> None:
        """Raise it, for good; in a signal handler too."""
        self._raised = True
        with contextlib.suppress(BlockingIOError):  # full of earlier wake-ups: nobody sleeps then
            os.write(self._write, b"!")

    def is_set(self) -> bool:
        return self._raised

    def wait(self, seconds: float) -> bool:
        """Sleep so long, or until it is raised; whether it is."""
        if not self._raised:
            select.select([self._read], [], [], seconds)
        return self._raised


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
