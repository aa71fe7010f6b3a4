"""Applies a rule's morphs to one instance's header: all of them, or none and the instance is held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from engine.crosswalk.lookup import Lookups
from engine.dicom.header import Header
from engine.dicom.patch import patched
from engine.errors import Hold, Retry
from engine.model import Change
from engine.morphs.base import AnyMorph
from engine.morphs.original_attributes import Reason, record
from engine.morphs.work import Work

__all__ = ["Changed", "Event", "change", "finish", "worked"]


@dataclass(frozen=True, slots=True)
class Changed:
    """What came of it: the header (the very one given when nothing changed), and each tag before and after."""

    header: Header
    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()
    """New values that their VR or VM does not allow, written because their morphs say `invalid: warn`."""


class Event(NamedTuple):
    """What is told of a modification beside the values themselves (PS3.3 C.12.1.1.9)."""

    original_attributes: bool
    """Whether the prior values are recorded in (0400,0561). Never where a morph hides what was before."""
    system: str
    """Modifying System."""
    at: datetime
    """When: aware."""
    source: str = ""
    """Source of Previous Values."""
    reason: Reason = "COERCE"


def change(header: Header, morphs: Sequence[AnyMorph], event: Event, lookups: Lookups | None = None) -> Changed:
    """Apply the morphs in their order; each sees what those before it made.

    One item for this call goes into (0400,0561) Original Attributes.
    lookups: what the crosswalk maps know, shared by a batch.
    Raises Hold, naming the morph and the tag, when one cannot be applied: then nothing is changed.
    """
    return finish(worked(header, morphs, lookups), morphs, event)


def worked(header: Header, morphs: Sequence[AnyMorph], lookups: Lookups | None) -> Work:
    """The work of the morphs, nothing written yet. Raises Hold as `change` does."""
    work = Work(header, lookups)
    for morph in morphs:
        work.kind, work.lenient = morph.kind, morph.lenient
        work.carries = morph.identifies or (bool(work.carried) and morph.draws_on(work.carried))
        try:
            morph.apply(work)
        except (Hold, Retry) as e:  # a secret that cannot be had is a person's to mend, too
            raise Hold(f"{_name(morph)}: {e}", getattr(e, "waits_for", "")) from e
        except Exception as e:  # fail closed, whatever a site's own kind raises
            raise Hold(f"{_name(morph)} failed: {type(e).__name__}: {e}") from e
    return work


def finish(work: Work, morphs: Sequence[AnyMorph], event: Event) -> Changed:
    """What the work made, with its record. Raises Hold as `change` does."""
    header = work.header
    hidden = any(morph.hides for morph in morphs)
    if not work.changes and not hidden:
        return Changed(header, (), tuple(work.warnings))
    if event.original_attributes and not hidden:
        _, system, at, source, reason = event
        record(work.root, header.root, work.touched, system=system, at=at, source=source, reason=reason)
    return Changed(patched(header, work.root, new_meta=hidden), tuple(work.changes), tuple(work.warnings))


def _name(morph: AnyMorph) -> str:
    return f"{morph.kind} {morph.about}".rstrip()
