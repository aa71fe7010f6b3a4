"""What every kind of alert is: its common fields, what it can look at, what it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from pydantic import Field

from engine.component import Component, Name

__all__ = [
    "Alert", "CertificateFact", "DestinationFact", "Facts", "Finding", "Happening", "ListenerFact", "OnOff", "SourceFact",
]


class OnOff(Protocol):
    """A schedule, as far as alerts ask it."""

    def active(self, at: datetime) -> bool:
        """Whether it is on at a moment."""


@dataclass(frozen=True, slots=True)
class DestinationFact:
    """How a destination of this node stands."""

    name: str
    enabled: bool
    waiting: int
    """Deliveries not done, those that are being sent among them."""
    oldest_seconds: float
    failing_since: datetime | None = None
    """Since when no attempt brought anything; None: the last one did."""
    code: str = ""
    """The peer's code of the last failure."""


@dataclass(frozen=True, slots=True)
class SourceFact:
    """A source of this node that is switched on."""

    name: str
    received_at: datetime | None
    """When a batch of it was last complete; None: never."""


@dataclass(frozen=True, slots=True)
class ListenerFact:
    """A listener that shall run here."""

    name: str
    listening: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class CertificateFact:
    """A certificate that is in use."""

    where: str
    subject: str
    valid_until: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """The node at one moment: all that an alert may look at. Nothing of a patient."""

    now: datetime
    since: datetime
    """Since when this node is watched."""
    destinations: Sequence[DestinationFact] = ()
    sources: Sequence[SourceFact] = ()
    listeners: Sequence[ListenerFact] = ()
    certificates: Sequence[CertificateFact] = ()
    schedules: Mapping[str, OnOff] = field(default_factory=dict)
    held: int = 0
    free_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is amiss."""

    subject: str
    """What it is about, as a place: `destinations/pacs`. The same again is the same finding."""
    words: str
    todo: str
    """What a person does next."""
    page: str = ""
    """The workbench's page for it."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened, to be told once."""

    subject: str
    words: str
    details: Mapping[str, Any]


class Alert(Component, family="alert"):
    """What shall be told. Without a channel it only shows on the workbench's first page."""

    name: Name
    enabled: bool = True
    """Switched off, it finds nothing; what it had found counts as over."""
    channels: list[Name] = Field(default=[], max_length=20, examples=[["on-call"]])
    """By which channels it is told, when it begins and when it is over."""
    again_minutes: float = Field(title="Again after (minutes)", default=240.0, ge=0, le=43_200)
    """Told again after so long, while it lasts; 0: only once."""
    description: str = Field(default="", max_length=1000)
    """For people: why it matters, whom to call."""

    @property
    def patience(self) -> float:
        """Seconds that a finding must last before it is told."""
        return 0.0

    def look(self, facts: Facts) -> list[Finding]:
        """What is amiss. Never raises for what is not there."""
        return []

    def hear(self, line: Mapping[str, Any]) -> Happening | None:
        """What a line of the journal means for this alert, if anything."""
        return None
