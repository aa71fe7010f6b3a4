"""Morph `crosswalk`: replaces tags by what a table says of their values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Final, Literal

from pydantic import Field

from engine.component import Name
from engine.crosswalk.base import Key
from engine.crosswalk.cache import Answer
from engine.crosswalk.lookup import Lookups
from engine.crosswalk.map import CrosswalkMap, wildcard_prefix
from engine.dicom.paths import Step, TagPath
from engine.errors import Hold
from engine.morphs.base import AnyMorph
from engine.morphs.work import Work

__all__ = ["Crosswalk", "keys_in"]

LONGEST: Final = 1 << 16
"""Characters of a value that is looked up. A longer one is no identifier, and a server may refuse it with the whole batch."""


class Crosswalk(AnyMorph):
    """Replaces tags by what a crosswalk map finds for them in its table. Each value of a tag with several is looked up.

    A database that is away holds the image until it is back; a value without a row is treated as the map says.
    """

    label: ClassVar[str] = "Crosswalk"
    kind: Literal["crosswalk"] = "crosswalk"
    map: Name = Field(json_schema_extra={"form": "name:crosswalk_maps"}, examples=["pseudonyms"])
    """The crosswalk map: what is looked up, and what is replaced."""

    @property
    def about(self) -> str:
        return self.map

    @property
    def asks(self) -> bool:
        return True

    def looks_at(self, lookups: Lookups | None) -> Sequence[TagPath] | None:
        if lookups is None or not lookups.has(self.map):
            return None
        one = lookups.map(self.map)
        return [*one.match_paths, *map(TagPath.parse, one.replace)]

    def apply(self, work: Work) -> None:
        if work.lookups is None:
            raise Hold("No crosswalk can be asked here.")
        one = work.lookups.map(self.map)
        asked = [(items, _keys(one, items, work)) for items in _items(one, work)]
        answers = work.lookups.find(self.map, [key for _, keys in asked for key in keys if all(key)])
        for items, keys in asked:  # all is known before anything is changed
            _replace(one, items, keys, [answers.get(key, Answer(None)) for key in keys], work)


def keys_in(one: CrosswalkMap, work: Work) -> list[Key]:
    """What the map would look up in an instance. Raises Hold."""
    return [key for items in _items(one, work) for key in _keys(one, items, work) if all(key)]


def _items(one: CrosswalkMap, work: Work) -> Iterator[tuple[Step, ...]]:
    """The way to each item that the matched tags' `[*]` stands for; one empty way when they have none."""
    prefix = next(filter(None, map(wildcard_prefix, one.match_paths)), ())
    if not prefix:
        yield ()
        return
    for place in work.places(TagPath(prefix, "SQ", ".".join(map(str, prefix)), None)):
        yield _numbered(prefix, TagPath.parse(place.trail).steps)


def _numbered(prefix: Sequence[Step], trail: Sequence[Step]) -> tuple[Step, ...]:
    return tuple(replace(step, index=there.index, all=False) for step, there in zip(prefix, trail, strict=True))


def _at(path: TagPath, items: tuple[Step, ...]) -> TagPath:
    """The path in that item, when it is inside the `[*]`."""
    if not items or not wildcard_prefix(path):
        return path
    steps = items + path.steps[len(items) :]
    return TagPath(steps, path.vr, ".".join(map(str, steps)), None)


def _keys(one: CrosswalkMap, items: tuple[Step, ...], work: Work) -> list[Key]:
    """The keys at that place, one a value: tags with one value go with each value of the others."""
    columns = [_values(_at(path, items), work) for path in one.match_paths]
    count = max(len(values) for values in columns)
    for path, values in zip(one.match_paths, columns, strict=True):
        if len(values) not in (1, count):
            raise Hold(f"{path} has {len(values)} values where another matched tag has {count}: which belong together?")
    return [tuple(values[i if len(values) > 1 else 0] for values in columns) for i in range(count)]


def _values(path: TagPath, work: Work) -> tuple[str, ...]:
    if path.is_file_meta:
        return (work.header.text(path).strip(" "),)
    values = [value.strip(" ") for place in work.places(path) for value in work.values(place)]
    if any(len(value) > LONGEST for value in values):
        raise Hold(f"The value of {path} is longer than the {LONGEST} characters that can be looked up.")
    return tuple(values) or ("",)


def _replace(
    one: CrosswalkMap, items: tuple[Step, ...], keys: Sequence[Key], answers: Sequence[Answer], work: Work
) -> None:
    for key, answer in zip(keys, answers, strict=True):
        if answer.many:
            raise Hold(f"The crosswalk map {one.name} has several rows that differ for {_shown(one, key)}.")
        if answer.values is None and one.on_miss in ("hold", "query"):
            raise Hold(f"The crosswalk map {one.name} has no row for {_shown(one, key)}.")
    places = [one.replace_columns.index(column) for column in one.replace.values()]
    for text, at in zip(one.replace, places, strict=True):
        given = [None if a.values is None else a.values[at] for a in answers]
        path = _at(TagPath.parse(text), items)
        if one.on_miss == "set":
            _write(path, [one.defaults[text] if v is None else v for v in given], work)
        elif any(v is not None for v in given):
            _write(path, given, work)


def _write(path: TagPath, given: Sequence[str | None], work: Work) -> None:
    """Write the values; None keeps what stands in its place."""
    for place in work.make(path):
        values = list(given)
        if any(v is None for v in values):
            now = work.values(place) if place.tag in place.node else ()
            if len(now) != len(values):
                raise Hold(f"{place.trail} has {len(now)} values, of {len(values)} asked some are to be kept: which?")
            values = [old if new is None else new for new, old in zip(values, now, strict=True)]
        kept = [v for v in values if v is not None]
        work.write(place, kept if any(kept) else ())


def _shown(one: CrosswalkMap, key: Key) -> str:
    return " and ".join(
        f"{tag} '{value}'" if value else f"{tag} (it has no value)" for tag, value in zip(one.match, key, strict=True)
    )
