"""What stands in the configuration about rules: rulesets, their rules, schedules."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from engine.component import ConfigModel, Member, Name, uses_families
from engine.rules.condition import AssociationCondition, Condition
from engine.rules.schedule import Range, Schedule

__all__ = ["Changes", "GatherLevel", "Mode", "Range", "Rule", "Ruleset", "Schedule", "State"]


class Mode(StrEnum):
    """What happens after a rule has matched."""

    FIRST_MATCH = "FIRST_MATCH"
    """The first live match ends its ruleset."""
    ALL_MATCHES = "ALL_MATCHES"
    """Every matching rule is a branch of its own."""


class State(StrEnum):
    """Whether a rule acts."""

    OFF = "off"
    """It says nothing."""
    SHADOW = "shadow"
    """It decides and is logged, but delivers nothing."""
    LIVE = "live"


class Changes(StrEnum):
    """What the rules of a ruleset see."""

    SEPARATE = "separate"
    """Each sees the instance as received."""
    CHAINED = "chained"
    """Each sees, and passes on, what earlier matches changed."""


class GatherLevel(StrEnum):
    """What is delivered together."""

    NONE = "none"
    """Each batch goes when it is decided."""
    SERIES = "series"
    STUDY = "study"


@uses_families
class Rule(ConfigModel):
    """What an instance must be, how it is changed, and where it then goes."""

    name: Name
    priority: int = Field(ge=0, le=1_000_000, examples=[10])
    """Lower comes first; each rule of a ruleset has its own."""
    state: State = State.LIVE
    """`off`, `shadow` (decides and is logged, delivers nothing) or `live`."""
    sources: list[str] = Field(default=[], examples=[["modalities"], ["stow_rs"]])
    """Names or kinds of sources; empty: all of them."""
    when: Condition | None = Field(
        default=None, examples=[{"all": [{"tag": "Modality", "op": "eq", "value": "CT"}, {"tag": "PatientID", "op": "exists"}]}]
    )
    """What its tags must be; nothing: every instance."""
    association: AssociationCondition | None = Field(
        default=None, examples=[{"source_ip": {"op": "ip_in_subnet", "value": "10.1.0.0/16"}}]
    )
    """What its sender must be; nothing: every sender."""
    schedule: Name | None = Field(default=None, examples=["office"])
    """When it is on, judged at the time of receipt; nothing: always."""
    morphs: list[Annotated[Any, Member("morph")]] = []
    """The changes of tags, in their order."""
    destinations: list[Name] = Field(default=[], examples=[["pacs", "archive"]])
    gather: GatherLevel = GatherLevel.NONE
    """`series` or `study`: all of its images that come in, in whatever batches and from whatever sources, go together."""
    quiet: float = Field(default=60.0, gt=0, le=86_400, examples=[60])
    """Gathering ends when so many seconds have brought no further image, or when all that the source announced are there."""
    at_most: float = Field(default=3600.0, gt=0, le=604_800, examples=[3600])
    """Gathering ends so many seconds after its first image in any case."""
    original_attributes: bool | None = None
    """Whether its changes are recorded in the Original Attributes Sequence; nothing: as the system's setting says."""
    description: str = ""

    @model_validator(mode="after")
    def _times(self) -> Self:
        if self.gather is not GatherLevel.NONE and self.at_most < self.quiet:
            raise ValueError(
                f"at_most ({self.at_most:g} s) is shorter than quiet ({self.quiet:g} s): give it as many seconds or more."
            )
        return self


@uses_families
class Ruleset(ConfigModel):
    """Rules in their order, and what happens after a match."""

    name: Name
    priority: int = Field(ge=0, le=1_000_000, examples=[10])
    """Lower comes first; each ruleset has its own."""
    mode: Mode = Mode.ALL_MATCHES
    """`ALL_MATCHES`: every matching rule is a branch; `FIRST_MATCH`: the first live match ends the ruleset."""
    changes: Changes = Changes.SEPARATE
    """`separate`: each rule sees the instance as received; `chained`: as earlier matching rules changed it."""
    rules: list[Rule] = []
    description: str = ""
