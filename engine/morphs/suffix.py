"""Morph `suffix`: puts text behind a tag's value."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.morphs.text_change import AddedText

__all__ = ["Suffix"]


class Suffix(AddedText):
    """Puts text behind each value of a tag: "-H1" makes "4711" to "4711-H1". A missing or empty tag stays as it is."""

    label: ClassVar[str] = "Suffix"
    kind: Literal["suffix"] = "suffix"

    def joined(self, value: str, text: str) -> str:
        return value + text
