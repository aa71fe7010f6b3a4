"""What stands in the configuration about rules: rulesets, their rules, schedules."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from engine.component import ConfigModel, Member, Name, uses_families

__all__ = ["Changes", "Mode", "Rule", "Ruleset", "Schedule", "State"]


class Mode(StrEnum):
    FIRST_MATCH = "FIRST_MATCH"
    ALL_MATCHES = "ALL_MATCHES"


class State(StrEnum):
    OFF = "off"
    SHADOW = "shadow"
    LIVE = "live"


class Changes(StrEnum):
    SEPARATE = "separate"
    CHAINED = "chained"


class Schedule(ConfigModel):
    name: Name
    time_zone: str = "UTC"
    ranges: list[dict[str, Any]] = []


@uses_families
class Rule(ConfigModel):
    name: Name
    priority: int = Field(ge=0, le=1_000_000)
    state: State = State.LIVE
    sources: list[str] = []
    when: dict[str, Any] | None = None
    association: dict[str, Any] | None = None
    schedule: Name | None = None
    morphs: list[Annotated[Any, Member("morph")]] = []
    destinations: list[Name] = []
    original_attributes: bool | None = None
    description: str = ""


@uses_families
class Ruleset(ConfigModel):
    name: Name
    priority: int = Field(ge=0, le=1_000_000)
    mode: Mode = Mode.ALL_MATCHES
    changes: Changes = Changes.SEPARATE
    rules: list[Rule] = []
    description: str = ""
