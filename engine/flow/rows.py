"""The history rows of a decision: one of each instance, of each rule's verdict, of each change."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from engine.dicom.header import Header
from engine.flow.decider import Decider
from engine.model import Verdict
from engine.rules.columns import COLUMNS, columns_of, value_of
from engine.rules.decide import Decision
from engine.spool.batch import BatchInfo

__all__ = ["Row", "change_rows", "decision_row", "held_row", "instance_row"]

Row = dict[str, Any]
LONGEST_HEADER = 1 << 20
"""Bytes; a longer header is not put into the history (its typed columns are)."""


def _base(batch: BatchInfo, index: int, header: Header | None, now: datetime) -> Row:
    return {
        "at": now.isoformat(),
        "node": batch.node,
        "batch": batch.id,
        "index": index,
        "sop_instance_uid": header.sop_instance_uid if header else "",
    }


def _origin(batch: BatchInfo, index: int, path: Path, decider: Decider, now: datetime) -> Row:
    a = batch.association
    return {
        "id": f"{batch.id}/{index}",
        "source": a.source,
        "source_kind": a.source_kind,
        "calling_ae": a.calling_ae,
        "called_ae": a.called_ae,
        "source_ip": a.source_ip,
        "user": a.user,
        "tls_subject": a.tls_subject,
        "received_at": batch.received_at.isoformat(),
        "routed_at": now.isoformat(),
        "bytes": path.stat().st_size,
        "revision": decider.revision,
        "held_reason": "",
    }


def instance_row(
    batch: BatchInfo, index: int, path: Path, header: Header, decider: Decider, now: datetime
) -> Row:
    row = _base(batch, index, header, now) | _origin(batch, index, path, decider, now)
    row["sop_class_uid"] = header.sop_class_uid
    row["transfer_syntax_uid"] = header.transfer_syntax_uid
    row |= columns_of(header)
    row["header"] = _header_json(header) if decider.history_headers else None
    return row


def _header_json(header: Header) -> str | None:
    """The full header, unless it is huge: those of enhanced multi-frame images can be as long as pixel data."""
    length = sum(end - start for tag, (_, _, start, end, _) in header.root.index.items() if tag >> 16 != 0x7FE0)
    if length > LONGEST_HEADER:
        return None
    text = orjson.dumps(header.as_json())
    return text.decode() if len(text) <= LONGEST_HEADER else None


def held_row(
    batch: BatchInfo, index: int, path: Path, header: Header | None, reason: str, decider: Decider, now: datetime
) -> Row:
    """What can be said of an instance that could not be decided: as much of its header as can be read."""
    row = _base(batch, index, header, now) | _origin(batch, index, path, decider, now)
    row |= {"outcome": "held", "held_reason": reason}
    if header is not None:
        row["sop_class_uid"] = header.sop_class_uid
        row["transfer_syntax_uid"] = header.transfer_syntax_uid
        for column in COLUMNS:
            try:
                row[column] = value_of(header, column)
            except Exception:  # noqa: BLE001
                row[column] = None  # this may be the very value that is broken; the reason says so
    return row


def decision_row(
    batch: BatchInfo, index: int, header: Header, verdict: Verdict, decider: Decider, now: datetime
) -> Row:
    return _base(batch, index, header, now) | {
        "id": f"{batch.id}/{index}/{verdict.ruleset}/{verdict.rule}",
        "ruleset": verdict.ruleset,
        "rule": verdict.rule,
        "state": verdict.state,
        "matched": verdict.matched,
        "reasons": list(verdict.reasons),
        "destinations": list(verdict.destinations),
        "revision": decider.revision,
    }


def change_rows(
    batch: BatchInfo, index: int, header: Header, decision: Decision, now: datetime
) -> list[Row]:
    rows = []
    for state, branches in (("live", decision.branches), ("shadow", decision.shadows)):
        for branch in branches:
            for n, c in enumerate(branch.changes):
                rows.append(
                    _base(batch, index, header, now)
                    | {
                        "id": f"{batch.id}/{index}/{branch.ruleset}/{branch.rule}/{n}",
                        "ruleset": branch.ruleset,
                        "rule": branch.rule,
                        "state": state,
                        "path": c.path,
                        "tag": c.tag,
                        "vr": c.vr,
                        "before": c.before,
                        "after": c.after,
                        "morph": c.morph,
                        "carries": c.carries,
                    }
                )
    return rows
