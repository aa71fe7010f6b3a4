"""One revision, ready to decide: rules and changes brought together, as `route` and the trial of rules use them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from engine.configuration import Configuration
from engine.dicom.header import Header
from engine.model import Association, Change
from engine.morphs.apply import change
from engine.rules.decide import Decision, Rulebook
from engine.rules.model import Rule

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

    @classmethod
    def of(cls, revision: int, configuration: Configuration, **options: Any) -> Decider:
        rulebook = Rulebook(configuration.ordered_rulesets(), configuration.schedules)
        return cls(revision=revision, rulebook=rulebook, **options)

    def decide(self, header: Header, association: Association, received_at: datetime, now: datetime) -> Decision:
        """What the rules say of one instance, with its changed branches. Raises Hold when it cannot be decided."""

        def changer(rule: Rule, header: Header) -> tuple[Header, tuple[Change, ...], tuple[str, ...]]:
            wanted = self.original_attributes if rule.original_attributes is None else rule.original_attributes
            changed = change(
                header,
                rule.morphs,
                original_attributes=wanted,
                system=self.system,
                at=now,
                source=association.calling_ae or association.source,
            )
            return changed.header, changed.changes, changed.warnings

        return self.rulebook.decide(header, association, received_at, changer)
