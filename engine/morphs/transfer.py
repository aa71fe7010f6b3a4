"""What copy and move have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import model_validator

from engine.crosswalk.lookup import Lookups
from engine.dicom.paths import TagPath
from engine.dicom.vr import BINARY
from engine.errors import Hold
from engine.morphs.base import CHARACTER_SET, ChangedTag, Morph
from engine.morphs.work import Place, Work

__all__ = ["Transfer"]


class Transfer(Morph):
    """From `tag` to `to`. With `[*]` in the same place of both, each item keeps its own; else the values are gathered."""

    to: ChangedTag
    """The tag that receives it."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        source, target = self.path, self.target
        for path in (source, target):
            if path.steps[-1].index is not None or path.steps[-1].all:
                raise ValueError(f"{path} is an item: name the whole sequence or an element inside it")
            if path.steps[-1].tag == CHARACTER_SET:
                raise ValueError(f"{path} is changed by `set` only, which re-encodes the texts")
        if source == target:
            raise ValueError("`tag` and `to` are the same")
        if _inside(source, target):
            raise ValueError(f"{target} is inside {source}")
        a, b = _shape(source.vr), _shape(target.vr)
        if a and b and a != b:
            raise ValueError(f"{source} (VR {source.vr}) does not fit into {target} (VR {target.vr})")
        return self

    @property
    def target(self) -> TagPath:
        return TagPath.parse(self.to)

    def looks_at(self, lookups: Lookups | None) -> Sequence[TagPath]:
        return [self.path, self.target]

    @property
    def sources(self) -> tuple[TagPath, ...]:
        return (self.path,)

    def transfer(self, work: Work) -> list[Place]:
        """Copy; returns the places copied from. Raises Hold when they do not fit."""
        source, target = self.path, self.target
        if source.has_wildcard and source.steps[:-1] == target.steps[:-1]:
            done = []
            for place in work.places(source):
                tag = place.node.reserve(target.steps[-1])
                trail = place.trail[: len(place.trail) - len(str(source.steps[-1]))] + str(target.steps[-1])
                self._one(work, [place], Place(place.node, tag, trail, place.top if len(source.steps) > 1 else tag))
                done.append(place)
            return done
        places = work.places(source)
        if places:
            for to in work.make(target):
                self._one(work, places, to)
        return places

    def _one(self, work: Work, places: list[Place], to: Place) -> None:
        first = places[0]
        vr = first.node.vr(first.tag)
        if vr == "SQ" or vr in BINARY:
            wanted = self.target.vr.split(" or ")
            if len(places) > 1:
                raise Hold(f"{self.tag} leads to {len(places)} elements: bytes and sequences are copied one to one.")
            if self.target.vr and vr not in wanted:
                raise Hold(f"{first.trail} (VR {vr}) does not fit into {to.trail} (VR {self.target.vr}).")
            work.copy(first, to)
            return
        work.write(to, [value for place in places for value in work.values(place)], "" if self.target.vr else vr)


def _inside(source: TagPath, target: TagPath) -> bool:
    n = len(source.steps)
    if len(target.steps) <= n:
        return False
    same = source.steps[:-1] == target.steps[: n - 1]
    a, b = source.steps[-1], target.steps[n - 1]
    return same and (a.tag, a.group, a.creator, a.element) == (b.tag, b.group, b.creator, b.element)


def _shape(vr: str) -> str:
    choices = vr.split(" or ")
    if not vr or vr == "UN":
        return ""
    if "SQ" in choices:
        return "items"
    return "bytes" if all(v in BINARY for v in choices) else "" if any(v in BINARY for v in choices) else "text"
