"""Too much waits for a destination, or for too long.

Guarantee: told while either bound is passed, also for a destination that is paused; over when neither is.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from engine.alerts.base import Alert, Facts, Finding
from engine.component import Name

__all__ = ["Backlog"]


class Backlog(Alert):
    """More deliveries wait than may, or the oldest waits longer than it may."""

    label: ClassVar[str] = "Backlog"
    kind: Literal["backlog"] = "backlog"
    destinations: list[Name] = Field(default=[], examples=[["pacs"]])
    """Which ones; none: all of them."""
    deliveries: int | None = Field(title="Deliveries that may wait", default=None, ge=1, examples=[100])
    """How many may wait for one destination; empty: any number."""
    minutes: float | None = Field(title="Age of the oldest (minutes)", default=30.0, gt=0, le=43_200)
    """How old the oldest that waits may be; empty: any age."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.deliveries is None and self.minutes is None:
            raise ValueError("say how many deliveries may wait, how old the oldest may be, or both")
        return self

    def look(self, facts: Facts) -> list[Finding]:
        found = []
        for one in facts.destinations:
            if self.destinations and one.name not in self.destinations:
                continue
            many = self.deliveries is not None and one.waiting > self.deliveries
            old = self.minutes is not None and one.waiting > 0 and one.oldest_seconds > self.minutes * 60
            if many or old:
                paused = "" if one.enabled else " It is paused."
                found.append(
                    Finding(
                        f"destinations/{one.name}",
                        f"Deliveries that wait for {one.name}: {one.waiting}, the oldest for "
                        f"{one.oldest_seconds / 60:.0f} minutes.{paused}",
                        "Look whether it is slow, away or paused; more parallel associations may help.",
                        "deliveries",
                    )
                )
        return found
