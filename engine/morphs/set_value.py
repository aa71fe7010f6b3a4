"""Morph `set`: gives a tag a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from engine.crosswalk.lookup import Lookups
from engine.dicom.encode import check_multiplicity, check_value
from engine.dicom.paths import TagPath
from engine.dicom.vr import BINARY, LONG, SHORT, SINGLE
from engine.morphs.base import CHARACTER_SET, UIDS, Morph
from engine.morphs.template import parse, plain, tags_of
from engine.morphs.work import Work

__all__ = ["Set", "TemplateText", "split_values"]


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _check_template(text: str) -> str:
    parse(text)
    return text


TemplateText = Annotated[
    str, BeforeValidator(_as_text, json_schema_input_type=str | float), AfterValidator(_check_template)
]
"""Text that may name tags, `{StudyDate}_{Modality}`. A number in YAML or JSON is taken as its text, as the schema says."""


def split_values(text: str, vr: str) -> tuple[str, ...]:
    """A text as values: parted by backslashes where the VR allows several, none when it is empty."""
    if not text:
        return ()
    return (text,) if vr in SINGLE else tuple(text.split("\\"))


class Set(Morph):
    """Gives a tag a value. A missing tag is made, with the private block or the sequence's next item that it needs.

    `{StudyDate}_{Modality}` takes values from other tags; `{StudyDescription|none}` says what stands in for a missing one.
    """

    label: ClassVar[str] = "Set"
    kind: Literal["set"] = "set"
    value: TemplateText = Field(examples=["Axiom", "{StudyDate}_{Modality}", "ORIGINAL\\PRIMARY"])
    """The new value; a backslash parts several values; empty makes the element empty."""
    vr: str = Field(default="", pattern=r"^([A-Z]{2})?$", examples=["LO"])
    """For a private element that no dictionary knows: its VR (LO when left empty)."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        path = self.path
        if path.steps[-1].index is not None or path.steps[-1].all:
            raise ValueError(f"{path} is an item: name an element inside it")
        if self.vr and (not path.is_private or path.vr):
            raise ValueError(f"the VR of {path} is known ({path.vr}): leave `vr` empty")
        if self.vr and self.vr.encode() not in SHORT.keys() | LONG.keys():
            raise ValueError(f"there is no VR {self.vr}")
        vrs = (self.vr or path.vr or "LO").split(" or ")
        if all(vr in BINARY or vr == "SQ" for vr in vrs):
            what = "a sequence: copy, move or delete it, or set the elements inside it" if "SQ" in vrs else "bytes"
            raise ValueError(f"{path} holds {what}")
        text = plain(self.value)
        if text is not None:
            self._check_text(text, [vr for vr in vrs if vr not in BINARY])
        return self

    def _check_text(self, text: str, vrs: list[str]) -> None:
        path = self.path
        tag = path.steps[-1].tag
        if not text and len(path.steps) == 1 and tag in (*UIDS, CHARACTER_SET):
            raise ValueError(f"an instance cannot be without {path}")
        problems = [_first_problem(text, vr, path.known.vm if path.known else "1-n") for vr in vrs]
        if self.invalid == "hold" and all(problems):
            raise ValueError(f"{text!r} is not valid for {path} (VR {' or '.join(vrs)}): {problems[0]}")

    def looks_at(self, lookups: Lookups | None) -> Sequence[TagPath]:
        return [self.path, *tags_of(self.value)]

    @property
    def sources(self) -> tuple[TagPath, ...]:
        return tags_of(self.value)

    def apply(self, work: Work) -> None:
        templates = split_values(self.value, self.vr or self.path.vr)  # a backslash out of another tag parts nothing
        values = [work.fill(template) for template in templates]
        for place in work.make(self.path):
            work.write(place, values if any(values) else (), self.vr)


def _first_problem(text: str, vr: str, vm: str) -> str:
    values = split_values(text, vr)
    words = [problem for value in values if (problem := check_value(value, vr))]
    if vr not in SINGLE and (count := check_multiplicity(len(values), vm)):
        words.append(count)
    return words[0] if words else ""
