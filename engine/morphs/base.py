"""What every kind of morph is: one change of a tag."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Literal

from engine.component import Component
from engine.crosswalk.lookup import Lookups
from engine.dicom.changeable import ChangedTag, refuse_unchangeable
from engine.dicom.identity import path_may_identify
from engine.dicom.paths import TagPath
from engine.morphs.work import Work

__all__ = ["AnyMorph", "ChangedTag", "Morph", "is_structural", "refuse_unchangeable"]

UIDS = (0x00080016, 0x00080018)
CHARACTER_SET = 0x00080005


class AnyMorph(Component, family="morph"):
    """A change of an instance. An error at run time holds the instance."""

    @property
    def about(self) -> str:
        """What it changes, in a word or two: stands in the reason when it cannot."""
        return ""

    @property
    def lenient(self) -> bool:
        """Whether a value that its VR or VM does not allow is written all the same, with a warning."""
        return False

    @property
    def hides(self) -> bool:
        """Whether what was before must not leave with the instance: no Original Attributes, no file meta as received."""
        return False

    @property
    def asks(self) -> bool:
        """Whether the change depends on what is not in the instance and may be another tomorrow: a table, a secret."""
        return False

    def looks_at(self, lookups: Lookups | None) -> Sequence[TagPath] | None:
        """The paths of all that the change depends on and of all that it writes; None: it may be anything.

        The same values at these paths, in the same character set, must give the same change: always, or in a batch if it `asks`.
        """
        return None

    @property
    def sources(self) -> tuple[TagPath, ...] | None:
        """The tags whose values may stand in what it writes. None: nobody knows, or it leads back from a pseudonym."""
        return None

    @cached_property
    def identifies(self) -> bool:
        """Whether what it writes may tell who the patient is, in whatever tag."""
        return self.sources is None or any(map(path_may_identify, self.sources))

    def draws_on(self, tops: Collection[int]) -> bool:
        """Whether what it writes comes out of one of these top-level elements."""
        return any(path.steps[0].tag in tops for path in self.sources or ())

    def apply(self, work: Work) -> None:
        """Make the change in `work`. Raises Hold, in words, when it cannot be made."""
        raise NotImplementedError


class Morph(AnyMorph):
    """One change of one tag. Checked against the VR when saved and when run."""

    tag: ChangedTag
    """The tag that is changed."""
    invalid: Literal["hold", "warn"] = "hold"
    """A new value that its VR or VM does not allow: hold the instance, or write it all the same and say so."""

    @property
    def path(self) -> TagPath:
        return TagPath.parse(self.tag)

    @property
    def about(self) -> str:
        return self.tag

    @property
    def lenient(self) -> bool:
        return self.invalid == "warn"


def is_structural(path: TagPath) -> bool:
    """Whether an instance cannot be without it: SOP Class UID, SOP Instance UID, Specific Character Set."""
    return len(path.steps) == 1 and path.steps[0].tag in (*UIDS, CHARACTER_SET)
