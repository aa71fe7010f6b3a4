"""What every kind of source is: its common fields and the methods a kind may have."""

from __future__ import annotations

import threading
from typing import ClassVar

from pydantic import Field

from engine.component import Component, Name
from engine.duplicates import Duplicates
from engine.model import Intake, Tick

__all__ = ["Source", "SourceStatus"]


class SourceStatus(dict[str, object]):
    """What a running source says of itself, as plain JSON: state, port, open associations, counts, last error."""


class Source(Component, family="source"):
    """Where images come from."""

    runs: ClassVar[bool] = False
    """Whether it is a long-running job (a listener) that `run` holds open."""

    name: Name
    enabled: bool = True
    """Switched off, it takes nothing in; its configuration stays."""
    instances: list[str] = Field(default=[], examples=[["node-1"]])
    """The nodes (`AXIOM_INSTANCE_ID`) that run it; empty: all of them."""
    duplicates: Duplicates = Duplicates()
    """What is done when an image comes again that this node has received before, from whatever source."""
    description: str = ""
    """For people: who sends to it."""

    def run(self, intake: Intake, stop: threading.Event, status: SourceStatus) -> None:
        """Receive until `stop` is set, then stop accepting, let open associations end, and return.

        `status` is kept up to date in place. Raises Retry when the port cannot be had.
        """
        raise NotImplementedError

    def check(self) -> list[Tick]:
        """Try what can be tried before saving. Never raises: each failure is a tick with its reason."""
        return []
