"""Morph `prepend`: puts text before a tag's value."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.morphs.text_change import AddedText

__all__ = ["Prepend"]


class Prepend(AddedText):
    """Puts text before each value of a tag: "H1-" makes "4711" to "H1-4711". A missing or empty tag stays as it is."""

    label: ClassVar[str] = "Prepend"
    kind: Literal["prepend"] = "prepend"

    def joined(self, value: str, text: str) -> str:
        return text + value
