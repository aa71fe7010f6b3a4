"""One revision, ready to decide: rules and changes brought together, as `route` and the trial of rules use them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from engine.configuration import Configuration
from engine.crosswalk.base import Key
from engine.crosswalk.cache import Cache
from engine.crosswalk.lookup import Crosswalks, Lookups
from engine.crosswalk.map import CrosswalkMap
from engine.dicom.header import Header
from engine.duplicates import Duplicates
from engine.model import Association, Change
from engine.morphs.apply import Event
from engine.morphs.crosswalk import Crosswalk, keys_in
from engine.morphs.memo import ChangeMemo
from engine.morphs.work import Work
from engine.rules.decide import Decision, Rulebook
from engine.rules.model import Rule, State

__all__ = ["Decider"]


@dataclass(frozen=True)
class Decider:
    """One revision, ready to decide: the compiled rules and what a change must know."""

    revision: int
    rulebook: Rulebook
    original_attributes: bool
    """The setting; a rule's own `original_attributes` overrides it."""
    system: str = "AXIOM FLOW"
    """(0400,0563) Modifying System."""
    history_headers: bool = True
    crosswalks: Crosswalks = field(default_factory=lambda: Crosswalks((), ()))
    crosswalk_maps: tuple[CrosswalkMap, ...] = ()
    """The maps that rules use, live or in shadow."""
    duplicates: Mapping[str, Duplicates] = field(default_factory=dict)
    """What each source does with what comes again."""
    compares_wholly: bool = False
    """Whether some source or destination wants to know if two contents are the same to the last byte."""
    changes: ChangeMemo = field(default_factory=ChangeMemo, compare=False)
    """What was changed so far, by rules that ask nobody."""

    @classmethod
    def of(cls, revision: int, configuration: Configuration, *, cache: Cache | None = None, **options: Any) -> Decider:
        """`cache`: where the crosswalks remember their answers."""
        rulebook = Rulebook(configuration.ordered_rulesets(), configuration.schedules)
        crosswalks = Crosswalks(configuration.crosswalk_maps, configuration.crosswalk_sources, cache)
        used = {
            morph.map
            for ruleset in configuration.rulesets for rule in ruleset.rules if rule.state is not State.OFF
            for morph in rule.morphs if isinstance(morph, Crosswalk)
        }  # fmt: skip
        maps = tuple(m for m in configuration.crosswalk_maps if m.name in used)
        duplicates = {source.name: source.duplicates for source in configuration.sources}
        wholly = any(d.any for d in [*duplicates.values(), *(d.duplicates for d in configuration.destinations)])
        return cls(
            revision=revision,
            rulebook=rulebook,
            crosswalks=crosswalks,
            crosswalk_maps=maps,
            duplicates=duplicates,
            compares_wholly=wholly,
            **options,
        )

    def look_up(self, headers: Iterable[Header]) -> ChangeMemo:
        """What the crosswalks say of the instances of a batch, one question a map, and room for what is changed alike.

        Whatever goes wrong here goes wrong again when a rule needs the answer, and is told then, of that instance alone.
        """
        lookups = Lookups(self.crosswalks)
        keys: dict[str, list[Key]] = {m.name: [] for m in self.crosswalk_maps}
        for header in headers:
            work = Work(header)
            for one in self.crosswalk_maps:
                with suppress(Exception):
                    keys[one.name] += keys_in(one, work)
        for name, wanted in keys.items():
            with suppress(Exception):
                lookups.find(name, wanted)
        return ChangeMemo(lookups)

    def decide(
        self,
        header: Header,
        association: Association,
        received_at: datetime,
        now: datetime,
        asked: ChangeMemo | None = None,
    ) -> Decision:
        """What the rules say of one instance, with its changed branches. Raises Hold when it cannot be decided.

        asked: what its batch has looked up, and changed so far by rules that ask a table or a secret (`look_up`).
        """
        asked = asked or ChangeMemo(Lookups(self.crosswalks))

        def changer(rule: Rule, header: Header) -> tuple[Header, tuple[Change, ...], tuple[str, ...]]:
            wanted = self.original_attributes if rule.original_attributes is None else rule.original_attributes
            event = Event(wanted, self.system, now, association.calling_ae or association.source)
            memo = asked if any(morph.asks for morph in rule.morphs) else self.changes
            changed = memo.change(header, rule.morphs, event)
            return changed.header, changed.changes, changed.warnings

        return self.rulebook.decide(header, association, received_at, changer)
