"""A crosswalk map: which tags are matched with which columns of a table, and which columns replace which tags."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated, Literal, Self

import orjson
from pydantic import Field, model_validator

from engine.component import ConfigModel, Name
from engine.crosswalk.base import CrosswalkSource, need_columns
from engine.dicom.changeable import ChangedTag
from engine.dicom.paths import Step, TagPath, TagPathText
from engine.errors import Hold
from engine.model import Tick

__all__ = ["CrosswalkMap", "wildcard_prefix"]

Column = Annotated[str, Field(min_length=1, max_length=128)]


class CrosswalkMap(ConfigModel):
    """What is looked up, and what is replaced by what is found. A match is exact, as text."""

    name: Name
    source: Name = Field(json_schema_extra={"form": "name:crosswalk_sources"}, examples=["mrn-db"])
    """The crosswalk source whose table is asked."""
    match: dict[TagPathText, Column] = Field(min_length=1, max_length=8, examples=[{"PatientID": "mrn"}])
    """Tags, and the columns that they must equal. Each value of a tag with several is looked up."""
    replace: dict[ChangedTag, Column] = Field(
        min_length=1, max_length=64, examples=[{"PatientID": "pseudonym", "PatientName": "alias"}]
    )
    """Tags, and the columns that they take their new values from."""
    on_miss: Literal["hold", "query", "keep", "set"] = "hold"
    """When there is no such row: `hold` the image, `keep` the tags as they are, `set` defaults; `query`: what the synced copy
    lacks is asked of the table itself, and held when that lacks it too."""
    defaults: dict[ChangedTag, str] = Field(default={}, examples=[{"PatientID": "UNKNOWN"}])
    """For `set`: the value of each replaced tag on a miss."""
    cache_seconds: float = Field(default=3600.0, ge=0, le=2_592_000)
    """How long an answer is remembered; 0: not at all."""
    miss_seconds: float = Field(default=60.0, ge=0, le=86_400)
    """How long it is remembered that there is no such row; 0: not at all."""
    sync_seconds: float = Field(default=0.0, ge=0, le=2_592_000)
    """Copy the whole table into the cache every so many seconds; 0: never. Then the copy is what is asked."""
    description: str = ""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for text in (*self.match, *self.replace):
            last = TagPath.parse(text).steps[-1]
            if last.index is not None or last.all:
                raise ValueError(f"{text} is an item: name an element inside it")
        prefixes = {wildcard_prefix(TagPath.parse(t)) for t in self.match} - {()}
        if len(prefixes) > 1:
            raise ValueError("the matched tags have [*] in different sequences: which items belong together?")
        for prefix in prefixes:
            for text in self.replace:
                if wildcard_prefix(TagPath.parse(text)) != prefix:
                    raise ValueError(f"{text} must be inside the same [*] as the matched tags: each item has its own answer")
        if self.on_miss == "set" and (without := [t for t in self.replace if t not in self.defaults]):
            raise ValueError(f"`set` needs a default for {', '.join(without)}")
        if extra := [t for t in self.defaults if t not in self.replace]:
            raise ValueError(f"{', '.join(extra)} has a default but is not replaced")
        return self

    @cached_property
    def match_paths(self) -> tuple[TagPath, ...]:
        return tuple(TagPath.parse(t) for t in self.match)

    @property
    def match_columns(self) -> tuple[str, ...]:
        return tuple(self.match.values())

    @property
    def replace_columns(self) -> tuple[str, ...]:
        """The columns read, each once."""
        return tuple(dict.fromkeys(self.replace.values()))

    def digest(self, source: CrosswalkSource) -> str:
        """What of the definitions makes an answer what it is: the cache keeps answers of others apart."""
        told = source.model_dump(mode="json", exclude={"description", "password", "connect_seconds", "statement_seconds"})
        data = orjson.dumps([told, self.match_columns, self.replace_columns], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(data).hexdigest()[:24]

    def check_with(self, source: CrosswalkSource) -> list[Tick]:
        """Try it with the source it names. Never raises."""
        try:
            need_columns(source, source.columns(), [*self.match_columns, *self.replace_columns])
            source.find(self.match_columns, self.replace_columns, [tuple("0" for _ in self.match)])
        except Hold as e:
            return [Tick("columns", False, str(e))]
        return [Tick("columns", True, "all of them are there, and can be asked")]


def wildcard_prefix(path: TagPath) -> tuple[Step, ...]:
    """The steps up to the last `[*]`."""
    last = max((i for i, step in enumerate(path.steps) if step.all), default=-1)
    return path.steps[: last + 1]
