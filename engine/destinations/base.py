"""What every kind of destination is: its common fields, what it is handed, and what it answers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import Field

from engine.component import Component, ConfigModel, Name
from engine.dicom.content import Content
from engine.duplicates import Duplicates
from engine.model import Commitments, Report, Tick

__all__ = ["Destination", "Outgoing", "RetryPolicy", "Tags"]


class Tags(Protocol):
    """Reads tags of the instance as it leaves: for names and metadata."""

    def text(self, path: str) -> str:
        """The first value at a tag path as text, "" when it is missing or empty."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One instance as it leaves: the same bytes at every attempt."""

    index: int
    """Its place in the batch; a Receipt names it."""
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    head: bytes
    """Preamble, `DICM` and file meta, for those who write Part 10."""
    data_set: Content
    """The data set alone, for those who send it over DIMSE."""
    tags: Tags

    @property
    def file(self) -> Content:
        """The whole Part 10 file."""
        return Content((self.head, *self.data_set.pieces))


class RetryPolicy(ConfigModel):
    """How transient failures are tried again: `first_seconds * 2^n`, up to `longest_seconds`, with 20 % jitter."""

    attempts: int = Field(default=300, ge=1, le=10_000)
    """Attempts in all; after the last one the rest goes to the dead letters. 300 are about three days."""
    first_seconds: float = Field(default=5.0, gt=0, le=3600)
    longest_seconds: float = Field(default=900.0, gt=0, le=86_400)


class Destination(Component, family="destination"):
    """Where images go."""

    name: Name
    enabled: bool = True
    """Paused when false: deliveries wait, nothing is lost, and they go when it is resumed."""
    parallel: int = Field(default=1, ge=1, le=16)
    """Deliveries (associations, connections) to it at the same time."""
    retry: RetryPolicy = RetryPolicy()
    """How transient failures are tried again."""
    duplicates: Duplicates = Duplicates()
    """What is done when an image leaves again that this destination has confirmed before. Held ones are dead letters: sending
    them again from there sends them."""
    description: str = ""
    """For people: what it is for."""

    def deliver(self, outgoing: Sequence[Outgoing], report: Report, stop: threading.Event) -> None:
        """Deliver the instances of one delivery; call `report` with a Receipt as soon as each one's fate is known.

        An instance that is not reported counts as not sent. Idempotent: the same instance delivered again is a success.
        Ends early (without error) when `stop` is set, between instances.
        Raises Retry when the peer cannot be reached or breaks off, Permanent when it refuses all of it for good.
        """
        raise NotImplementedError

    def attempt(
        self, outgoing: Sequence[Outgoing], report: Report, stop: threading.Event, commitments: Commitments
    ) -> None:
        """One attempt, as the flow makes it: `deliver`, for all but the kinds whose peers say later that they keep an image.

        Those find in `commitments` what they have asked for at an earlier attempt.
        """
        self.deliver(outgoing, report, stop)

    def check(self) -> list[Tick]:
        """Try what can be tried before saving. Never raises: each failure is a tick with its reason."""
        return []
