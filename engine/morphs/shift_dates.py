"""Morph `shift_dates`: moves dates by days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from engine.crosswalk.lookup import Lookups
from engine.dicom.paths import TagPath
from engine.errors import Hold
from engine.morphs.keyed import Keyed
from engine.morphs.set_value import TemplateText
from engine.morphs.template import tags_of
from engine.morphs.text_change import TextChange
from engine.morphs.work import Work
from engine.security.secret_references import SecretReference

__all__ = ["ShiftDates", "moved"]


class ShiftDates(TextChange):
    """Moves each date of a tag (DA, or the date in a DT) by days; times of day stay. With a key the days differ from patient
    to patient and are the same for one patient always, so that the time between two studies stays true.

    Original Attributes record the old values: switch them off in a rule that is to hide them.
    """

    label: ClassVar[str] = "Shift dates"
    kind: Literal["shift_dates"] = "shift_dates"
    days: int = Field(ge=-36_500, le=36_500, examples=[-30])
    """How many days, negative into the past. With a key: the farthest; the nearest is one day."""
    key: SecretReference | None = None
    """The secret key that chooses the days for each patient; without it all are moved by `days`."""
    per: TemplateText = Field(default="{PatientID}", min_length=1)
    """What the key tells apart: those with the same text are moved alike. It is read as it stands when this morph's turn
    comes, so shift dates before the Patient ID is changed."""

    @model_validator(mode="after")
    def _is_date(self) -> Self:
        if self.path.vr not in ("DA", "DT", ""):
            raise ValueError(f"{self.path} holds no dates: its VR is {self.path.vr}")
        if not self.days:
            raise ValueError("by 0 days nothing is moved")
        return self

    @property
    def asks(self) -> bool:
        return self.key is not None

    def looks_at(self, lookups: Lookups | None) -> Sequence[TagPath]:
        return [self.path, *([] if self.key is None else tags_of(self.per))]

    def apply(self, work: Work) -> None:
        found = list(self.texts(work))
        if not found:
            return
        shift = timedelta(days=self._days(work))
        for place, values in found:
            if place.node.vr(place.tag) not in ("DA", "DT"):
                raise Hold(f"{place.trail} holds no dates here: its VR is {place.node.vr(place.tag)}.")
            work.write(place, [_moved(value, shift, place.trail) if value else "" for value in values])

    def _days(self, work: Work) -> int:
        if self.key is None:
            return self.days
        return Keyed(self.key).days(work.fill(self.per), self.days)


def _moved(value: str, shift: timedelta, trail: str) -> str:
    try:
        return moved(value, shift)
    except ValueError as e:
        raise Hold(f"The value of {trail}, {value!r}, has no whole date to move.") from e


def moved(value: str, shift: timedelta) -> str:
    """A DA or DT value moved by whole days. Raises ValueError when it has no whole date, or none is left."""
    try:
        day = date(int(value[:4]), int(value[4:6]), int(value[6:8])) + shift
    except OverflowError as e:
        raise ValueError(str(e)) from e
    return f"{day.year:04d}{day.month:02d}{day.day:02d}{value[8:]}"
