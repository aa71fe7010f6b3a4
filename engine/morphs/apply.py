"""Applies a rule's morphs to one instance's header: all of them, or none and the instance is held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from engine.crosswalk.lookup import Lookups
from engine.dicom.header import Header
from engine.dicom.patch import patched
from engine.errors import Hold, Retry
from engine.model import Change
from engine.morphs.base import AnyMorph
from engine.morphs.original_attributes import Reason, record
from engine.morphs.work import Work

__all__ = ["Changed", "change"]


@dataclass(frozen=True, slots=True)
class Changed:
    """What came of it: the header (the very one given when nothing changed), and each tag before and after."""

    header: Header
    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()
    """New values that their VR or VM does not allow, written because their morphs say `invalid: warn`."""


def change(
    header: Header,
    morphs: Sequence[AnyMorph],
    *,
    original_attributes: bool,
    system: str,
    at: datetime,
    source: str = "",
    reason: Reason = "COERCE",
    lookups: Lookups | None = None,
) -> Changed:
    """Apply the morphs in their order; each sees what those before it made.

    original_attributes: record the prior values in (0400,0561), one item for this call (PS3.3 C.12.1.1.9), with
    `system` as Modifying System, `at` (aware) as its time and `source` as Source of Previous Values. Never where a
    morph hides what was before.
    lookups: what the crosswalk maps know, shared by a batch.
    Raises Hold, naming the morph and the tag, when one cannot be applied: then nothing is changed.
    """
    work = Work(header, lookups)
    for morph in morphs:
        work.kind, work.lenient = morph.kind, morph.lenient
        work.carries = morph.identifies or (bool(work.carried) and morph.reads(work.carried))
        try:
            morph.apply(work)
        except (Hold, Retry) as e:  # a secret that cannot be had is a person's to mend, too
            raise Hold(f"{_name(morph)}: {e}", getattr(e, "waits_for", "")) from e
        except Exception as e:  # fail closed, whatever a site's own kind raises
            raise Hold(f"{_name(morph)} failed: {type(e).__name__}: {e}") from e
    hidden = any(morph.hides for morph in morphs)
    if not work.changes and not hidden:
        return Changed(header, (), tuple(work.warnings))
    if original_attributes and not hidden:
        record(work.root, header.root, work.touched, system=system, at=at, source=source, reason=reason)
    return Changed(patched(header, work.root, new_meta=hidden), tuple(work.changes), tuple(work.warnings))


def _name(morph: AnyMorph) -> str:
    return f"{morph.kind} {morph.about}".rstrip()
