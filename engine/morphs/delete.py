"""Morph `delete`: takes a tag out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from engine.crosswalk.lookup import Lookups
from engine.dicom.paths import TagPath
from engine.morphs.base import Morph, is_structural
from engine.morphs.work import Work

__all__ = ["Delete"]


class Delete(Morph):
    """Takes a tag out: an element, a whole sequence, or with `[0]` or `[*]` at the end its items. Missing ones are well."""

    label: ClassVar[str] = "Delete"
    kind: Literal["delete"] = "delete"

    @model_validator(mode="after")
    def _may_go(self) -> Self:
        if is_structural(self.path):
            raise ValueError(f"an instance cannot be without {self.path}")
        return self

    def looks_at(self, lookups: Lookups | None) -> Sequence[TagPath]:
        return [self.path]

    @property
    def sources(self) -> tuple[TagPath, ...]:
        return ()

    def apply(self, work: Work) -> None:
        for place in reversed(work.places(self.path)):  # from the last item, so that the numbers of the others hold
            work.remove(place)
