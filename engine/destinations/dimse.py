"""Sends to a DICOM node: a C-STORE SCU, one association for a delivery, data sets as they are.

Guarantee: confirmed when the peer answered success, a warning, or that it has the instance already (duplicate). Out of
resources (A7xx), failures of the moment and lost connections are tried again; other statuses are the peer's last word.
A SOP class or transfer syntax that the peer does not accept refuses those instances alone (0x0122).
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from engine.component import AETitle
from engine.connection.tls import TlsClient, secured, shown_until
from engine.destinations.base import Destination, Outgoing
from engine.dicom.network.pdu import ProtocolError
from engine.dicom.network.requestor import MAX_CONTEXTS, Peer, connect, secure
from engine.dicom.network.status import code_of, outcome_of, status_words
from engine.dicom.network.store_scu import StoreScu
from engine.dicom.network.uids import IMPLICIT_LITTLE_ENDIAN, VERIFICATION, is_uid, uid_name
from engine.dicom.network.wire import ConnectionLost
from engine.errors import Permanent, Retry
from engine.model import Outcome, Receipt, Report, Tick

__all__ = ["Dimse"]

Pair = tuple[str, str]
_NOT_SUPPORTED = code_of(0x0122)
_GIVE_UP_AFTER = 10  # "try later" answers in a row: the peer is full, so spare it the rest


class Dimse(Destination):
    """A C-STORE SCU: a PACS, an archive, a workstation."""

    label: ClassVar[str] = "DICOM node (C-STORE)"
    kind: Literal["dimse"] = "dimse"

    host: str = Field(min_length=1, max_length=253, examples=["127.0.0.1", "pacs.example.org"])
    """The peer's name or address."""
    port: int = Field(ge=1, le=65535, examples=[11113])
    """The TCP port that the peer listens on."""
    ae_title: AETitle
    """What the peer is called (called AE title)."""
    calling_ae_title: AETitle = "AXIOM"
    """What we call ourselves; many peers let in only titles that they know."""
    tls: TlsClient | None = None
    """TLS, with a certificate of ours mutual TLS; none: DICOM as plain text."""
    connect_timeout: float = Field(default=10.0, gt=0, le=600)
    """Seconds to wait for the TCP connection, and for the TLS handshake."""
    acse_timeout: float = Field(default=30.0, gt=0, le=600)
    """Seconds to wait for the answer to an association request or release."""
    dimse_timeout: float = Field(default=60.0, gt=0, le=3600)
    """Seconds to wait for the answer to an image, or for the peer to take more of its bytes."""
    max_pdu: int = Field(default=131_072, ge=4096, le=1_048_576)
    """The longest PDU, in bytes, that we send (never longer than the peer allows) and take."""

    def deliver(self, outgoing: Sequence[Outgoing], report: Report, stop: threading.Event) -> None:
        sendable = []
        for one in outgoing:
            if all(map(is_uid, (*_pair(one), one.sop_instance_uid))):
                sendable.append(one)
            else:
                words = "its SOP Class, SOP Instance or Transfer Syntax UID is missing or not valid: it cannot be sent"
                report(Receipt(one.index, Outcome.REFUSED, words=words))
        for pairs in _in_associations(sendable):
            rest = [one for one in sendable if _pair(one) in pairs]
            while rest and not stop.is_set():
                rest = self._deliver(rest, list(pairs), report, stop)

    def _deliver(
        self, outgoing: list[Outgoing], pairs: list[Pair], report: Report, stop: threading.Event
    ) -> list[Outgoing]:
        """Send on one association; the rest that needs another one, because a file could not be read to its end."""
        later = 0
        try:
            with StoreScu(self._peer(), pairs) as scu:
                for i, one in enumerate(outgoing):
                    if stop.is_set():
                        break
                    context = scu.contexts.get(_pair(one))
                    if context is None:
                        report(_not_accepted(one, scu.refusals[_pair(one)]))
                        continue
                    try:
                        receipt = _send(scu, context, one)
                    except (EOFError, FileNotFoundError) as e:
                        report(Receipt(one.index, Outcome.REFUSED, words=f"the spool cannot give all its bytes: {e}"))
                        raise _Unreadable(i) from e
                    report(receipt)
                    later = later + 1 if receipt.outcome is Outcome.RETRY else 0
                    if later == _GIVE_UP_AFTER:
                        raise Retry(f"{later} times in a row: {receipt.words}", receipt.code)
        except (ConnectionLost, ProtocolError) as e:
            raise Retry(f"The association with {self.ae_title} broke off: {e}.") from e
        except _Unreadable as e:
            return outgoing[e.at + 1 :]
        return []

    def check(self) -> list[Tick]:
        tls = ["TLS"] if self.tls else []
        names = ["name resolves", "port open", *tls, "association accepted", "C-ECHO"]
        ticks: list[Tick] = []
        try:
            for words in self._try():
                ticks.append(Tick(names[len(ticks)], True, words))
        except (Retry, Permanent, ConnectionLost, ProtocolError) as e:
            ticks.append(Tick(names[len(ticks)], False, str(e)))
        except _NotApplicable as e:
            ticks.append(Tick(names[len(ticks)], None, str(e)))
        return ticks + [Tick(name, None, "not tried") for name in names[len(ticks) :]]

    def _try(self) -> Iterator[str]:
        peer = self._peer()
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as e:
            raise Retry(f"The name {self.host} does not resolve ({e.strerror}).") from e
        except UnicodeError as e:
            raise Retry(f"{self.host} is not a name that a machine can have.") from e
        yield str(found[0][4][0])
        sock = connect(peer)
        yield f"{self.host} port {self.port}"
        sock = secure(peer, sock)
        if isinstance(sock, ssl.SSLSocket):
            until = shown_until(sock)
            yield f"{sock.version()}, the peer's certificate is valid until {until:%Y-%m-%d}" if until else "no certificate"
        with StoreScu(peer, [(VERIFICATION, IMPLICIT_LITTLE_ENDIAN)], sock) as scu:
            yield f"{self.ae_title} takes associations from {self.calling_ae_title}"
            answer = scu.echo() if scu.contexts else None
        if answer is None:
            raise _NotApplicable("the peer does not answer C-ECHO, which is its right")
        if answer[0]:
            raise Retry(status_words(*answer), code_of(answer[0]))
        yield status_words(*answer)

    def _peer(self) -> Peer:
        return Peer(
            self.host, self.port, self.ae_title.strip(), self.calling_ae_title.strip(),
            self.connect_timeout, self.acse_timeout, self.dimse_timeout, self.max_pdu, secured(self.tls, self.host),
        )  # fmt: skip


class _Unreadable(Exception):
    """The instance at this place broke off the association's message: its file ends too soon or is gone."""

    def __init__(self, at: int) -> None:
        self.at = at


class _NotApplicable(Exception):
    """A check that this peer does not offer."""


def _pair(one: Outgoing) -> Pair:
    return one.sop_class_uid, one.transfer_syntax_uid


def _in_associations(outgoing: Sequence[Outgoing]) -> Iterator[dict[Pair, None]]:
    """The pairs of SOP class and transfer syntax, in the order of their first use, as many as an association holds."""
    pairs = list(dict.fromkeys(_pair(one) for one in outgoing))
    for at in range(0, len(pairs), MAX_CONTEXTS):
        yield dict.fromkeys(pairs[at : at + MAX_CONTEXTS])


def _send(scu: StoreScu, context: int, one: Outgoing) -> Receipt:
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


def _not_accepted(one: Outgoing, reason: str) -> Receipt:
    words = f"the peer does not accept {uid_name(one.sop_class_uid)} in {uid_name(one.transfer_syntax_uid)}: {reason}"
    return Receipt(one.index, Outcome.REFUSED, _NOT_SUPPORTED, words)
