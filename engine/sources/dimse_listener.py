"""Listens for DICOM associations: takes C-STORE of any storage SOP class in any transfer syntax, and answers C-ECHO.

Guarantee: success is answered only for an instance that is on disk (fsynced). When the spool has no room the answer is
A700 and the association stays usable. Bytes are kept as they came; nothing is decoded or converted on the way in.
"""

from __future__ import annotations

import errno
import socket
import threading
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from engine.component import AETitle, HostName
from engine.connection.tls import TlsServer, secured
from engine.dicom.file_meta import IMPLEMENTATION_VERSION_NAME
from engine.dicom.network.pdu import ProtocolError
from engine.dicom.network.requestor import Peer
from engine.dicom.network.store_scu import StoreScu
from engine.dicom.network.uids import IMPLICIT_LITTLE_ENDIAN, VERIFICATION
from engine.dicom.network.wire import ConnectionLost
from engine.errors import Permanent, Retry
from engine.model import Intake, Tick
from engine.sources._addresses import IpRange
from engine.sources._dimse_server import DimseServer
from engine.sources.base import Source, SourceStatus

__all__ = ["DimseListener"]

_BACKLOG = 1024


class DimseListener(Source):
    """A C-STORE SCP: modalities, PACS and workstations send images to it."""

    label: ClassVar[str] = "DICOM listener"
    runs: ClassVar[bool] = True
    kind: Literal["dimse_listener"] = "dimse_listener"

    ae_title: AETitle = "AXIOM"
    """What peers call it: its own Application Entity title."""
    host: HostName = Field(default="127.0.0.1", examples=["127.0.0.1", "::"])
    """The address to listen on: 127.0.0.1 is this machine alone, 0.0.0.0 every IPv4 address, :: every address."""
    port: int = Field(default=11112, ge=1, le=65535, examples=[11112])
    """The TCP port to listen on; below 1024 needs root."""
    calling_ae_titles: list[AETitle] = Field(default=[], examples=[["CT01", "MR01"]])
    """Only these senders are let in; empty: all."""
    ip_ranges: list[IpRange] = Field(default=[], examples=[["10.1.0.0/16", "fd00::/8"]])
    """Only senders at these addresses are let in (IPv4 or IPv6, single or CIDR); empty: all."""
    require_called_ae: bool = False
    """Whether a sender must call it by its own AE title."""
    transfer_syntaxes: list[Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]] = Field(
        default=[], examples=[["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]]
    )
    """Transfer syntax UIDs that are taken; empty: all, private and unknown ones too."""
    tls: TlsServer | None = None
    """TLS, with a client CA mutual TLS; none: DICOM as plain text. A port takes the one or the other."""
    max_associations: int = Field(default=50, ge=1, le=1000)
    """Associations at the same time; one more is refused for the moment (local limit exceeded)."""
    max_pdu: int = Field(default=131_072, ge=4096, le=1_048_576)
    """The longest PDU, in bytes, that senders may use."""
    network_timeout: float = Field(default=60.0, gt=0, le=3600)
    """Seconds that a sender may take for one PDU, or be silent within a message, before the association is ended."""
    idle_timeout: float = Field(default=300.0, gt=0, le=86_400)
    """Seconds without any message after which an open association is ended."""
    batch_quiet_seconds: float = Field(default=2.0, gt=0, le=3600)
    """A batch is handed on when its association has been quiet for so long, or has ended."""
    drain_seconds: float = Field(default=30.0, ge=0, le=3600)
    """When it is stopped: how long open associations may go on before they are ended, between images."""

    def run(self, intake: Intake, stop: threading.Event, status: SourceStatus) -> None:
        """Listen until `stop` is set. Raises Retry when the address, the port or the certificate cannot be had."""
        if self.tls:
            self.tls.context()  # so that it says at once what is wrong
        listening = self._listen()
        DimseServer(self, intake, status).run(listening, stop)

    def check(self) -> list[Tick]:
        certificate = [] if self.tls is None else [self._certificate(self.tls)]
        try:
            self._resolve()
        except Retry as e:
            return [Tick("address", False, str(e)), Tick("port", None, "not tried"), *certificate]
        address = Tick("address", True, self.host)
        try:
            self._listen().close()
        except Retry as e:
            return [address, self._holder() or Tick("port", False, str(e)), *certificate]
        return [address, Tick("port", True, f"{self.port} is free"), *certificate]

    @staticmethod
    def _certificate(tls: TlsServer) -> Tick:
        try:
            tls.context()
            until = tls.valid_until()
        except Retry as e:
            return Tick("certificate", False, str(e))
        expired = until < datetime.now(UTC).isoformat(timespec="seconds")
        return Tick("certificate", not expired, f"{'has ended on' if expired else 'valid until'} {until[:10]}")

    def _holder(self) -> Tick | None:
        """Who has the port, if it speaks DICOM: it may be this very listener, running. None: nothing that does."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        calling = self.calling_ae_titles[0] if self.calling_ae_titles else "AXIOM"
        peer = Peer(
            host, self.port, self.ae_title, calling, connect_timeout=2.0, acse_timeout=3.0, dimse_timeout=3.0,
            secure=secured(self.tls.as_client() if self.tls else None, host),
        )  # fmt: skip
        try:
            with StoreScu(peer, [(VERIFICATION, IMPLICIT_LITTLE_ENDIAN)]) as scu:
                ours = scu.peer_version == IMPLEMENTATION_VERSION_NAME
        except Permanent:
            ours = False  # it refuses this AE title: another one's, or this listener with other settings
        except (Retry, ConnectionLost, ProtocolError):
            if self.tls is None:
                return None
            words = "is held by something that does not let us in over TLS: if it is this listener, it takes over when saved"
            return Tick("port", None, f"{self.port} {words}")
        if ours:
            return Tick("port", True, f"{self.port} is held by a listener of Axiom Flow; this one takes over when saved")
        return Tick("port", None, f"{self.port} is held by a DICOM listener: if it is this one, it takes over when saved")

    def _resolve(self) -> tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]:
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except OSError as e:
            raise Retry(f"{self.host} is not an address or a name that this machine knows ({e.strerror}).") from e
        except UnicodeError as e:
            raise Retry(f"{self.host} is not a name that a machine can have.") from e
        return found[0][0], found[0][4]  # type: ignore[return-value]  # stream sockets of IPv4 or IPv6 only

    def _listen(self) -> socket.socket:
        family, address = self._resolve()
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not held up by connections just closed
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except OSError as e:
            listening.close()
            raise Retry(self._bind_words(e)) from e
        return listening

    def _bind_words(self, error: OSError) -> str:
        place = f"Port {self.port} on {self.host}"
        if error.errno == errno.EADDRINUSE:
            return f"{place} is in use: stop what holds it, or choose another port."
        if error.errno == errno.EACCES:
            return f"{place} may not be opened by this user: choose a port above 1023."
        if error.errno == errno.EADDRNOTAVAIL:
            return f"This machine has no address {self.host}: choose one that it has, or 0.0.0.0 for all."
        return f"{place} cannot be opened: {error.strerror}."
