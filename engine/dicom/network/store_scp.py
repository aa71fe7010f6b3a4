"""Receiving: C-STORE and C-ECHO on one association, straight from the wire to the spool (PS3.4 B, PS3.7 9.3)."""

from __future__ import annotations

import collections
import errno
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from engine.dicom.file_meta import encode_head
from engine.dicom.network.command import C_CANCEL_RQ, C_ECHO_RQ, C_STORE_RQ, N_EVENT_REPORT_RQ, Command
from engine.dicom.network.commitment import LARGEST_REPORT, decode_report, event_response
from engine.dicom.network.messages import Messages, Released
from engine.dicom.network.negotiation import AcceptedContext
from engine.dicom.network.pdu import ProtocolError, encode_abort, encode_release_rp
from engine.dicom.network.uids import STORAGE_COMMITMENT, is_storage, is_uid
from engine.dicom.network.wire import ConnectionLost
from engine.errors import OutOfSpace, Refuse
from engine.model import Association, AwaitedMove, Incoming, Intake, OpenBatch

__all__ = ["Ending", "Receiver", "StoreScp"]

log = logging.getLogger(__name__)

_RESPONSE = 0x8000
_SUCCESS = 0x0000
_PROCESSING_FAILURE = 0x0110
_INVALID_ARGUMENT = 0x0115
_INVALID_SOP_INSTANCE = 0x0117
_SOP_CLASS_NOT_SUPPORTED = 0x0122
_UNRECOGNIZED_OPERATION = 0x0211
_CANNOT_UNDERSTAND = 0xC000
_NO_ROOM_STATUS = OutOfSpace("").status
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_FLUSH_EVERY = 64 << 20
"""Bytes after which a huge data set is written to disk: its commit must not outlast the sender's patience."""
_LOOK_EVERY = 0.5  # seconds between looks at `closing` while the peer is quiet


class Ending(NamedTuple):
    """How an association ended: the PDU still to be sent (b"": none), and in words."""

    last: bytes
    words: str


class Receiver:
    """Takes C-STORE requests on one association into a batch, and answers them.

    `stored` is called with the SOP Instance UID of each instance that is durable, `failed` with the words of each failure.
    """

    def __init__(
        self,
        messages: Messages,
        contexts: Mapping[int, AcceptedContext],
        association: Association,
        intake: Intake,
        *,
        stored: Callable[[str], None],
        failed: Callable[[str], None],
    ) -> None:
        self._messages = messages
        self._contexts = contexts
        self._association = association
        self._intake = intake
        self._stored = stored
        self._failed = failed
        self._batch: OpenBatch | None = None
        self._batch_of = association
        self.count = 0
        """Instances stored."""
        self.full = False
        """Whether an instance was refused because the spool has no room."""

    def seal(self) -> None:
        """Hand on what was received, if anything."""
        if self._batch is not None:
            batch, self._batch = self._batch, None
            batch.seal()

    def store(self, context: int, command: Command) -> None:
        """Receive the data set that follows a C-STORE request, and answer it."""
        data = self._messages.data_set(context) if command.has_data_set else iter(())
        status, words = self._receive(context, command, data)
        if status != _SUCCESS:
            _drain(data)
        if status == _SUCCESS:
            self.count += 1
            self._stored(command.sop_instance_uid)
        else:
            self.full = self.full or status == _NO_ROOM_STATUS
            log.warning("%s refused an instance of %s: %s", *self._names(), words)
            self._failed(words)
        self._answer(context, command, status, words)
        if self._batch is not None and self._batch.count >= self._intake.max_instances:
            self.seal()

    def _receive(self, context: int, command: Command, data: Iterator[memoryview]) -> tuple[int, str]:
        """Store the data set; success only when it is durable. What fails is told in the answer, never passed over."""
        try:
            incoming = self._begin(self._contexts.get(context), command)
        except Exception as e:  # noqa: BLE001  (whatever it is, the sender must hear a failure)
            return self._failure(e)
        try:
            size, flushed, fd = 0, 0, incoming.fd
            for chunk in data:
                size += len(chunk)
                written = os.write(fd, chunk)
                while written < len(chunk):
                    written += os.write(fd, chunk[written:])
                if size - flushed >= _FLUSH_EVERY:
                    os.fdatasync(fd)
                    flushed = size
            if not size:
                raise Refuse("the data set is empty", _CANNOT_UNDERSTAND)
            incoming.commit()
        except (ConnectionLost, ProtocolError, Released):
            self._discard(incoming)
            raise
        except Exception as e:  # noqa: BLE001  (as above)
            self._discard(incoming)
            return self._failure(e)
        return _SUCCESS, ""

    def _begin(self, context: AcceptedContext | None, command: Command) -> Incoming:
        if context is None:
            raise Refuse("this presentation context was not accepted", _SOP_CLASS_NOT_SUPPORTED)
        if not is_storage(command.sop_class_uid):
            raise Refuse("the SOP Class UID is missing, not valid or not for storage", _SOP_CLASS_NOT_SUPPORTED)
        if command.sop_class_uid != context.abstract_syntax:
            raise Refuse("the SOP class is not its presentation context's", _SOP_CLASS_NOT_SUPPORTED)
        if not is_uid(command.sop_instance_uid):
            raise Refuse("the SOP Instance UID is missing or not valid", _INVALID_SOP_INSTANCE)
        if not command.has_data_set:
            raise Refuse("no data set came with the C-STORE request", _CANNOT_UNDERSTAND)
        association = self._association_of(command)
        if association != self._batch_of:
            self.seal()
        if self._batch is None:
            self._batch, self._batch_of = self._intake.open(association), association
        return self._batch.receive(
            encode_head(
                context.abstract_syntax, command.sop_instance_uid, context.transfer_syntax, self._association.calling_ae
            )
        )

    def _association_of(self, command: Command) -> Association:
        """What the batch of this instance says of its sender."""
        return self._association

    def _failure(self, error: Exception) -> tuple[int, str]:
        if isinstance(error, Refuse):
            return error.status, str(error)
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return _NO_ROOM_STATUS, "no space is left on the disk of the spool"
        log.error("%s could not store an instance of %s", *self._names(), exc_info=error)
        return _PROCESSING_FAILURE, f"could not be stored: {type(error).__name__}"

    def _answer(self, context: int, command: Command, status: int, comment: str = "") -> None:
        response = Command(
            command.field | _RESPONSE,
            responded_to=command.message_id or 0,
            sop_class_uid=command.sop_class_uid if is_uid(command.sop_class_uid) else "",
            sop_instance_uid=command.sop_instance_uid if is_uid(command.sop_instance_uid) else "",
            status=status,
            comment=comment,
        )
        self._messages.send(context, response)

    def _discard(self, incoming: Incoming) -> None:
        try:
            incoming.discard()
        except OSError as e:  # it was not committed, so it does not count; the spool clears it away at its next start
            log.warning("%s could not clear away a broken transfer of %s: %s", *self._names(), e)

    def _names(self) -> tuple[str, str]:
        a = self._association
        return a.source, f"{a.calling_ae} at {a.source_ip}"


class StoreScp(Receiver):
    """Serves one association in the thread that calls `serve`.

    `quiet` seconds without a command hand the batch on; `idle` seconds end the association. When `closing()` turns true
    the association is aborted before the next command, never within a message. An instance that a C-MOVE of ours caused
    belongs to whoever asked for it: the intake knows.
    """

    def __init__(
        self,
        messages: Messages,
        contexts: Mapping[int, AcceptedContext],
        association: Association,
        intake: Intake,
        *,
        quiet: float,
        idle: float,
        closing: Callable[[], bool],
        stored: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        super().__init__(messages, contexts, association, intake, stored=self._count_stored, failed=failed)
        self._quiet = quiet
        self._idle = idle
        self._closing = closing
        self._also = stored
        self._asked: dict[tuple[str, int], AwaitedMove | None] = {}
        self._move: AwaitedMove | None = None

    def serve(self) -> Ending:
        """Serve until the association ends. The caller then sends the last PDU and calls `seal`."""
        try:
            while self._wait():
                self._handle(*self._messages.command())
            return Ending(encode_abort(0, 0), "aborted: the listener is stopping")
        except Released:
            return Ending(encode_release_rp(), "released")
        except ConnectionLost as e:
            return Ending(b"", str(e))
        except ProtocolError as e:
            return Ending(encode_abort(2, e.reason), f"aborted: {e}")

    def _wait(self) -> bool:
        """Wait for the next command; False when the listener is closing."""
        began = time.monotonic()
        while not self._closing():
            if self._messages.wire.wait(_LOOK_EVERY if self._batch is None else min(_LOOK_EVERY, self._quiet)):
                return True
            silent = time.monotonic() - began
            if silent >= self._quiet:
                self.seal()
            if silent >= self._idle:
                raise ProtocolError(f"nothing came for {self._idle:g} seconds", reason=0)
        return False

    def _handle(self, context: int, command: Command) -> None:
        if command.field == C_STORE_RQ:
            self.store(context, command)
            return
        if command.field & _RESPONSE:
            raise ProtocolError("a response came to a request that was not made")
        if command.field == N_EVENT_REPORT_RQ:
            self._hear(context, command)
            return
        if command.has_data_set:
            _drain(self._messages.data_set(context))
        if command.field == C_CANCEL_RQ:
            return  # has no response; there is nothing to cancel here (PS3.7 9.3.2.3)
        if command.field != C_ECHO_RQ:
            self._answer(context, command, _UNRECOGNIZED_OPERATION, "this service is not offered here")
        elif context not in self._contexts:
            self._answer(context, command, _SOP_CLASS_NOT_SUPPORTED, "this presentation context was not accepted")
        else:
            self._answer(context, command, _SUCCESS)

    def _hear(self, context: int, command: Command) -> None:
        """An archive reports what it commits itself to: it hears success only when that is on disk."""
        data = bytearray()
        for chunk in self._messages.data_set(context) if command.has_data_set else ():
            data += chunk
            if len(data) > LARGEST_REPORT:
                raise ProtocolError("a storage commitment report is longer than 64 MB")
        accepted = self._contexts.get(context)
        if accepted is None or accepted.abstract_syntax != STORAGE_COMMITMENT:
            status, words = _SOP_CLASS_NOT_SUPPORTED, "this presentation context was not accepted for reports"
        else:
            status, words = self._keep_report(bytes(data), accepted.transfer_syntax)
        if status != _SUCCESS:
            log.warning("%s did not take a storage commitment report of %s: %s", *self._names(), words)
            self._failed(words)
        self._messages.send(context, event_response(command, status, words))

    def _keep_report(self, data: bytes, transfer_syntax: str) -> tuple[int, str]:
        try:
            transaction, report = decode_report(data, transfer_syntax)
            if self._intake.commitments.report(transaction, report):
                return _SUCCESS, ""
        except ValueError as e:
            return _INVALID_ARGUMENT, str(e)
        except OSError as e:
            return _PROCESSING_FAILURE, f"the report could not be kept: {e.strerror}"
        return _PROCESSING_FAILURE, "no such transaction is awaited here"

    def _association_of(self, command: Command) -> Association:
        key = (command.originator, command.originator_id or 0)
        if not all(key):
            self._move = None
            return self._association
        if key not in self._asked:
            self._asked[key] = self._intake.awaited(*key, self._association.calling_ae)
        self._move = self._asked[key]
        if self._move is None:
            return self._association
        asked = self._move.association
        return replace(
            self._association, source=asked.source, source_kind=asked.source_kind, user=asked.user,
            study_instances=asked.study_instances,
        )  # fmt: skip

    def _count_stored(self, sop_instance_uid: str) -> None:
        self._also()
        if self._move is not None:
            self._move.arrived(sop_instance_uid)


def _drain(data: Iterator[memoryview]) -> None:
    collections.deque(data, maxlen=0)
