"""What happens to an image that comes again: the same SOP Instance UID with the same bytes, other bytes, or in another series.

PS3.3 C.12.1.1 makes the SOP Instance UID unique, so the first case is a repetition; the others are somebody's mistake.
"""

from __future__ import annotations

from enum import StrEnum

from engine.component import ConfigModel

__all__ = ["Action", "Again", "Duplicates"]


class Again(StrEnum):
    """How it came again."""

    SAME_BYTES = "same_bytes"
    OTHER_BYTES = "other_bytes"
    OTHER_SERIES = "other_series"

    @property
    def words(self) -> str:
        return {"same_bytes": "with the same bytes", "other_bytes": "with other bytes", "other_series": "in another series"}[
            self.value
        ]


class Action(StrEnum):
    """What is done about it."""

    SEND_AGAIN = "send_again"
    """It goes its way as if it were new."""
    SKIP = "skip"
    """It is not sent: what was there before stays."""
    HOLD = "hold"
    """It waits for a person."""


class Duplicates(ConfigModel):
    """What is done about each case. What came more than 30 days ago is not remembered."""

    same_bytes: Action = Action.SEND_AGAIN
    """The very same again, byte for byte."""
    other_bytes: Action = Action.SEND_AGAIN
    """The same UIDs, but not the same data set: mostly a correction. `skip` drops the newer one."""
    other_series: Action = Action.SEND_AGAIN
    """The same SOP Instance UID under another Series Instance UID."""

    def action(self, again: Again) -> Action:
        return Action(getattr(self, again.value))

    @property
    def any(self) -> bool:
        """Whether anything but sending again is asked for."""
        return any(self.action(again) is not Action.SEND_AGAIN for again in Again)
