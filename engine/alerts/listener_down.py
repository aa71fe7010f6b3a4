"""A listener does not listen.

Guarantee: told for each listener that shall run on this node and has not listened for so long.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from engine.alerts.base import Alert, Facts, Finding
from engine.component import Name

__all__ = ["ListenerDown"]


class ListenerDown(Alert):
    """A listener that is switched on does not listen."""

    label: ClassVar[str] = "Listener down"
    kind: Literal["listener_down"] = "listener_down"
    sources: list[Name] = Field(default=[], examples=[["modalities"]])
    """Which ones; none: all of them."""
    minutes: float = Field(title="Away for (minutes)", default=1.0, ge=0, le=1440)
    """For how long it may be away: a changed one needs some seconds."""

    @property
    def patience(self) -> float:
        return self.minutes * 60

    def look(self, facts: Facts) -> list[Finding]:
        return [
            Finding(
                f"sources/{one.name}", f"{one.name} does not listen{f': {one.error}' if one.error else '.'}",
                "Free its port or choose another; the log of the listener says more.", "sources",
            )
            for one in facts.listeners
            if not one.listening and (not self.sources or one.name in self.sources)
        ]  # fmt: skip
