"""Retrieving: C-MOVE and C-GET on an association that we ask for (PS3.4 C.4.2, C.4.3; PS3.7 9.1.3, 9.1.4, D.3.3.4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from engine.dicom.network.command import (
    C_CANCEL_RQ,
    C_GET_RQ,
    C_GET_RSP,
    C_MOVE_RQ,
    C_MOVE_RSP,
    C_STORE_RQ,
    NOTHING_SAID,
    Command,
    Counts,
)
from engine.dicom.network.identifier import decode_identifier, encode_identifier
from engine.dicom.network.messages import Released
from engine.dicom.network.models import TRANSFER_SYNTAXES
from engine.dicom.network.pdu import ProposedContext, ProtocolError, Role
from engine.dicom.network.query_scu import CANCEL_SECONDS, QueryScu
from engine.dicom.network.requestor import MAX_CONTEXTS, Peer
from engine.dicom.network.status import PENDING, query_failure, query_words
from engine.dicom.network.store_scp import Receiver
from engine.dicom.network.wire import ConnectionLost
from engine.errors import Hold, OutOfSpace, Retry
from engine.model import Association, Intake

__all__ = ["MOST_CLASSES", "Retrieval", "RetrieveScu"]

_SUCCESS, _SOME_FAILED, _CANCELLED = 0x0000, 0xB000, 0xFE00
_FAILED_UIDS = "00080058"
_LOOK_EVERY = 0.5
MOST_CLASSES = MAX_CONTEXTS - 2
"""Storage classes in one association beside C-ECHO and C-GET."""


@dataclass
class Retrieval:
    """What a C-MOVE or C-GET came to."""

    counts: Counts = NOTHING_SAID
    """The sub-operations as the peer counted them last."""
    total: int = 0
    """The most sub-operations that it ever spoke of."""
    failed: list[str] = field(default_factory=list)
    """SOP Instance UIDs that it says it could not send."""
    words: str = ""
    """What went wrong, "" when nothing did."""
    stored: set[str] = field(default_factory=set)
    """SOP Instance UIDs that are durable here (C-GET)."""

    def heard(self, counts: Counts) -> None:
        if any(n is not None for n in counts):
            self.counts = counts
            self.total = max(self.total, counts.total or 0)


class RetrieveScu(QueryScu):
    """An association that retrieves: with `storage` classes for C-GET, without for C-MOVE."""

    def __init__(
        self, peer: Peer, sop_class: str, *, storage: Sequence[str] = (), character_set: str = "ISO_IR 192"
    ) -> None:
        roles = [Role(uid, scu=False, scp=True) for uid in storage]
        more = storage_contexts(storage, self.first_free(1))
        super().__init__(peer, [sop_class], character_set=character_set, more=more, roles=roles)
        self._sop_class = sop_class
        self._cancelled: float | None = None
        """When the peer was asked to stop."""

    def receivable(self) -> set[str]:
        """The storage classes that the peer is willing to send here."""
        return {
            context.abstract_syntax
            for n, context in self.accepted.items()
            if n >= self.first_free(1) and (role := self.roles.get(context.abstract_syntax)) is not None and role.scp
        }

    def move(
        self,
        keys: Mapping[int, str],
        destination: str,
        *,
        message_id: int,
        arrived: Callable[[], int],
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[Retrieval], None] = lambda _: None,
    ) -> Retrieval:
        """Have the peer send what the keys name to the AE title `destination`.

        `arrived()` tells how many instances have come: while that number grows the peer may be silent; else it has the
        DIMSE time-out for each answer. `stop` cancels. Raises Retry or Permanent when nothing could be sent.
        """
        context = self._context(self._sop_class)
        self._message_id = message_id
        request = Command(
            C_MOVE_RQ, message_id=message_id, has_data_set=True, sop_class_uid=self._sop_class, move_destination=destination
        )
        syntax = self.accepted[context].transfer_syntax
        self._send(context, request, encode_identifier(keys, syntax, self._character_set))
        done = Retrieval()
        while True:
            self._wait(context, arrived, stop)
            response = self._answer(C_MOVE_RSP)
            if self._over(context, response, done):
                return done
            progress(done)

    def get(
        self,
        keys: Mapping[int, str],
        association: Association,
        intake: Intake,
        *,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[Retrieval], None] = lambda _: None,
    ) -> Retrieval:
        """Have the peer send what the keys name on this association, into the spool.

        Raises as `move` does, and OutOfSpace when the spool has no room; whatever happens, what was answered with
        success is durable and handed on.
        """
        context = self._context(self._sop_class)
        request = Command(C_GET_RQ, message_id=self._next_id(), has_data_set=True, sop_class_uid=self._sop_class)
        syntax = self.accepted[context].transfer_syntax
        self._send(context, request, encode_identifier(keys, syntax, self._character_set))
        done, refused = Retrieval(), list[str]()
        contexts = {n: c for n, c in self.accepted.items() if n >= self.first_free(1)}
        receiver = Receiver(
            self._messages, contexts, association, intake, stored=done.stored.add, failed=refused.append
        )
        try:
            while True:
                self._wait(context, lambda: len(done.stored), stop)
                on, command = self._message()
                if command.field == C_STORE_RQ:
                    receiver.store(on, command)
                    progress(done)
                    continue
                if command.field != C_GET_RSP or command.responded_to != self._message_id or command.status is None:
                    raise ProtocolError("the peer's response does not belong to the request, or has no status")
                if self._over(context, command, done):
                    if receiver.full:
                        raise OutOfSpace(f"Not every image could be kept: {refused[-1]}.")
                    if refused:
                        done.words = f"{done.words} Here: {refused[0]}.".strip()
                    return done
                progress(done)
        finally:
            receiver.seal()

    def _message(self) -> tuple[int, Command]:
        try:
            return self._messages.command()
        except Released:
            raise ConnectionLost("the peer released the association without an answer") from None

    def _wait(self, context: int, arrived: Callable[[], int], stop: Callable[[], bool]) -> None:
        """Until the peer says something. It may be silent as long as images come; told to stop, it has some seconds."""
        seen, since = arrived(), time.monotonic()
        while True:
            if self._cancelled is None and stop():
                self._messages.send(context, Command(C_CANCEL_RQ, responded_to=self._message_id))
                self._cancelled = time.monotonic()
            if self._cancelled is not None and time.monotonic() - self._cancelled > CANCEL_SECONDS:
                raise ConnectionLost(f"the retrieval was cancelled, and the peer went on for {CANCEL_SECONDS:g} seconds")
            if self._wire.wait(_LOOK_EVERY):
                return
            if (now := arrived()) != seen:
                seen, since = now, time.monotonic()
            if time.monotonic() - since > self._peer.dimse_timeout:
                raise ConnectionLost(f"the peer sent neither an answer nor an image for {self._peer.dimse_timeout:g} seconds")

    def _over(self, context: int, response: Command, done: Retrieval) -> bool:
        """Take in a response; True for the final one. Raises Retry or Permanent when it failed as a whole."""
        status = response.status or _SUCCESS
        if response.has_data_set:
            done.failed = self._failed_uids(context) or done.failed
        done.heard(response.counts)
        if status in PENDING:
            return False
        sent = bool(done.counts.completed or done.counts.warning)
        if status == _CANCELLED and self._cancelled is not None:
            done.words = "It was cancelled."
            return True
        if status == _CANCELLED:
            raise Retry(f"{self._peer.called_ae} ended the retrieval because it was cancelled.", "0xFE00")
        if status not in (_SUCCESS, _SOME_FAILED) and not sent:
            raise query_failure(self._peer.called_ae, status, response.comment)
        if status != _SUCCESS or done.counts.failed:
            failed, total = done.counts.failed or len(done.failed), done.total
            count = f"{failed} of {total} could not be sent" if total else "not all could be sent"
            done.words = f"{self._peer.called_ae} answered {query_words(status or _SOME_FAILED, response.comment)}: {count}."
        return True

    def _failed_uids(self, context: int) -> list[str]:
        try:
            found = decode_identifier(self._data_set(context), self.accepted[context].transfer_syntax)
        except Hold as e:
            raise ProtocolError(f"the list of failed instances cannot be read: {e}") from e
        return [str(uid) for uid in found.get(_FAILED_UIDS, {}).get("Value", []) if uid]


def storage_contexts(classes: Sequence[str], first: int) -> list[ProposedContext]:
    """Contexts for receiving: as many transfer syntaxes a class in contexts of their own as there is room for.

    A peer answers each context with one transfer syntax. Only where each syntax has its own does it send every image as
    it has it; so the most wanted syntaxes have their own, and the rest share the last one.
    """
    if not classes:
        return []
    free = MAX_CONTEXTS - (first - 1) // 2
    each, ids = max(1, free // len(classes)), iter(range(first, 2 * MAX_CONTEXTS, 2))
    out = []
    for uid in classes[:free]:
        own = min(each, len(TRANSFER_SYNTAXES))
        groups = [(syntax,) for syntax in TRANSFER_SYNTAXES[: own - 1]] + [TRANSFER_SYNTAXES[own - 1 :]]
        out += [ProposedContext(n, uid, group) for n, group in zip(islice(ids, own), groups, strict=False)]
    return out
