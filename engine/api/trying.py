"""Trying rules on a file, for people of whom some may not see patients: who may try what, and what they are shown of it."""

from __future__ import annotations

from typing import Any

from engine.api.access import Caller
from engine.configuration import Configuration
from engine.dicom.identity import may_identify
from engine.errors import Denied, Hold
from engine.morphs.base import AnyMorph
from engine.security.roles import Permission

__all__ = ["allow_draft", "masked", "masked_hold"]

_HIDDEN = "***"


def allow_draft(caller: Caller, live: Configuration, draft: Configuration) -> None:
    """Whether they may try this draft: some of its changes ask databases and secrets, as `check_item` does. Raises Denied.

    What a crosswalk or a secret key makes of a file of one's own can also be read off the rules that come after it, so that
    hiding the values is not enough: who may not see patients tries such changes as they are live, in no draft.
    """
    asks = [morph for morph in _morphs(draft) if morph.sources is None]
    same_tables = all(getattr(draft, family) == getattr(live, family) for family in ("crosswalk_sources", "crosswalk_maps"))
    if not asks or (same_tables and draft.rulesets == live.rulesets):
        return
    if caller.masked:
        words = "To try a draft with crosswalks or secret keys needs the permission to see patient data, which you do not have."
        raise Denied(words, known=True)
    known = _morphs(live)
    if Permission.EDIT not in caller.permissions and not (same_tables and all(morph in known for morph in asks)):
        words = "To try a draft with crosswalks or secret keys that are not live needs the permission to edit."
        raise Denied(words, known=True)


def _morphs(configuration: Configuration) -> list[AnyMorph]:
    return [morph for ruleset in configuration.rulesets for rule in ruleset.rules for morph in rule.morphs]


def masked(answer: dict[str, Any]) -> dict[str, Any]:
    """A trial's answer for a viewer who may not see patients: no values seen, none of tags that may tell who a patient is, none
    that came out of such a tag or lead back from a pseudonym."""
    for decision in answer["decisions"]:
        decision["reasons"] = [reason.split(":", 1)[0] for reason in decision["reasons"]]
        for change in decision["changes"]:
            if change["carries"] or may_identify(int(change["tag"], 16), change["vr"]):
                change["before"] = change["before"] and _HIDDEN
                change["after"] = change["after"] and _HIDDEN
    return answer


def masked_hold(hold: Hold) -> Hold:
    """Why the file would be held, for such a viewer: ruleset, rule and change, not the words behind, which may name values."""
    known = str(hold).split(": ", 2)[:-1] or ["This instance"]
    return Hold(f"{': '.join(known)}: it would be held. Why is shown to those who may see patient data.")
