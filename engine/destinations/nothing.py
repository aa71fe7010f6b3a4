"""Delivers to nowhere, successfully: to try rules, to silence a match, and as the shortest full example of a destination.

Guarantee: confirms each instance at once; nothing is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import ClassVar, Literal

from engine.destinations.base import Destination, Outgoing
from engine.model import Outcome, Receipt, Report, Tick

__all__ = ["Nothing"]


class Nothing(Destination):
    """Takes everything and keeps nothing."""

    label: ClassVar[str] = "Nothing"
    kind: Literal["nothing"] = "nothing"

    def deliver(self, outgoing: Sequence[Outgoing], report: Report, stop: threading.Event) -> None:
        for one in outgoing:
            if stop.is_set():
                return
            report(Receipt(one.index, Outcome.CONFIRMED, words="thrown away, as configured"))

    def check(self) -> list[Tick]:
        return [Tick("takes everything", True, "nothing to connect to")]
