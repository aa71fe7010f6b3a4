"""Sending: an association that we ask for, C-STORE from files and C-ECHO on it (PS3.4 B, PS3.7 9.1, PS3.8 7)."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from engine.dicom.content import Content, Slice
from engine.dicom.network.command import C_ECHO_RQ, C_ECHO_RSP, C_STORE_RQ, C_STORE_RSP, Command
from engine.dicom.network.messages import DATA_SET, LAST, PDV_HEAD, Messages, PeerAborted, Released, abort_words
from engine.dicom.network.pdu import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    DATA,
    MAX_ASSOCIATE,
    Associate,
    ContextResult,
    ProposedContext,
    ProtocolError,
    encode_abort,
    encode_release_rq,
)
from engine.dicom.network.status import Rejection
from engine.dicom.network.uids import IMPLICIT_LITTLE_ENDIAN, VERIFICATION
from engine.dicom.network.wire import ConnectionLost, Wire
from engine.errors import Permanent, Retry

__all__ = ["MAX_CONTEXTS", "Peer", "StoreScu", "connect"]

MAX_CONTEXTS = 128
"""Presentation contexts in one association: the odd numbers of a byte (PS3.8 9.3.2.2)."""

_BUFFER = 256 * 1024
_LAST_WORDS_SECONDS = 1.0
_RESULTS = {
    ContextResult.USER_REJECTION: "rejected by its user",
    ContextResult.NO_REASON: "rejected without a reason",
    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED: "the SOP class is not supported",
    ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED: "the transfer syntax is not supported",
}


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom to call, and how long to wait (seconds)."""

    host: str
    port: int
    called_ae: str
    calling_ae: str
    connect_timeout: float = 10.0
    acse_timeout: float = 30.0
    dimse_timeout: float = 60.0
    max_pdu: int = 131_072


def connect(peer: Peer) -> socket.socket:
    """A TCP connection to the peer. Raises Retry with a clear sentence."""
    place = f"{peer.host} port {peer.port}"
    try:
        return socket.create_connection((peer.host, peer.port), peer.connect_timeout)
    except TimeoutError as e:
        raise Retry(f"{place} did not answer within {peer.connect_timeout:g} seconds.") from e
    except ConnectionRefusedError as e:
        raise Retry(f"Nothing listens on {place}.") from e
    except socket.gaierror as e:
        raise Retry(f"The name {peer.host} does not resolve ({e.strerror}).") from e
    except UnicodeError as e:
        raise Retry(f"{peer.host} is not a name that a machine can have.") from e
    except OSError as e:
        raise Retry(f"{place} cannot be reached: {e.strerror or e}.") from e


class StoreScu:
    """An association with a peer for pairs of abstract and transfer syntax (at most 128), each in its own context.

    Opening raises Retry or Permanent. Later calls raise ConnectionLost or ProtocolError, after which it must be left.
    As a context manager it is released at the end, aborted when an exception passes.
    """

    def __init__(self, peer: Peer, pairs: Sequence[tuple[str, str]], sock: socket.socket | None = None) -> None:
        self._peer = peer
        self._wire = Wire(sock or connect(peer), peer.acse_timeout, acknowledge=True)
        self._message_id = 0
        proposed = [ProposedContext(2 * i + 1, abstract, (syntax,)) for i, (abstract, syntax) in enumerate(pairs)]
        try:
            answer = self._associate(proposed)
        except ConnectionLost as e:
            self._wire.close()
            raise Retry(f"No association with {peer.called_ae}: {e}.") from e
        except ProtocolError as e:
            self.abort()
            raise Retry(f"No association with {peer.called_ae}: {e}.") from e
        except BaseException:
            self._wire.close()
            raise
        self.peer_version = answer.implementation_version
        """What the peer calls its implementation (PS3.7 D.3.3.2.3)."""
        results = {one.id: one for one in answer.results}
        self.contexts: dict[tuple[str, str], int] = {}
        """The accepted pairs and their presentation context IDs."""
        self.refusals: dict[tuple[str, str], str] = {}
        """The other pairs, with the reason in words."""
        for context in proposed:
            pair = (context.abstract_syntax, context.transfer_syntaxes[0])
            result = results.get(context.id)
            if result is not None and result.result == ContextResult.ACCEPTED and result.transfer_syntax == pair[1]:
                self.contexts[pair] = context.id
            else:
                self.refusals[pair] = _RESULTS.get(result.result if result else -1, "no valid answer to the proposal")
        self._messages = Messages(self._wire, peer.max_pdu, answer.max_length)
        size = self._messages.fragment_size
        self._buffer = memoryview(bytearray(max(_BUFFER, size) + PDV_HEAD))
        self._wire.set_timeout(peer.dimse_timeout)

    def _associate(self, proposed: Sequence[ProposedContext]) -> Associate:
        peer = self._peer
        request = Associate(
            called_ae=peer.called_ae, calling_ae=peer.calling_ae, max_length=peer.max_pdu, proposed=tuple(proposed)
        )
        self._wire.send(request.encode())
        kind, length = self._wire.head()
        if kind == ASSOCIATE_AC and length <= MAX_ASSOCIATE:
            return Associate.decode(self._wire.exactly(length))
        if kind in (ASSOCIATE_RJ, ABORT) and length == 4:
            _, *rest = self._wire.exactly(4)
            if kind == ABORT:
                raise PeerAborted(abort_words(rest[1], rest[2]))
            rejection = Rejection((rest[0], rest[1], rest[2]))
            error = Permanent if rejection.permanent else Retry
            words = f"{rejection.words} (called {peer.called_ae}, calling {peer.calling_ae})"
            raise error(words, rejection.code)
        raise ProtocolError(f"a PDU of type {kind:02X}H and {length} bytes came instead of an answer to the request")

    def store(self, context: int, sop_class_uid: str, sop_instance_uid: str, data_set: Content) -> tuple[int, str]:
        """C-STORE one instance: the peer's status and Error Comment. Raises OSError or EOFError, too, when the data set
        cannot be read; its message is then incomplete, and the association must be aborted.
        """
        request = Command(
            C_STORE_RQ, message_id=self._next_id(), has_data_set=True,
            sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid,
        )  # fmt: skip
        with contextlib.closing(_Reader(data_set)) as reader:
            try:
                self._send(context, self._messages.encode(context, request), reader)
            except ConnectionLost as e:
                return self._last_words(e)
        return self._response(C_STORE_RSP)

    def echo(self) -> tuple[int, str]:
        """C-ECHO: the peer's status and comment. Needs the pair (Verification, Implicit VR Little Endian) accepted."""
        request = Command(C_ECHO_RQ, message_id=self._next_id(), sop_class_uid=VERIFICATION)
        self._messages.send(self.contexts[VERIFICATION, IMPLICIT_LITTLE_ENDIAN], request)
        return self._response(C_ECHO_RSP)

    def _send(self, context: int, command: bytes, reader: _Reader) -> None:
        """The command and the data set in as few sends as the buffer allows, each fragment in its own P-DATA-TF."""
        buffer, size, send = self._buffer, self._messages.fragment_size, self._wire.send
        left, at = reader.length, 0
        if len(command) + PDV_HEAD <= len(buffer):
            buffer[: len(command)] = command
            at = len(command)
        else:
            send(command)
        while True:
            count = min(size, left)
            if at + PDV_HEAD + count > len(buffer):
                send(buffer[:at])
                at = 0
            left -= count
            control = DATA_SET if left else DATA_SET | LAST
            struct.pack_into(">BBIIBB", buffer, at, DATA, 0, count + 6, count + 2, context, control)
            at += PDV_HEAD
            reader.fill(buffer[at : at + count])
            at += count
            if not left:
                send(buffer[:at])
                return

    def _response(self, field: int) -> tuple[int, str]:
        try:
            _, response = self._messages.command()
        except Released:
            raise ConnectionLost("the peer released the association without an answer") from None
        if response.field != field or response.responded_to != self._message_id or response.status is None:
            raise ProtocolError("the peer's response does not belong to the request, or has no status")
        return response.status, response.comment

    def _last_words(self, lost: ConnectionLost) -> tuple[int, str]:
        """A peer that ends it while we send may have said why: its answer, or its abort, comes before the bare loss."""
        self._wire.set_timeout(_LAST_WORDS_SECONDS)
        try:
            return self._response(C_STORE_RSP)
        except PeerAborted:
            raise
        except (ConnectionLost, ProtocolError):
            raise lost from None

    def _next_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def release(self) -> None:
        """End the association in good order; what was answered stays true however the peer takes it."""
        with contextlib.suppress(ConnectionLost):
            self._wire.set_timeout(min(self._peer.acse_timeout, self._peer.dimse_timeout))
            self._wire.send(encode_release_rq())
            self._wire.head()
            self._wire.exactly(4)
        self._wire.close()

    def abort(self) -> None:
        """End it now (A-ABORT by the service user)."""
        self._wire.finish(encode_abort(0, 0), seconds=_LAST_WORDS_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.release()
        else:
            self.abort()


class _Reader:
    """Fills buffers from the pieces of a Content, one after the other."""

    def __init__(self, content: Content) -> None:
        self.length = content.length
        self._pieces = list(reversed(content.pieces))
        self._at = 0  # within the piece that is last in the list
        self._fd = -1

    def fill(self, view: memoryview) -> None:
        """Fill all of `view`. Raises EOFError when a file is shorter than its slice says, OSError."""
        done = 0
        while done < len(view):
            piece = self._pieces[-1]
            length = piece.length if isinstance(piece, Slice) else len(piece)
            count = min(len(view) - done, length - self._at)
            if isinstance(piece, Slice):
                if self._fd < 0:
                    self._fd = os.open(piece.path, os.O_RDONLY | os.O_CLOEXEC)
                count = os.preadv(self._fd, [view[done : done + count]], piece.offset + self._at) if count else 0
                if not count and self._at < length:
                    raise EOFError(f"{piece.path.name} ends before its slice does")
            else:
                view[done : done + count] = piece[self._at : self._at + count]
            done += count
            self._at += count
            if self._at == length:
                self._pieces.pop()
                self._at = 0
                self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
