"""Held and unmatched instances: seen with their reasons, sent through again, thrown away on a person's word."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from engine.dicom.header import Header
from engine.errors import Hold, Invalid, Missing, Problem
from engine.operations.outcome import for_each
from engine.spool.batch import read_batch_file

if TYPE_CHECKING:
    from engine.operations import Operations

__all__ = ["discard", "listing", "release"]

SHOWN = ("PatientID", "PatientName", "Modality", "StudyDate", "AccessionNumber")
SHOWN_INSTANCES = 50
MASK = "***"
_QUOTED = re.compile(r"""['"].*['"]""", re.DOTALL)
"""From the first quotation mark to the last: reasons quote the values that were in the way."""


def listing(ops: Operations, box: str, limit: int, *, mask: bool) -> list[dict[str, Any]]:
    """The batches in a box, newest first, each with its reasons and the first of its instances."""
    out = []
    for folder in reversed(ops.spool.batches(box)[-limit:]):
        try:
            out.append(_item(ops, box, folder.name, mask=mask))
        except (Missing, FileNotFoundError):
            continue  # released or discarded in this moment
    return out


def _item(ops: Operations, box: str, batch_id: str, *, mask: bool) -> dict[str, Any]:
    data = ops.spool.box_reasons(box, batch_id)
    reasons: dict[str, str] = data["reasons"]  # type: ignore[assignment]
    if mask:
        reasons = {name: _QUOTED.sub(f"'{MASK}'", reason) for name, reason in reasons.items()}
    info = read_batch_file(ops.spool.root / box / batch_id)
    instances = []
    for name, reason in list(reasons.items())[:SHOWN_INSTANCES]:
        shown = {"index": int(name.split(".")[0]), "sop_instance_uid": "", "reason": reason}
        try:
            header = Header.read(info.folder / name)
            shown["sop_instance_uid"] = header.sop_instance_uid
            for keyword in SHOWN:
                value = header.text(keyword)
                hide = mask and value and keyword in ("PatientID", "PatientName", "AccessionNumber")
                shown[_snake(keyword)] = MASK if hide else value
        except Hold:
            shown["unreadable"] = True  # its reason stands beside it already
        instances.append(shown)
    return {
        "id": batch_id,
        "at": data["at"],
        "received_at": info.received_at.isoformat(),
        "source": info.association.source,
        "calling_ae": info.association.calling_ae,
        "source_ip": info.association.source_ip,
        "reason": "; ".join(dict.fromkeys(reasons.values())),
        "waits_for": sorted(set(data.get("waits", {}).values())),  # type: ignore[attr-defined]
        "revision": data["revision"],
        "count": len(reasons),
        "instances": instances,
    }


def _snake(keyword: str) -> str:
    return {"PatientID": "patient_id"}.get(keyword) or "".join(f"_{c.lower()}" if c.isupper() else c for c in keyword)[1:]


def release(ops: Operations, box: str, ids: Iterable[str], who: str) -> dict[str, Any]:
    def one(batch_id: str) -> None:
        new_id = ops.spool.release(box, batch_id)
        _say(ops, who, "retry" if box == "held" else "replay", box, batch_id, f"sent through the rules again as {new_id}")

    answer = for_each(ids, one)
    if answer["done"]:
        ops.wake("route")
    return answer


def discard(ops: Operations, box: str, ids: Iterable[str], reason: str, who: str) -> dict[str, Any]:
    if not reason.strip():
        raise Invalid([Problem(("reason",), "Say why they are thrown away: the reason is kept with them in the history.")])

    def one(batch_id: str) -> None:
        data = ops.spool.box_reasons(box, batch_id)
        ops.spool.discard_box(box, batch_id)
        _say(ops, who, "discard", box, batch_id, f"{len(data['reasons'])} instances: {reason}")  # type: ignore[arg-type]

    return for_each(ids, one)


def _say(ops: Operations, who: str, action: str, box: str, batch_id: str, detail: str) -> None:
    ops.store.audit.write(who=who, action=action, family=box, name=batch_id, detail={"words": detail})
