"""Morph `suffix`: puts text behind a tag's value."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from engine.dicom.paths import TagPath
from engine.morphs.set_value import TemplateText
from engine.morphs.template import tags_of
from engine.morphs.text_change import TextChange
from engine.morphs.work import Work

__all__ = ["Suffix"]


class Suffix(TextChange):
    """Puts text behind each value of a tag: "-H1" makes "4711" to "4711-H1". A missing or empty tag stays as it is."""

    label: ClassVar[str] = "Suffix"
    kind: Literal["suffix"] = "suffix"
    value: TemplateText = Field(min_length=1, examples=["-H1", "_{StationName}"])
    """What is put behind; `{StationName}` takes a value from another tag."""

    @property
    def sources(self) -> tuple[TagPath, ...]:
        return (self.path, *tags_of(self.value))

    def apply(self, work: Work) -> None:
        text = ""
        for place, values in self.texts(work):
            text = text or work.fill(self.value)
            work.write(place, [value + text for value in values])
