"""What every kind of morph is: one change of a tag."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from engine.component import Component
from engine.dicom.paths import TagPath, TagPathText
from engine.morphs.work import Work

__all__ = ["ChangedTag", "Morph", "is_structural", "refuse_unchangeable"]

UIDS = (0x00080016, 0x00080018)
CHARACTER_SET = 0x00080005


def refuse_unchangeable(text: str) -> str:
    """Refuse the tags that no morph may change. Raises ValueError in words."""
    path = TagPath.parse(text)
    if path.is_file_meta:
        raise ValueError(f"{path} is file meta: it is read-only, and follows the data set by itself")
    if path.steps[0].group == 0x7FE0:
        raise ValueError(f"{path} belongs to the pixel data, which is never changed")
    return text


ChangedTag = Annotated[TagPathText, AfterValidator(refuse_unchangeable)]
"""A tag that a morph changes: no file meta, no pixel data."""


class Morph(Component, family="morph"):
    """One change of a tag. Checked against the VR when saved and when run; an error at run time holds the instance."""

    tag: ChangedTag
    """The tag that is changed."""
    invalid: Literal["hold", "warn"] = "hold"
    """A new value that its VR or VM does not allow: hold the instance, or write it all the same and say so."""

    @property
    def path(self) -> TagPath:
        return TagPath.parse(self.tag)

    def apply(self, work: Work) -> None:
        """Make the change in `work`. Raises Hold, in words, when it cannot be made."""
        raise NotImplementedError


def is_structural(path: TagPath) -> bool:
    """Whether an instance cannot be without it: SOP Class UID, SOP Instance UID, Specific Character Set."""
    return len(path.steps) == 1 and path.steps[0].tag in (*UIDS, CHARACTER_SET)
