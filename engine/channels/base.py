"""What every kind of channel is: its common fields, and how it takes a message."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from engine.component import Component, Name
from engine.errors import AxiomError
from engine.model import Tick
from engine.security.outward import Outward

__all__ = ["Channel", "Message"]

Message = dict[str, Any]
"""`id` (the same again is the same message), `at`, `node`, `alert`, `kind`, `state` (`firing`, `resolved`, `event`, `test`),
`subject`, `words`, `todo`, `since`, `details`. Plain JSON; nothing of a patient but Study Instance UIDs in `details`."""

TEST: Message = {
    "id": "test", "at": "", "node": "", "alert": "test", "kind": "test", "state": "test", "subject": "test",
    "words": "This is a test: the channel works.", "todo": "", "since": "", "details": {},
}  # fmt: skip


class Channel(Component, family="channel"):
    """A way by which alerts are told."""

    tried_by: ClassVar[str] = "message"
    name: Name
    enabled: bool = True
    """Switched off, messages wait for up to three days."""
    description: str = Field(default="", max_length=1000)
    """For people: who reads it."""

    def tell(self, message: Message, guard: Outward) -> None:
        """Hand a message over; returns when the other side has taken it. Raises Retry or Permanent."""
        raise NotImplementedError

    def check_with(self, guard: Outward) -> list[Tick]:
        """Send a test message, before saving. Never raises."""
        try:
            self.tell(TEST, guard)
        except AxiomError as e:
            return [Tick(self.tried_by, False, str(e))]
        return [Tick(self.tried_by, True, "A test message was taken.")]
