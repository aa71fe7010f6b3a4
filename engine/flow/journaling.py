"""What routing and delivering tell the journal: counts, and which batch or delivery it was. Nothing of a patient.

Told before the step is closed: a step that a crash cut off is done again, and tells it again, under the same id.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from engine.dicom.header import Header
from engine.dicom.meta import Meta
from engine.dicom.source import Source
from engine.errors import AxiomError
from engine.model import Outcome
from engine.spool.batch import BatchInfo, read_batch_file
from engine.spool.ledger import Attempt, LedgerState
from engine.spool.plan import Plan, PlanDelivery, PlanItem
from engine.spool.spool import Spool

__all__ = ["tell_delivery", "tell_routed"]

MOST_STUDIES = 20


def tell_routed(spool: Spool, batch: BatchInfo, plan: Plan) -> None:
    """A batch was decided. Raises OSError when the disk says no."""
    spool.journal.write(
        "routed", sync=bool(plan.held), id=f"{batch.id}/routed", batch=batch.id, source=batch.association.source,
        held=len(plan.held), unmatched=len(plan.unmatched), deliveries=len(plan.deliveries), revision=plan.revision,
    )  # fmt: skip


def tell_delivery(
    spool: Spool, folder: Path, plan: Plan, delivery: PlanDelivery, attempts: Sequence[Attempt], state: LedgerState
) -> None:
    """Attempts at a delivery ended, and how it stands now. Raises OSError when the disk says no."""
    indexes = spool.indexes(plan, delivery)
    whole = all(i in state.confirmed for i in indexes)
    receipts = [r for attempt in attempts for r in attempt.receipts]
    delivery_id = plan.delivery_id(delivery)
    outcome = "done" if whole else "dead" if state.refused else "retry"
    branch = plan.branches[delivery.branch]
    items = [branch.items[i] for i in delivery.items]
    spool.journal.write(
        "delivery", sync=outcome != "retry", id=f"{delivery_id}/{len(state.attempts)}/{outcome}", delivery=delivery_id,
        batch=plan.batch, destination=delivery.destination, rule=f"{branch.ruleset}/{branch.rule}", outcome=outcome,
        whole=whole, instances=len(indexes), seconds=_age(folder),
        confirmed=sum(r.outcome is Outcome.CONFIRMED for r in receipts),
        refused=sum(r.outcome is Outcome.REFUSED for r in receipts),
        bytes=sum(r.size for r in receipts if r.outcome is Outcome.CONFIRMED),
        studies=_studies(folder, items) if whole else [], code=state.last.code if state.last and not whole else "",
    )  # fmt: skip


def _studies(folder: Path, items: Sequence[PlanItem]) -> list[str]:
    """The Study Instance UIDs as they left, of each series once; of very many, the first."""
    found: dict[str, None] = {}
    for item in list({item.series or str(item.index): item for item in items}.values())[:MOST_STUDIES]:
        with suppress(AxiomError, OSError):  # it was delivered: what cannot be read now must not send it again
            head, data_set = item.content(folder)
            size = len(head) + data_set.length
            path = folder / f"{item.index:06d}.dcm"
            uid = Header(path, size, len(head), Meta(head), data_set, Source(data_set.pieces)).text("StudyInstanceUID")
            found[uid] = None
    return [uid for uid in found if uid]


def _age(folder: Path) -> float:
    """Seconds since the batch began to come."""
    return max(0.0, (datetime.now(UTC) - read_batch_file(folder).received_at).total_seconds())
