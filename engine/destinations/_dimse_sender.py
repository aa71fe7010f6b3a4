"""The sending of a `dimse` destination: instances over associations, each in the transfer syntax that suits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from engine.destinations._transfer_syntax import TransferSyntaxPolicy
from engine.destinations.base import Outgoing
from engine.dicom.convert import converted, has_pixel_data
from engine.dicom.network.pdu import ProtocolError
from engine.dicom.network.requestor import MAX_CONTEXTS, Peer
from engine.dicom.network.status import code_of, outcome_of, status_words
from engine.dicom.network.store_scu import StoreScu
from engine.dicom.network.uids import is_uid, uid_name
from engine.dicom.network.wire import ConnectionLost
from engine.dicom.pixels import CannotConvert
from engine.errors import Retry
from engine.model import Outcome, Receipt, ReportOne

__all__ = ["DimseSender"]

Pair = tuple[str, str]
_NOT_SUPPORTED = code_of(0x0122)
_GIVE_UP_AFTER = 10  # "try later" answers in a row: the peer is full, so spare it the rest


class DimseSender:
    """Sends to one peer; `send` as `Destination.deliver` does, with its errors."""

    def __init__(self, peer: Peer, policy: TransferSyntaxPolicy, report: ReportOne, stop: threading.Event) -> None:
        self._peer = peer
        self._policy = policy
        self._report = report
        self._stop = stop

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        sendable = []
        for one in outgoing:
            if all(map(is_uid, (*_pair(one), one.sop_instance_uid))):
                sendable.append(one)
            else:
                words = "its SOP Class, SOP Instance or Transfer Syntax UID is missing or not valid: it cannot be sent"
                self._report(Receipt(one.index, Outcome.REFUSED, words=words))
        for pairs, contexts in self._in_associations(sendable):
            rest = [one for one in sendable if _pair(one) in pairs]
            while rest and not self._stop.is_set():
                rest = self._associate(rest, contexts)

    def _in_associations(self, outgoing: Sequence[Outgoing]) -> Iterator[tuple[set[Pair], list[Pair]]]:
        """What is sent together: pairs of SOP class and transfer syntax as received, in the order of their first use, and
        the contexts in which they may leave, as many as an association holds."""
        pairs: set[Pair] = set()
        contexts: dict[Pair, None] = {}
        for pair in dict.fromkeys(map(_pair, outgoing)):
            wanted = {(pair[0], syntax): None for syntax in self._policy.candidates(pair[1])}
            if len(contexts | wanted) > MAX_CONTEXTS:
                yield pairs, list(contexts)
                pairs, contexts = set(), {}
            pairs.add(pair)
            contexts |= wanted
        if pairs:
            yield pairs, list(contexts)

    def _associate(self, outgoing: list[Outgoing], contexts: list[Pair]) -> list[Outgoing]:
        """Send on one association; the rest that needs another one, because a file could not be read to its end."""
        later = 0
        try:
            with StoreScu(self._peer, contexts) as scu:
                for i, one in enumerate(outgoing):
                    if self._stop.is_set():
                        break
                    try:
                        receipt = self._store(scu, one)
                    except (EOFError, FileNotFoundError) as e:
                        words = f"the spool cannot give all its bytes: {e}"
                        self._report(Receipt(one.index, Outcome.REFUSED, words=words))
                        raise _Unreadable(i) from e
                    self._report(receipt)
                    later = later + 1 if receipt.outcome is Outcome.RETRY else 0
                    if later == _GIVE_UP_AFTER:
                        raise Retry(f"{later} times in a row: {receipt.words}", receipt.code)
        except (ConnectionLost, ProtocolError) as e:
            raise Retry(f"The association with {self._peer.called_ae} broke off: {e}.") from e
        except _Unreadable as e:
            return outgoing[e.at + 1 :]
        return []

    def _store(self, scu: StoreScu, one: Outgoing) -> Receipt:
        """In the first transfer syntax that the peer has accepted and that the instance can be written in."""
        received = one.transfer_syntax_uid
        targets = self._policy.targets(received)
        if not targets and (as_it_is := scu.contexts.get((one.sop_class_uid, received))) is not None:
            return _store(scu, as_it_is, one)  # nearly all are sent so
        failures: dict[str, None] = {}
        for syntax in self._policy.candidates(received):
            context = scu.contexts.get((one.sop_class_uid, syntax))
            if syntax == received:
                if targets and self._policy.otherwise == "refuse" and has_pixel_data(one.head, one.data_set):
                    break
                if context is not None:
                    return _store(scu, context, one)
                continue
            if context is None:
                continue
            try:
                with converted(one.head, one.data_set, syntax) as made:
                    if made is not None:
                        sent = replace(one, transfer_syntax_uid=syntax, head=made.head, data_set=made.data_set)
                        receipt = _store(scu, context, sent)
                        return replace(receipt, words=f"{receipt.words} (sent in {uid_name(syntax)})")
            except CannotConvert as e:
                failures[f"it cannot be written in {uid_name(syntax)}: {e}"] = None
        return _refused(one, scu, targets[:1] or [received], list(failures))


class _Unreadable(Exception):
    """The instance at this place broke off the association's message: its file ends too soon or is gone."""

    def __init__(self, at: int) -> None:
        self.at = at


def _pair(one: Outgoing) -> Pair:
    return one.sop_class_uid, one.transfer_syntax_uid


def _store(scu: StoreScu, context: int, one: Outgoing) -> Receipt:
    began = time.monotonic()
    try:
        status, comment = scu.store(context, one.sop_class_uid, one.sop_instance_uid, one.data_set)
    except FileNotFoundError:
        raise
    except OSError as e:
        raise Retry(f"A file of the spool could not be read: {e.strerror or e}.") from e
    return Receipt(
        one.index,
        outcome_of(status),
        code_of(status),
        status_words(status, comment),
        seconds=time.monotonic() - began,
        size=one.data_set.length,
    )


def _refused(one: Outgoing, scu: StoreScu, wanted: list[str], failures: list[str]) -> Receipt:
    refusals = [
        f"the peer does not accept {uid_name(one.sop_class_uid)} in {uid_name(syntax)}: {scu.refusals[pair]}"
        for syntax in wanted
        if (pair := (one.sop_class_uid, syntax)) in scu.refusals
    ]
    code = _NOT_SUPPORTED if refusals else ""
    return Receipt(one.index, Outcome.REFUSED, code, "; ".join([*refusals, *failures]))
