"""Asking: C-FIND on an association that we ask for, its matches as they come (PS3.4 C.4.1, PS3.7 9.1.2)."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.dicom.network.command import C_CANCEL_RQ, C_FIND_RQ, C_FIND_RSP, Command
from engine.dicom.network.identifier import decode_identifier, encode_identifier
from engine.dicom.network.messages import Released
from engine.dicom.network.pdu import ProposedContext, ProtocolError, Role
from engine.dicom.network.requestor import Peer, Requestor
from engine.dicom.network.status import PENDING, query_failure
from engine.dicom.network.uids import IMPLICIT_LITTLE_ENDIAN, VERIFICATION, uid_name
from engine.dicom.network.wire import ConnectionLost
from engine.errors import Hold, Permanent, Retry

__all__ = ["CANCEL_SECONDS", "QueryScu", "calmly"]

EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_SYNTAXES = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)
CANCEL_SECONDS = 5.0
"""How long a peer may take to stop after C-CANCEL; some never look at it."""
_SUCCESS = 0x0000
_LARGEST_MATCH = 1 << 24


class QueryScu(Requestor):
    """An association for these SOP classes of a root model (`models.MODELS`), and C-ECHO.

    `character_set`: what queries are written in where ASCII does not do, and how answers are read that say nothing.
    """

    def __init__(
        self,
        peer: Peer,
        classes: Sequence[str],
        *,
        character_set: str = "ISO_IR 192",
        more: Sequence[ProposedContext] = (),
        roles: Sequence[Role] = (),
        sock: socket.socket | None = None,
    ) -> None:
        """`more`: further contexts, numbered from `first_free(len(classes))` on."""
        proposed = [ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE_ENDIAN,))]
        proposed += [ProposedContext(2 * i + 1, uid, _SYNTAXES) for i, uid in enumerate(classes, 1)]
        super().__init__(peer, [*proposed, *more], roles, sock)
        self._character_set = character_set

    @staticmethod
    def first_free(classes: int) -> int:
        """The first context ID that is free for others."""
        return 2 * classes + 3

    def find(self, sop_class: str, keys: Mapping[int, str], *, seconds: float = 0.0) -> Iterator[dict[str, Any]]:
        """The matches of a query, one after the other, as `decode_identifier` gives them.

        Leaving it early (close it) asks the peer to stop (C-CANCEL). The whole may take `seconds` (0: any time). Raises
        Retry or Permanent with the peer's own words, ConnectionLost, ProtocolError, Invalid for keys that cannot be written.
        """
        context = self._context(sop_class)
        syntax = self.accepted[context].transfer_syntax
        identifier = encode_identifier(keys, syntax, self._character_set)
        deadline = time.monotonic() + seconds if seconds else None
        request = Command(C_FIND_RQ, message_id=self._next_id(), has_data_set=True, sop_class_uid=sop_class)
        self._send(context, request, identifier)
        while True:
            self._patience(deadline)
            response = self._answer(C_FIND_RSP)
            match = self._data_set(context) if response.has_data_set else b""
            if response.status not in PENDING:
                self._end(response)
                return
            try:
                yield self._decode(match, syntax)
            except GeneratorExit:
                self._cancel(context)
                raise

    def _context(self, sop_class: str) -> int:
        context = self.context_of(sop_class)
        if context is None:
            words = f"{self._peer.called_ae} does not offer {uid_name(sop_class)} to {self._peer.calling_ae}"
            raise Permanent(f"{words}: try the other root model, or the other way to retrieve.", "0x0122")
        return context

    def _send(self, context: int, command: Command, data_set: bytes) -> None:
        self._wire.send(self._messages.encode(context, command) + self._messages.encode_data_set(context, data_set))

    def _patience(self, deadline: float | None) -> None:
        """Wait for the next answer no longer than the whole may take."""
        if deadline is None:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            self.abort()
            raise Retry(f"{self._peer.called_ae} did not finish its answer in time: narrow the query, or give it more time.")
        self._wire.set_timeout(min(left + 0.1, self._peer.dimse_timeout))

    def _data_set(self, context: int) -> bytes:
        out = bytearray()
        for chunk in self._messages.data_set(context):
            out += chunk
            if len(out) > _LARGEST_MATCH:
                raise ProtocolError("a match is longer than 16 MB")
        return bytes(out)

    def _decode(self, match: bytes, syntax: str) -> dict[str, Any]:
        try:
            return decode_identifier(match, syntax, self._character_set)
        except Hold as e:
            raise ProtocolError(f"a match cannot be read: {e}") from e

    def _end(self, response: Command) -> None:
        """The final response: success, or the peer's failure as an error."""
        assert response.status is not None
        if response.status != _SUCCESS:
            raise query_failure(self._peer.called_ae, response.status, response.comment)

    def _cancel(self, context: int) -> None:
        """Ask the peer to stop, and read what still comes; a peer that goes on and on is left (PS3.7 9.3.2.3)."""
        self._messages.send(context, Command(C_CANCEL_RQ, responded_to=self._message_id))
        until = time.monotonic() + CANCEL_SECONDS
        while (left := until - time.monotonic()) > 0:
            self._wire.set_timeout(left + 0.1)
            try:
                response = self._answer(C_FIND_RSP)
                if response.has_data_set:
                    self._data_set(context)
            except ConnectionLost:
                break
            if response.status not in PENDING:  # FE00, or success when it was quicker than our cancel
                self._wire.set_timeout(self._peer.dimse_timeout)
                return
        self.abort()


@contextlib.contextmanager
def calmly(peer: Peer) -> Iterator[None]:
    """An association that breaks off as Retry, in a sentence."""
    try:
        yield
    except (ConnectionLost, ProtocolError) as e:
        raise Retry(f"The association with {peer.called_ae} broke off: {e}.") from e
    except Released as e:
        raise Retry(f"{peer.called_ae} released the association while it was asked.") from e
