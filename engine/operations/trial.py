"""Trying the rules on a file: the same decision as on arrival, with each branch's changes; nothing is kept or sent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.configuration import Configuration, load_configuration
from engine.dicom.header import Header
from engine.flow import Decider
from engine.model import Association, Verdict
from engine.rules.decide import Branch

if TYPE_CHECKING:
    from engine.operations import Operations

__all__ = ["test_rules"]


def test_rules(
    ops: Operations, path: Path, association: Association, configuration: Configuration | Mapping[str, Any] | None
) -> dict[str, Any]:
    """`{"decisions": [{ruleset, rule, state, matched, reasons, changes, destinations}]}`, in the order of the rules."""
    live = ops.store.live()
    if configuration is None:
        draft = live.configuration
    elif isinstance(configuration, Configuration):
        draft = configuration
    else:
        draft = load_configuration(configuration)
    now = datetime.now(UTC)
    original_attributes = ops.settings.log_original_attributes
    decider = Decider.of(live.revision, draft, cache=ops.cache, original_attributes=original_attributes)
    header = Header.read(path)
    decision = decider.decide(header, association, now, now)
    branches = {(b.ruleset, b.rule): b for b in (*decision.branches, *decision.shadows)}
    return {
        "sop_instance_uid": header.sop_instance_uid,
        "modality": header.text("Modality"),
        "decisions": [_decision(v, branches.get((v.ruleset, v.rule))) for v in decision.verdicts],
        "matched": any(v.matched and v.state == "live" for v in decision.verdicts),
    }


def _decision(verdict: Verdict, branch: Branch | None) -> dict[str, Any]:
    return {
        "ruleset": verdict.ruleset,
        "rule": verdict.rule,
        "state": verdict.state,
        "matched": verdict.matched,
        "reasons": list(verdict.reasons),
        "destinations": list(verdict.destinations),
        "changes": [
            {"path": c.path, "tag": c.tag, "vr": c.vr, "before": c.before, "after": c.after, "morph": c.morph,
             "carries": c.carries}
            for c in (branch.changes if branch else ())
        ],
    }
