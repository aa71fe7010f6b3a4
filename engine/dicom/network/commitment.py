"""Storage Commitment Push Model (PS3.4 J): asking an archive to take responsibility, and its report.

The report is an N-EVENT-REPORT (PS3.7 10.1.1) on the association that asked, or on one that the archive opens later.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from engine.dicom.edit import Node
from engine.dicom.encode import pad
from engine.dicom.header import form_of
from engine.dicom.level import Level
from engine.dicom.network.command import N_ACTION_RQ, N_ACTION_RSP, N_EVENT_REPORT_RQ, N_EVENT_REPORT_RSP, Command
from engine.dicom.network.messages import Released
from engine.dicom.network.pdu import ProposedContext, ProtocolError
from engine.dicom.network.requestor import Peer, Requestor
from engine.dicom.network.uids import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, STORAGE_COMMITMENT, is_uid
from engine.dicom.network.wire import ConnectionLost
from engine.dicom.source import Source
from engine.errors import Hold
from engine.model import CommitmentReport

__all__ = ["LARGEST_REPORT", "CommitmentScu", "decode_report", "encode_request", "event_response"]

WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
LARGEST_REPORT = 64 << 20
_REQUEST_ACTION = 1
_TRANSACTION, _FAILED, _REFERENCED = 0x00081195, 0x00081198, 0x00081199
_SOP_CLASS, _SOP_INSTANCE, _REASON = 0x00081150, 0x00081155, 0x00081197
_PROCESSING_FAILURE = 0x0110


def encode_request(transaction_uid: str, images: Iterable[tuple[str, str]], transfer_syntax: str) -> bytes:
    """The N-ACTION's data set (PS3.4 table J.3-1) for pairs of SOP Class and SOP Instance UID."""
    form = form_of(transfer_syntax)
    node = Node(form)
    node.put(_TRANSACTION, "UI", pad(transaction_uid.encode("ascii"), "UI"))
    for sop_class, sop_instance in images:
        item = node.add_item(_REFERENCED)
        item.put(_SOP_CLASS, "UI", pad(sop_class.encode("ascii"), "UI"))
        item.put(_SOP_INSTANCE, "UI", pad(sop_instance.encode("ascii"), "UI"))
    return node.content()


def decode_report(data: bytes, transfer_syntax: str) -> tuple[str, CommitmentReport]:
    """An N-EVENT-REPORT's data set (PS3.4 table J.3-2): the transaction, and what became of each image.

    Raises ValueError in words for what is none.
    """
    try:
        level = Level(Source((data,)), form_of(transfer_syntax))
        transaction = _text(level, _TRANSACTION)
        if not is_uid(transaction):
            raise ValueError("the report has no valid Transaction UID (0008,1195)")
        committed = [_text(item, _SOP_INSTANCE) for item in _items(level, _REFERENCED)]
        failed = {_text(item, _SOP_INSTANCE): _reason(item) for item in _items(level, _FAILED)}
    except Hold as e:
        raise ValueError(f"the report cannot be read: {e}") from e
    return transaction, CommitmentReport(frozenset(filter(None, committed)) - failed.keys(), failed)


def _items(level: Level, tag: int) -> list[Level]:
    return level.items(tag) if tag in level.index else []


def _text(level: Level, tag: int) -> str:
    values = level.values(tag) if tag in level.index else ()
    return str(values[0]) if values else ""


def _reason(item: Level) -> int:
    values = item.values(_REASON) if _REASON in item.index else ()
    return values[0] if values and isinstance(values[0], int) else _PROCESSING_FAILURE


def event_response(command: Command, status: int, comment: str = "") -> Command:
    """The answer to an N-EVENT-REPORT."""
    return Command(
        N_EVENT_REPORT_RSP, responded_to=command.message_id or 0, sop_class_uid=STORAGE_COMMITMENT,
        sop_instance_uid=WELL_KNOWN_INSTANCE, event_type=command.event_type, status=status, comment=comment,
    )  # fmt: skip


class CommitmentScu(Requestor):
    """An association for asking. `offered` tells whether the peer takes such questions at all."""

    def __init__(self, peer: Peer) -> None:
        syntaxes = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)
        super().__init__(peer, [ProposedContext(1, STORAGE_COMMITMENT, syntaxes)])
        self.offered = 1 in self.accepted
        self._early: list[tuple[str, CommitmentReport]] = []

    def ask(self, transaction_uid: str, images: Iterable[tuple[str, str]]) -> tuple[int, str]:
        """N-ACTION (PS3.4 J.3.2): the peer's status and comment. Some peers send their report before that answer."""
        request = Command(
            N_ACTION_RQ, message_id=self._next_id(), has_data_set=True, requested_class_uid=STORAGE_COMMITMENT,
            requested_instance_uid=WELL_KNOWN_INSTANCE, action_type=_REQUEST_ACTION,
        )  # fmt: skip
        data_set = encode_request(transaction_uid, images, self.accepted[1].transfer_syntax)
        self._wire.send(self._messages.encode(1, request) + self._messages.encode_data_set(1, data_set))
        while True:
            try:
                context, response = self._messages.command()
            except Released:
                raise ConnectionLost("the peer released the association without an answer") from None
            if response.field == N_EVENT_REPORT_RQ:
                self._early.append(self._take(context, response))
                continue
            if response.has_data_set:
                for _ in self._messages.data_set(context):
                    pass
            if response.field != N_ACTION_RSP or response.status is None:
                raise ProtocolError("the peer's response does not belong to the request, or has no status")
            return response.status, response.comment

    def report(self, seconds: float) -> tuple[str, CommitmentReport] | None:
        """A report that comes on this association within so many seconds: its transaction, and what it says."""
        if self._early:
            return self._early.pop(0)
        until = time.monotonic() + seconds
        if not self._wire.wait(max(0.0, until - time.monotonic())):
            return None
        context, command = self._messages.command()
        if command.field != N_EVENT_REPORT_RQ:
            raise ProtocolError("something else came where a storage commitment report was due")
        return self._take(context, command)

    def _take(self, context: int, command: Command) -> tuple[str, CommitmentReport]:
        data = bytearray()
        if command.has_data_set:
            for chunk in self._messages.data_set(context):
                data += chunk
                if len(data) > LARGEST_REPORT:
                    raise ProtocolError("a storage commitment report is longer than 64 MB")
        try:
            found = decode_report(bytes(data), self.accepted[1].transfer_syntax)
        except ValueError as e:
            self._messages.send(context, event_response(command, _PROCESSING_FAILURE, str(e)))
            raise ProtocolError(str(e)) from e
        self._messages.send(context, event_response(command, 0x0000))
        return found
