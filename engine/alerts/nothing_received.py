"""A source that is usually busy is silent.

Guarantee: told when nothing came for so many hours, of which only those count in which the schedule is on; over with the
next batch, or when the schedule goes off.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar, Literal

from pydantic import Field

from engine.alerts.base import Alert, Facts, Finding, OnOff
from engine.component import Name

__all__ = ["NothingReceived"]

STEP = timedelta(minutes=5)
LONGEST = timedelta(days=35)


class NothingReceived(Alert):
    """Nothing came from a source for some hours of its working time."""

    label: ClassVar[str] = "Nothing received"
    kind: Literal["nothing_received"] = "nothing_received"
    sources: list[Name] = Field(default=[], examples=[["modalities"]])
    """Which ones; none: all of them."""
    hours: float = Field(title="Silent for (hours)", default=2.0, ge=0.1, le=240)
    """For how many hours nothing may come."""
    schedule: str | None = Field(default=None, examples=["office"])
    """Only these hours count; empty: all."""

    def look(self, facts: Facts) -> list[Finding]:
        schedule = facts.schedules.get(self.schedule) if self.schedule else None
        if schedule is not None and not schedule.active(facts.now):
            return []
        found = []
        for one in facts.sources:
            if self.sources and one.name not in self.sources:
                continue
            last = one.received_at or facts.since
            if self._silent(last, facts.now, schedule):
                words = f"since {last:%Y-%m-%d %H:%M} UTC" if one.received_at else "since this node is watched"
                found.append(
                    Finding(
                        f"sources/{one.name}",
                        f"Nothing came from {one.name} {words}.",
                        "Ask who sends to it whether they meet an error, and look whether it listens.",
                        "sources",
                    )
                )
        return found

    def _silent(self, last: datetime, now: datetime, schedule: OnOff | None) -> bool:
        """Whether the hours passed, counted backwards from now in steps of five minutes of working time."""
        wanted = timedelta(hours=self.hours)
        if schedule is None:
            return now - last >= wanted
        counted, at = timedelta(), now
        while at > last and now - at < LONGEST:
            if counted >= wanted:
                return True
            step = min(STEP, at - last)
            if schedule.active(at - step):
                counted += step
            at -= step
        return counted >= wanted
