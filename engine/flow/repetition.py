"""What comes or leaves again: known for it, and treated as its source and destination say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from engine.destinations.base import Destination
from engine.dicom.header import Header
from engine.duplicates import Action, Again, Duplicates
from engine.errors import Hold
from engine.flow.decider import Decider
from engine.model import Outcome, Receipt
from engine.spool.batch import BatchInfo
from engine.spool.ledger import Ledger, LedgerState
from engine.spool.plan import PlanItem
from engine.spool.seen import Print, Seen, Sight, print_of

__all__ = ["Repetitions", "note_confirmed", "settle_repetitions"]


class Repetitions:
    """What of one batch was received before; `sights` collects what this batch adds."""

    def __init__(self, batch: BatchInfo, decider: Decider, look: Callable[[str], Sight | None]) -> None:
        self.sights: dict[str, Sight] = {}
        self._base = batch.id.partition("-r")[0]
        self._replayed = bool(batch.replay_of)
        self._policy = decider.duplicates.get(batch.association.source) or Duplicates()
        self._wholly = decider.compares_wholly
        self._source = batch.association.source
        self._look = look

    def look(self, path: Path, header: Header) -> tuple[Sight, Again | None, Action]:
        """How one instance repeats an earlier one (None: it does not), and what its source wants. Raises Hold to let it wait.

        What a person sends through again goes: holding it once more would hold it for ever.
        """
        uid = header.sop_instance_uid
        content = print_of(path, header.data_offset, whole=self._wholly)
        sight = Sight(uid, header.text("SeriesInstanceUID"), content, f"{self._base}/{path.name}")
        earlier = self.sights.get(uid) or self._look(uid)
        again = sight.again(earlier) if earlier is not None else None
        if earlier is None or again is None or self._replayed:
            return sight, again, Action.SEND_AGAIN
        action = self._policy.action(again)
        if action is Action.HOLD:
            first = f"first in batch {earlier.place.partition('/')[0]}{f', {_when(earlier)}' if earlier.at else ''}"
            raise Hold(
                f"It was received before and comes again {again.words} ({first}): the source {self._source} holds such "
                "duplicates. Retry it to send it, or discard it."
            )
        if action is Action.SKIP and again is Again.SAME_BYTES and not sight.surely_same(earlier):
            action = Action.SEND_AGAIN  # the earlier one was not compared to its last byte: nothing is dropped on a guess
        return sight, again, action


def _when(sight: Sight) -> str:
    return f"{datetime.fromtimestamp(sight.at, UTC):%Y-%m-%d %H:%M} UTC"


def settle_repetitions(
    seen: Seen, destination: Destination, batch: str, items: Sequence[PlanItem], state: LedgerState, ledger: Ledger
) -> list[PlanItem]:
    """Write the receipts of what the destination has confirmed before, as it wants; gives the rest, which is to be sent."""
    if not destination.duplicates.any or state.revived:
        return list(items)
    known = seen.sent(destination.name, [i.sop_instance_uid for i in items])
    rest: list[PlanItem] = []
    for item in items:
        earlier = known.get(item.sop_instance_uid)
        sight = _sight(item, batch)
        again = sight.again(earlier) if earlier is not None else None
        action = destination.duplicates.action(again) if again is not None else Action.SEND_AGAIN
        if earlier is None or again is None or action is Action.SEND_AGAIN:
            rest.append(item)
            continue
        words = f"{destination.name} has it since {_when(earlier)}, and it comes again {again.words}."
        if action is Action.HOLD:
            ledger.receipt(Receipt(item.index, Outcome.REFUSED, "duplicate", f"Held: {words}"))
        elif again is Again.SAME_BYTES and not sight.surely_same(earlier):
            rest.append(item)
        else:
            ledger.receipt(Receipt(item.index, Outcome.CONFIRMED, "skipped", f"Skipped: {words}"))
    return rest


def note_confirmed(
    seen: Seen, destination: Destination, batch: str, items: Sequence[PlanItem], state: LedgerState
) -> None:
    """Remember what a destination has now, if it asks about duplicates at all."""
    if destination.duplicates.any:
        seen.note_sent(destination.name, [_sight(i, batch) for i in items if i.index in state.confirmed])


def _sight(item: PlanItem, batch: str) -> Sight:
    origin, index = item.origin or (batch, item.index)
    place = f"{origin.partition('-r')[0]}/{index}"
    return Sight(item.sop_instance_uid, item.series, Print(item.near, item.whole), place)
