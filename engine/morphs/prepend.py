"""Morph `prepend`: puts text before a tag's value."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from engine.dicom.paths import TagPath
from engine.morphs.set_value import TemplateText
from engine.morphs.template import tags_of
from engine.morphs.text_change import TextChange
from engine.morphs.work import Work

__all__ = ["Prepend"]


class Prepend(TextChange):
    """Puts text before each value of a tag: "H1-" makes "4711" to "H1-4711". A missing or empty tag stays as it is."""

    label: ClassVar[str] = "Prepend"
    kind: Literal["prepend"] = "prepend"
    value: TemplateText = Field(min_length=1, examples=["H1-", "{Modality}-"])
    """What is put before; `{Modality}` takes a value from another tag."""

    @property
    def sources(self) -> tuple[TagPath, ...]:
        return (self.path, *tags_of(self.value))

    def apply(self, work: Work) -> None:
        text = ""
        for place, values in self.texts(work):
            text = text or work.fill(self.value)
            work.write(place, [text + value for value in values])
