"""Morph `copy`: copies a tag to another."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.morphs.transfer import Transfer
from engine.morphs.work import Work

__all__ = ["Copy"]


class Copy(Transfer):
    """Copies a tag, or a whole sequence, to another tag, which is made or overwritten. A missing tag copies nothing."""

    label: ClassVar[str] = "Copy"
    kind: Literal["copy"] = "copy"

    def apply(self, work: Work) -> None:
        self.transfer(work)
