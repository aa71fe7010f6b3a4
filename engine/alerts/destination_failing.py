"""A destination takes nothing any more.

Guarantee: told when every attempt has failed for so long and something waits; over with the first image it takes.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from engine.alerts.base import Alert, Facts, Finding
from engine.component import Name

__all__ = ["DestinationFailing"]


class DestinationFailing(Alert):
    """Attempts at a destination have failed for a while, and images wait for it."""

    label: ClassVar[str] = "Destination failing"
    kind: Literal["destination_failing"] = "destination_failing"
    destinations: list[Name] = Field(default=[], examples=[["pacs"]])
    """Which ones; none: all of them."""
    minutes: float = Field(title="Failing for (minutes)", default=10.0, ge=0, le=10_080)
    """For how long nothing may get through."""

    def look(self, facts: Facts) -> list[Finding]:
        found = []
        for one in facts.destinations:
            if not one.enabled or not one.waiting or one.failing_since is None:
                continue
            lasted = (facts.now - one.failing_since).total_seconds()
            if (self.destinations and one.name not in self.destinations) or lasted < self.minutes * 60:
                continue
            code = f" (it answers {one.code})" if one.code else ""
            found.append(
                Finding(
                    f"destinations/{one.name}",
                    f"{one.name} has taken nothing since {one.failing_since:%Y-%m-%d %H:%M} UTC{code}: "
                    f"deliveries that wait: {one.waiting}.",
                    "Look at its last words among the deliveries. What waits is kept and tried again by itself.",
                    "deliveries",
                )
            )
        return found
