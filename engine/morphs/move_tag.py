"""Morph `move`: moves a tag to another."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from engine.morphs.base import is_structural
from engine.morphs.transfer import Transfer
from engine.morphs.work import Work

__all__ = ["Move"]


class Move(Transfer):
    """Moves a tag, or a whole sequence, to another tag, which is made or overwritten. A missing tag moves nothing."""

    label: ClassVar[str] = "Move"
    kind: Literal["move"] = "move"

    @model_validator(mode="after")
    def _may_go(self) -> Self:
        if is_structural(self.path):
            raise ValueError(f"an instance cannot be without {self.path}: copy it instead")
        return self

    def apply(self, work: Work) -> None:
        for place in self.transfer(work):
            work.remove(place)
