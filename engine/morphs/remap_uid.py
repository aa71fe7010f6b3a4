"""Morph `remap_uid`: replaces UIDs by others, the same one always by the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from engine.crosswalk.lookup import Lookups
from engine.dicom.paths import TagPath
from engine.errors import Hold
from engine.morphs.keyed import Keyed
from engine.morphs.text_change import TextChange
from engine.morphs.work import Work
from engine.security.secret_references import SecretReference

__all__ = ["RemapUid"]

SOP_CLASS_UID = 0x00080016


class RemapUid(TextChange):
    """Replaces each UID of a tag by another (2.25...), made by a secret key: the same UID always becomes the same, so that
    references between images stay whole when they are remapped too. Without the key nobody finds the way back.

    Original Attributes record the old values: switch them off in a rule that is to hide them.
    """

    label: ClassVar[str] = "Remap UID"
    kind: Literal["remap_uid"] = "remap_uid"
    key: SecretReference
    """The secret key: rules that use the same key map alike."""

    @model_validator(mode="after")
    def _is_uid(self) -> Self:
        path = self.path
        if path.vr not in ("UI", ""):
            raise ValueError(f"{path} holds no UIDs: its VR is {path.vr}")
        if path.steps[-1].tag == SOP_CLASS_UID:
            raise ValueError(f"{path} says what kind of object this is: it must stay")
        return self

    @property
    def asks(self) -> bool:
        return True

    def looks_at(self, lookups: Lookups | None) -> Sequence[TagPath]:
        return [self.path]

    def apply(self, work: Work) -> None:
        keyed = Keyed(self.key)
        for place, values in self.texts(work):
            if place.node.vr(place.tag) != "UI":
                raise Hold(f"{place.trail} holds no UIDs here: its VR is {place.node.vr(place.tag)}.")
            work.write(place, [keyed.uid(value) if value else "" for value in values])
