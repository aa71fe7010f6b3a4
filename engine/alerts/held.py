"""Images are held.

Guarantee: told while more are held than may be, whatever the reason.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from engine.alerts.base import Alert, Facts, Finding

__all__ = ["Held"]


class Held(Alert):
    """More images are held than may be: rules could not decide or change them."""

    label: ClassVar[str] = "Images held"
    kind: Literal["held"] = "held"
    images: int = Field(default=0, ge=0)
    """How many may be held without a word."""

    def look(self, facts: Facts) -> list[Finding]:
        if facts.held <= self.images:
            return []
        words = f"Images held: {facts.held}. The rules could not decide or change them."
        return [Finding("held", words, "Read their reasons, put right what is wrong, and retry them.", "held")]
