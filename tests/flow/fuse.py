"""A process that ends in the middle: what is done to the disk is counted, and cut before or after the n-th."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.flow.road import Road

__all__ = ["CrashError", "Fuse"]

TOUCHES = ("rename", "fsync", "fdatasync", "link", "unlink", "mkdir", "rmdir", "utime", "write", "open")


class CrashError(BaseException):
    """The process ends here: no `except Exception` may save it."""


class Fuse:
    """Counts what is done to the disk below a folder, and blows before or after the n-th."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        self.after = False
        self._descriptors: set[int] = set()
        self._close = os.close
        for name in TOUCHES:
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name)))
        monkeypatch.setattr(os, "close", self._closed)

    def _closed(self, fd: int) -> None:
        self._descriptors.discard(fd)
        self._close(fd)

    def _blow(self) -> None:
        if self.left == 0:
            self.left = None
            raise CrashError

    def end_process(self, road: Road) -> None:
        """The kernel closes what a process had open, and so frees its locks."""
        for fd in self._descriptors | set(road.recorder._open.values()):
            self._close(fd)
        self._descriptors.clear()
        road.recorder._open.clear()

    def _wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if self.left is None:
                return real(*args, **kwargs)
            self.left -= 1
            if self.left == 0 and not self.after:
                self.left = None
                raise CrashError
            try:
                result = real(*args, **kwargs)
                if real.__name__ == "open":
                    self._descriptors.add(result)
            except OSError:  # an answer that the road expects, such as "exists": the cut comes behind it too
                self._blow()
                raise
            self._blow()
            return result

        return wrapped
