"""Where history goes, as the flow sees it (`engine.history.Recorder` is one)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

__all__ = ["Recorder"]


class Recorder(Protocol):
    """Writes rows of a view; `replayed` marks rows that are told again after a crash."""

    def write(self, view: str, rows: Sequence[Mapping[str, Any]], *, replayed: bool = False) -> None: ...
