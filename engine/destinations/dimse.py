"""Sends to a DICOM node: a C-STORE SCU, one association for a delivery, data sets as they are unless asked otherwise.

Guarantee: confirmed when the peer answered success, a warning, or that it has the instance already (duplicate). Out of
resources (A7xx), failures of the moment and lost connections are tried again; other statuses are the peer's last word.
A SOP class or transfer syntax that the peer does not accept refuses those instances alone (0x0122). With storage
commitment it is confirmed when the archive has reported that it keeps the instance, and not before.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from engine.component import AETitle, HostName
from engine.connection.tls import TlsClient, secured, shown_until
from engine.destinations._commitment import Committer, StorageCommitment, ask_whether_offered
from engine.destinations._dimse_sender import DimseSender
from engine.destinations._transfer_syntax import TransferSyntaxPolicy
from engine.destinations.base import Destination, Outgoing
from engine.dicom.network.pdu import ProtocolError
from engine.dicom.network.requestor import Peer, connect, resolve, secure
from engine.dicom.network.status import code_of, status_words
from engine.dicom.network.store_scu import StoreScu
from engine.dicom.network.uids import IMPLICIT_LITTLE_ENDIAN, VERIFICATION
from engine.dicom.network.wire import ConnectionLost
from engine.errors import Permanent, Retry
from engine.model import Commitments, Report, ReportOne, Tick

__all__ = ["Dimse"]


class Dimse(Destination):
    """A C-STORE SCU: a PACS, an archive, a workstation."""

    label: ClassVar[str] = "DICOM node (C-STORE)"
    kind: Literal["dimse"] = "dimse"

    host: HostName = Field(examples=["127.0.0.1", "pacs.example.org"])
    """The peer's name or address."""
    port: int = Field(ge=1, le=65535, examples=[11113])
    """The TCP port that the peer listens on."""
    ae_title: AETitle
    """What the peer is called (called AE title)."""
    calling_ae_title: AETitle = "AXIOM"
    """What we call ourselves; many peers let in only titles that they know."""
    tls: TlsClient | None = None
    """TLS, with a certificate of ours mutual TLS; none: DICOM as plain text."""
    transfer_syntax: TransferSyntaxPolicy = TransferSyntaxPolicy()
    """Whether images are written in another transfer syntax."""
    storage_commitment: StorageCommitment | None = None
    """Whether an image counts as delivered only when the archive has committed itself to keep it; none: when it has
    answered the C-STORE."""
    connect_timeout: float = Field(default=10.0, gt=0, le=600)
    """Seconds to wait for the TCP connection, and for the TLS handshake."""
    acse_timeout: float = Field(default=30.0, gt=0, le=600)
    """Seconds to wait for the answer to an association request or release."""
    dimse_timeout: float = Field(default=60.0, gt=0, le=3600)
    """Seconds to wait for the answer to an image, or for the peer to take more of its bytes."""
    max_pdu: int = Field(default=131_072, ge=4096, le=1_048_576)
    """The longest PDU, in bytes, that we send (never longer than the peer allows) and take."""

    def deliver(self, outgoing: Sequence[Outgoing], report: Report, stop: threading.Event) -> None:
        DimseSender(self._peer(), self.transfer_syntax, report, stop).send(outgoing)

    def attempt(
        self, outgoing: Sequence[Outgoing], report: Report, stop: threading.Event, commitments: Commitments
    ) -> None:
        if self.storage_commitment is None:
            self.deliver(outgoing, report, stop)
            return

        def send(images: Sequence[Outgoing], withhold: ReportOne) -> None:
            DimseSender(self._peer(), self.transfer_syntax, withhold, stop).send(images)

        settings = self.storage_commitment
        Committer(settings, self._peer(), self.name, commitments, send, stop).attempt(outgoing, report)

    def check(self) -> list[Tick]:
        tls = ["TLS"] if self.tls else []
        commitment = ["storage commitment"] if self.storage_commitment else []
        names = ["name resolves", "port open", *tls, "association accepted", *commitment, "C-ECHO"]
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
        yield resolve(peer)
        sock = connect(peer)
        yield f"{self.host} port {self.port}"
        sock = secure(peer, sock)
        if isinstance(sock, ssl.SSLSocket):
            until = shown_until(sock)
            yield (
                f"{sock.version()}, the peer's certificate is valid until {until:%Y-%m-%d}"
                if until
                else "no certificate"
            )
        with StoreScu(peer, [(VERIFICATION, IMPLICIT_LITTLE_ENDIAN)], sock) as scu:
            yield f"{self.ae_title} takes associations from {self.calling_ae_title}"
            if self.storage_commitment:
                yield ask_whether_offered(self.storage_commitment, peer)
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


class _NotApplicable(Exception):
    """A check that this peer does not offer."""
