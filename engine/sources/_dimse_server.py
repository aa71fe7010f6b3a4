"""The work of a `dimse_listener`: an accept loop that never waits for a peer, and a thread for each association."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import secrets
import socket
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from engine.connection.tls import HandshakeClosed, HandshakeFailed, take
from engine.dicom.network.messages import Messages
from engine.dicom.network.negotiation import (
    CALLED_AE_UNKNOWN,
    CALLING_AE_UNKNOWN,
    LOCAL_LIMIT,
    NO_REASON,
    accept,
    protocol_refusal,
)
from engine.dicom.network.pdu import (
    ASSOCIATE_RQ,
    MAX_ASSOCIATE,
    Associate,
    ProtocolError,
    encode_abort,
    encode_reject,
)
from engine.dicom.network.status import Rejection
from engine.dicom.network.store_scp import Ending, StoreScp
from engine.dicom.network.wire import ConnectionLost, Wire, peer_ip
from engine.errors import Retry
from engine.log import bind
from engine.model import Association, Intake
from engine.sources.base import SourceStatus

if TYPE_CHECKING:
    from engine.sources.dimse_listener import DimseListener

__all__ = ["DimseServer"]

log = logging.getLogger(__name__)

_ACCEPT_SECONDS = 0.1  # how soon `stop` is seen
_REQUEST_SECONDS = 30.0  # ARTIM (PS3.8 9.1.5): how long a connection may take to ask for an association
_MAX_PENDING = 128  # connections that have not asked yet; the one that has waited longest makes room for a new one


class DimseServer:
    """Runs one listener. `status` is kept up to date in place: state, address, associations, instances, refused, ..."""

    def __init__(self, listener: DimseListener, intake: Intake, status: SourceStatus) -> None:
        self._listener = listener
        self._intake = intake
        self._status = status
        self._networks = [ipaddress.ip_network(text) for text in listener.ip_ranges]
        self._changed = threading.Condition()
        self._pending: dict[Wire, None] = {}  # connected, nothing agreed yet; oldest first
        self._open: set[Wire] = set()  # associations
        self._threads: set[threading.Thread] = set()
        self._closing = False
        self._instances = self._refused = 0
        self._request_seconds = min(_REQUEST_SECONDS, listener.network_timeout)

    def run(self, listening: socket.socket, stop: threading.Event) -> None:
        """Accept on `listening` until `stop` is set; then close it, let associations end, and return."""
        host, port = listening.getsockname()[:2]
        with listening:
            listening.settimeout(_ACCEPT_SECONDS)
            self._show(
                state="listening", address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
                ae_title=self._listener.ae_title, associations=0, instances=0, refused=0,
                since=datetime.now(UTC).isoformat(timespec="seconds"), last_error="",
            )  # fmt: skip
            log.info("%s listens on port %s as %s", self._listener.name, port, self._listener.ae_title)
            while not stop.is_set():
                try:
                    connection, address = listening.accept()
                    self._start(connection, peer_ip(address[0]))
                except TimeoutError:
                    continue
                except (OSError, RuntimeError) as e:  # no descriptor or thread left, or the peer is gone already
                    if str(e) not in str(self._status["last_error"]):  # said once, not ten times a second
                        self._error(f"a connection could not be taken: {e}")
                    stop.wait(_ACCEPT_SECONDS)
        self._show(state="stopping")
        self._drain()
        self._show(state="stopped")

    def _start(self, connection: socket.socket, ip: str) -> None:
        wire = Wire(connection, self._request_seconds, acknowledge=True)
        thread = threading.Thread(target=self._connection, args=(wire, ip), name=f"dimse-{ip}", daemon=True)
        with self._changed:
            if len(self._pending) >= _MAX_PENDING:
                next(iter(self._pending)).cut()
                del self._pending[next(iter(self._pending))]
            self._pending[wire] = None
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            self._forget(wire, thread)
            raise

    def _drain(self) -> None:
        """Let associations end by themselves, then between two images; cut those that do not get that far."""
        with self._changed:
            for wire in self._pending:
                wire.cut()
            self._changed.wait_for(lambda: not self._threads, self._listener.drain_seconds)
            self._closing = True
            self._changed.wait_for(lambda: not self._threads, self._listener.network_timeout)
            for wire in self._open:  # in the middle of a data set: what has no answer yet does not count
                wire.cut()
            self._changed.wait_for(lambda: not self._threads, self._listener.network_timeout)

    def _connection(self, wire: Wire, ip: str) -> None:
        bind(association=secrets.token_hex(6))  # in every line of this thread: the batches that it makes say theirs
        try:
            self._negotiate(wire, ip, self._secure(wire))
        except (HandshakeFailed, Retry) as e:
            self._refuse_tls(ip, e)
            wire.finish()  # so that the peer gets to read our alert, whatever it has sent meanwhile
        except ConnectionLost as e:
            log.info("%s: a connection from %s ended before an association: %s", self._listener.name, ip, e)
        except ProtocolError as e:
            self._error(f"a connection from {ip} was aborted: {e}")
            wire.finish(encode_abort(2, e.reason))
        except Exception as e:
            log.exception("%s: an association with %s failed", self._listener.name, ip)
            self._error(f"an association with {ip} failed: {type(e).__name__}")
        finally:
            self._forget(wire, threading.current_thread())

    def _forget(self, wire: Wire, thread: threading.Thread) -> None:
        wire.close()
        with self._changed:
            self._pending.pop(wire, None)
            self._threads.discard(thread)
            self._changed.notify_all()

    def _secure(self, wire: Wire) -> str:
        """TLS if it is asked for, in the connection's own thread, so that a peer that stalls keeps nobody waiting.

        Gives the peer's subject. Raises HandshakeFailed, or Retry when our own certificate cannot be used.
        """
        tls = self._listener.tls
        if tls is None:
            return ""
        context = tls.context()
        try:
            sock = wire.secure(context)
        except OSError as e:
            raise HandshakeClosed("it closed the connection before the handshake") from e
        return take(sock, tls.handshake_seconds).subject

    def _refuse_tls(self, ip: str, why: HandshakeFailed | Retry) -> None:
        if isinstance(why, HandshakeClosed):  # load balancers look so whether the port is open, every few seconds
            log.info("%s: TLS with %s failed: %s", self._listener.name, ip, why)
            return
        with self._changed:
            self._refused += 1
            self._status["refused"] = self._refused
        self._error(f"TLS with {ip} failed: {why}")

    def _negotiate(self, wire: Wire, ip: str, subject: str) -> None:
        wire.set_timeout(self._request_seconds)
        kind, length = wire.head()
        if kind != ASSOCIATE_RQ:
            raise ProtocolError("it did not begin with an A-ASSOCIATE-RQ", ProtocolError.UNEXPECTED_PDU)
        if length > MAX_ASSOCIATE:
            raise ProtocolError(f"its A-ASSOCIATE-RQ would be {length} bytes long")
        request = Associate.decode(wire.exactly(length))
        refusal = self._refusal(request, ip) or self._enter(wire)
        if refusal is not None:
            self._refuse(wire, request, ip, *refusal)
            return
        try:
            self._serve(wire, request, ip, subject)
        finally:
            self._leave(wire)

    def _enter(self, wire: Wire) -> tuple[Rejection, str] | None:
        with self._changed:
            self._pending.pop(wire, None)
            if len(self._open) >= self._listener.max_associations:
                return LOCAL_LIMIT, f"{self._listener.max_associations} associations are open already"
            self._open.add(wire)
            self._status["associations"] = len(self._open)
        return None

    def _leave(self, wire: Wire) -> None:
        with self._changed:
            self._open.discard(wire)
            self._status["associations"] = len(self._open)

    def _refusal(self, request: Associate, ip: str) -> tuple[Rejection, str] | None:
        listener = self._listener
        if (refusal := protocol_refusal(request)) is not None:
            return refusal
        address = ipaddress.ip_address(ip)
        if self._networks and not any(address in network for network in self._networks):
            return NO_REASON, f"{ip} is in none of the allowed IP ranges"
        if listener.calling_ae_titles and request.calling_ae not in {t.strip() for t in listener.calling_ae_titles}:
            return CALLING_AE_UNKNOWN, "this calling AE title is not allowed"
        if listener.require_called_ae and request.called_ae != listener.ae_title.strip():
            return CALLED_AE_UNKNOWN, f"the listener is called {listener.ae_title}"
        return None

    def _refuse(self, wire: Wire, request: Associate, ip: str, rejection: Rejection, why: str) -> None:
        words = f"refused an association from {request.calling_ae} at {ip} to {request.called_ae}: {why}"
        with self._changed:
            self._refused += 1
            self._status["refused"] = self._refused
        self._error(words)
        wire.finish(encode_reject(*rejection))

    def _serve(self, wire: Wire, request: Associate, ip: str, subject: str) -> None:
        listener = self._listener
        answer, contexts = accept(request, listener.max_pdu, listener.transfer_syntaxes)
        wire.send(answer.encode())
        wire.set_timeout(listener.network_timeout)
        began = time.monotonic()
        scp = StoreScp(
            Messages(wire, listener.max_pdu, request.max_length),
            contexts,
            Association(
                source=listener.name, source_kind=listener.kind, calling_ae=request.calling_ae,
                called_ae=request.called_ae, source_ip=ip, tls_subject=subject,
            ),
            self._intake,
            quiet=listener.batch_quiet_seconds,
            idle=listener.idle_timeout,
            closing=lambda: self._closing,
            stored=self._stored,
            failed=self._error_only,
        )  # fmt: skip
        ending = Ending(encode_abort(2, 0), "failed")
        try:
            ending = scp.serve()
        finally:
            self._leave(wire)  # before the peer hears that it is over: it may come back at once
            with contextlib.suppress(ConnectionLost):  # over either way, and what was answered stays true
                wire.send(ending.last)
            scp.seal()
            wire.finish()
            log.info(
                "%s: association from %s at %s: %d instances, %.1f s, %s",
                listener.name, request.calling_ae, ip, scp.count, time.monotonic() - began, ending.words,
            )  # fmt: skip

    def _stored(self) -> None:
        with self._changed:
            self._instances += 1
            self._status["instances"] = self._instances

    def _error_only(self, words: str) -> None:
        self._show(last_error=words)

    def _error(self, words: str) -> None:
        log.warning("%s: %s", self._listener.name, words)
        self._show(last_error=words)

    def _show(self, **values: object) -> None:
        with self._changed:
            self._status.update(values)
