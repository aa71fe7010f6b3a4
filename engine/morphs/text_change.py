"""What the morphs have in common that change the text that is there: prepend, suffix, regex_replace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

from pydantic import Field, model_validator

from engine.crosswalk.lookup import Lookups
from engine.dicom.paths import TagPath
from engine.dicom.vr import BINARY
from engine.errors import Hold
from engine.morphs.base import CHARACTER_SET, Morph
from engine.morphs.set_value import TemplateText
from engine.morphs.template import tags_of
from engine.morphs.work import Place, Work

__all__ = ["AddedText", "TextChange"]


class TextChange(Morph):
    """A change of the text that a tag has; one without a value stays as it is."""

    @model_validator(mode="after")
    def _holds_text(self) -> Self:
        path = self.path
        if path.steps[-1].index is not None or path.steps[-1].all:
            raise ValueError(f"{path} is an item: name an element inside it")
        if path.vr and all(vr == "SQ" or vr in BINARY for vr in path.vr.split(" or ")):
            raise ValueError(f"{path} holds no text: its VR is {path.vr}")
        if path.steps[-1].tag == CHARACTER_SET:
            raise ValueError(f"{path} is changed by `set` only, which re-encodes the texts")
        return self

    def texts(self, work: Work) -> Iterator[tuple[Place, tuple[str, ...]]]:
        """The places that have a value, with it. Raises Hold for one that holds bytes or items."""
        for place in work.places(self.path):
            vr = place.node.vr(place.tag)
            if vr == "SQ" or vr in BINARY:
                raise Hold(f"{place.trail} holds no text here: its VR is {vr}.")
            values = work.values(place)
            if values:
                yield place, values


class AddedText(TextChange):
    """A change that adds text to what is there."""

    value: TemplateText = Field(min_length=1, examples=["H1-", "{Modality}-"])
    """What is added; `{Modality}` takes a value from another tag."""

    @property
    def sources(self) -> tuple[TagPath, ...]:
        return (self.path, *tags_of(self.value))

    def looks_at(self, lookups: Lookups | None) -> Sequence[TagPath]:
        return [self.path, *tags_of(self.value)]

    def apply(self, work: Work) -> None:
        text = ""
        for place, values in self.texts(work):
            text = text or work.fill(self.value)
            work.write(place, [self.joined(value, text) for value in values])

    def joined(self, value: str, text: str) -> str:
        """A value with the text added."""
        raise NotImplementedError
