"""An association that we ask for: the TCP connection, the negotiation, its end (PS3.8 7, 9.3; PS3.7 D.3.3)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from engine.dicom.network.command import C_ECHO_RQ, C_ECHO_RSP, Command
from engine.dicom.network.messages import Messages, PeerAborted, Released, abort_words
from engine.dicom.network.negotiation import AcceptedContext
from engine.dicom.network.pdu import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    MAX_ASSOCIATE,
    Associate,
    ContextResult,
    ProposedContext,
    ProtocolError,
    Role,
    encode_abort,
    encode_release_rq,
)
from engine.dicom.network.status import Rejection
from engine.dicom.network.uids import IMPLICIT_LITTLE_ENDIAN, VERIFICATION
from engine.dicom.network.wire import ConnectionLost, Wire, peer_ip
from engine.errors import Permanent, Retry

__all__ = ["LAST_WORDS_SECONDS", "MAX_CONTEXTS", "Peer", "Requestor", "Secure", "connect", "resolve", "secure"]

MAX_CONTEXTS = 128
"""Presentation contexts in one association: the odd numbers of a byte (PS3.8 9.3.2.2)."""
LAST_WORDS_SECONDS = 1.0
_RESULTS = {
    ContextResult.USER_REJECTION: "rejected by its user",
    ContextResult.NO_REASON: "rejected without a reason",
    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED: "the SOP class is not supported",
    ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED: "the transfer syntax is not supported",
}


Secure = Callable[[socket.socket, float], socket.socket]
"""Makes a connected socket a TLS one within so many seconds. Raises Retry in words, the socket closed."""


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
    secure: Secure | None = None
    """TLS, if the peer speaks it; its handshake may take `connect_timeout` as well."""


def connect(peer: Peer) -> socket.socket:
    """A TCP connection to the peer, nothing said on it yet. Raises Retry with a clear sentence."""
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


def resolve(peer: Peer) -> str:
    """The address of the peer's name. Raises Retry with a clear sentence."""
    try:
        return str(socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as e:
        raise Retry(f"The name {peer.host} does not resolve ({e.strerror}).") from e
    except UnicodeError as e:
        raise Retry(f"{peer.host} is not a name that a machine can have.") from e


def secure(peer: Peer, sock: socket.socket) -> socket.socket:
    """The connection over TLS if the peer speaks it, else as it is. Raises Retry with a clear sentence."""
    return peer.secure(sock, peer.connect_timeout) if peer.secure else sock


class Requestor:
    """An association with a peer, asked for with these presentation contexts (at most 128) and roles.

    Opening raises Retry or Permanent. Later calls raise ConnectionLost or ProtocolError, after which it must be left.
    As a context manager it is released at the end, aborted when an exception passes.
    """

    def __init__(
        self,
        peer: Peer,
        proposed: Sequence[ProposedContext],
        roles: Sequence[Role] = (),
        sock: socket.socket | None = None,
    ) -> None:
        self._peer = peer
        sock = sock or secure(peer, connect(peer))
        self.peer_ip = ""
        """The address that was reached."""
        with contextlib.suppress(OSError):  # it is gone again: the first read says so
            self.peer_ip = peer_ip(sock.getpeername()[0])
        self._wire = Wire(sock, peer.acse_timeout, acknowledge=True)
        self._message_id = 0
        try:
            answer = self._associate(proposed, roles)
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
        self.roles = {role.sop_class_uid: role for role in answer.roles}
        """The roles that the peer agreed to; a class without one has the default: we are its SCU."""
        self.accepted: dict[int, AcceptedContext] = {}
        """The accepted contexts by their IDs."""
        self.refused: dict[int, str] = {}
        """The other proposed contexts, with the reason in words."""
        results = {one.id: one for one in answer.results}
        for context in proposed:
            result = results.get(context.id)
            if (
                result is not None
                and result.result == ContextResult.ACCEPTED
                and result.transfer_syntax in context.transfer_syntaxes
            ):
                self.accepted[context.id] = AcceptedContext(context.abstract_syntax, result.transfer_syntax)
            else:
                words = _RESULTS.get(result.result if result else -1, "no valid answer to the proposal")
                self.refused[context.id] = words
        self._messages = Messages(self._wire, peer.max_pdu, answer.max_length)
        self._wire.set_timeout(peer.dimse_timeout)

    def _associate(self, proposed: Sequence[ProposedContext], roles: Sequence[Role]) -> Associate:
        peer = self._peer
        request = Associate(
            called_ae=peer.called_ae, calling_ae=peer.calling_ae, max_length=peer.max_pdu,
            proposed=tuple(proposed), roles=tuple(roles),
        )  # fmt: skip
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

    def context_of(self, abstract_syntax: str) -> int | None:
        """The first accepted context of a class, None when there is none."""
        return next((n for n, c in self.accepted.items() if c.abstract_syntax == abstract_syntax), None)

    def echo(self) -> tuple[int, str]:
        """C-ECHO: the peer's status and comment. Needs the pair (Verification, Implicit VR Little Endian) accepted."""
        context = next(n for n, c in self.accepted.items() if c == (VERIFICATION, IMPLICIT_LITTLE_ENDIAN))
        self._messages.send(context, Command(C_ECHO_RQ, message_id=self._next_id(), sop_class_uid=VERIFICATION))
        return self._response(C_ECHO_RSP)

    def _response(self, field: int) -> tuple[int, str]:
        response = self._answer(field)
        assert response.status is not None
        return response.status, response.comment

    def _answer(self, field: int) -> Command:
        """The response to the latest request, its status there; raises ProtocolError for anything else."""
        try:
            _, response = self._messages.command()
        except Released:
            raise ConnectionLost("the peer released the association without an answer") from None
        if response.field != field or response.responded_to != self._message_id or response.status is None:
            raise ProtocolError("the peer's response does not belong to the request, or has no status")
        return response

    def _next_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def release(self) -> None:
        """End the association in good order; what was answered stays true however the peer takes it."""
        with contextlib.suppress(ConnectionLost, OSError):
            self._wire.set_timeout(min(self._peer.acse_timeout, self._peer.dimse_timeout))
            self._wire.send(encode_release_rq())
            self._wire.head()
            self._wire.exactly(4)
        self._wire.close()

    def abort(self) -> None:
        """End it now (A-ABORT by the service user)."""
        self._wire.finish(encode_abort(0, 0), seconds=LAST_WORDS_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.release()
        else:
            self.abort()
