"""TLS of connections that we open and take: certificates as references, the BCP 195 profile, rotation, failures in words.

PS3.15 B.12 (BCP 195, RFC 8996 and 9325): TLS 1.2 or 1.3, forward secrecy, AEAD cipher suites. What the references name is
looked at with each connection, and a new certificate is used from then on, without a restart.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, Self

from cryptography import x509
from pydantic import Field, model_validator

from engine.component import ConfigModel
from engine.connection.certificates import Certificate, Parts, context_of, ends_of, valid_until_of
from engine.errors import Retry
from engine.security.secret_references import SecretReference
from engine.tls_words import NO_TLS, tls_words

__all__ = [
    "Handshake",
    "HandshakeClosed",
    "HandshakeFailed",
    "TlsClient",
    "TlsServer",
    "secured",
    "shown_until",
    "take",
]


class TlsClient(ConfigModel):
    """How we connect to a peer over TLS, and what it has to show."""

    ca: SecretReference | None = Field(default=None, examples=["file:/etc/axiom/hospital-ca.pem"])
    """Where the authorities are (PEM) whose certificates count; none: those of this machine."""
    certificate: SecretReference | None = Field(default=None, examples=["file:/etc/axiom/axiom.pem"])
    """Where our own certificate is (PEM, with the intermediate ones behind it), for peers that ask for one (mutual TLS)."""
    private_key: SecretReference | None = Field(default=None, examples=["file:/etc/axiom/axiom.key"])
    """Where the key of our certificate is (PEM); none: it stands with the certificate."""
    key_password: SecretReference | None = Field(default=None, examples=["env:AXIOM_KEY_PASSWORD"])
    """Where the password of the key is, if it has one."""
    verify: bool = True
    """Whether the peer's certificate has to be valid. Off: the connection is encrypted, but may be with anyone."""
    check_host_name: bool = True
    """Whether the peer's certificate has to be made out to the name or address that we connect to."""
    server_name: str = Field(default="", max_length=253, pattern=r"^[A-Za-z0-9.:_-]*$", examples=["pacs.example.org"])
    """The name in the peer's certificate when it is called by another one (by its address, say); empty: as it is called."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.private_key or self.key_password) and not self.certificate:
            raise ValueError("A private key is given without its certificate.")
        return self

    def context(self) -> ssl.SSLContext:
        """The context as the references say now: the same one until what they name changes. Raises Retry in words."""
        return context_of(("client", *self._parts(), self.verify, self.check_host_name), self._parts(), self._build)

    def certificates(self) -> list[Certificate]:
        """Our certificates and authorities with the end of each. Raises Retry in words."""
        return ends_of(self._parts())

    def valid_until(self) -> str:
        """When the first of them ends, as ISO 8601; "" when none is given. Raises Retry in words."""
        return valid_until_of(self._parts())

    def connect(self, sock: socket.socket, host: str, seconds: float) -> ssl.SSLSocket:
        """A handshake on a connected socket, `seconds` for the whole of it. Raises Retry in words; the socket is closed then."""
        place = f"TLS with {host} failed"
        try:
            secure = self.context().wrap_socket(
                sock, server_hostname=self.server_name or host, do_handshake_on_connect=False
            )
        except Retry:
            sock.close()
            raise
        except (OSError, ValueError) as e:
            sock.close()
            raise Retry(f"{place}: {tls_words(e) or e}.") from e
        try:
            shake(secure, seconds)
        except HandshakeFailed as e:
            secure.close()
            raise Retry(f"{place}: {e}.") from e
        return secure

    def _parts(self) -> Parts:
        return Parts(self.ca, self.certificate, self.private_key, self.key_password)

    def _build(self, context: ssl.SSLContext) -> None:
        context.check_hostname = self.verify and self.check_host_name
        context.verify_mode = ssl.CERT_REQUIRED if self.verify else ssl.CERT_NONE


class TlsServer(ConfigModel):
    """How peers connect to us over TLS, and what they have to show."""

    certificate: SecretReference = Field(examples=["file:/etc/axiom/axiom.pem"])
    """Where our certificate is (PEM, with the intermediate ones behind it)."""
    private_key: SecretReference | None = Field(default=None, examples=["file:/etc/axiom/axiom.key"])
    """Where its key is (PEM); none: it stands with the certificate."""
    key_password: SecretReference | None = Field(default=None, examples=["env:AXIOM_KEY_PASSWORD"])
    """Where the password of the key is, if it has one."""
    client_ca: SecretReference | None = Field(default=None, examples=["file:/etc/axiom/modalities-ca.pem"])
    """Where the authorities are (PEM) that have signed our peers' certificates (mutual TLS); none: peers show none."""
    require_client_certificate: bool = True
    """With a client CA: whether a peer without a certificate is turned away. Off: it is let in, without a subject."""
    handshake_seconds: float = Field(default=10.0, gt=0, le=600)
    """How long a peer may take for the handshake; others are served meanwhile."""

    def context(self) -> ssl.SSLContext:
        """The context as the references say now: the same one until what they name changes. Raises Retry in words."""
        return context_of(("server", *self._parts(), self.require_client_certificate), self._parts(), self._build)

    def following_context(self) -> ssl.SSLContext:
        """One context for a server that keeps the one it is given: each handshake is made with what the references say then.

        Raises Retry in words.
        """
        first = self.context()

        def follow(sock: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            sock.context = self.context()

        first.sni_callback = follow
        return first

    def certificates(self) -> list[Certificate]:
        """Our certificates and authorities with the end of each. Raises Retry in words."""
        return ends_of(self._parts())

    def valid_until(self) -> str:
        """When the first of them ends, as ISO 8601. Raises Retry in words."""
        return valid_until_of(self._parts())

    def as_client(self) -> TlsClient:
        """For asking ourselves whether we are there."""
        return TlsClient(
            certificate=self.certificate, private_key=self.private_key, key_password=self.key_password, verify=False
        )

    def _parts(self) -> Parts:
        return Parts(self.client_ca, self.certificate, self.private_key, self.key_password)

    def _build(self, context: ssl.SSLContext) -> None:
        if self.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED if self.require_client_certificate else ssl.CERT_OPTIONAL


Secure = Callable[[socket.socket, float], socket.socket]
"""Makes a connected socket a secure one within so many seconds. Raises Retry in words, the socket closed."""


def secured(tls: TlsClient | None, host: str) -> Secure | None:
    """For those who open sockets themselves and take TLS as a function."""
    if tls is None:
        return None
    return lambda sock, seconds: tls.connect(sock, host, seconds)


class HandshakeFailed(Exception):
    """Its text ends a sentence about the peer."""


class HandshakeClosed(HandshakeFailed):
    """The peer went away without a word: it may only have looked whether the port is open."""


class Handshake(NamedTuple):
    """What came out of a handshake on a connection that we took."""

    version: str
    subject: str
    """The peer's subject (RFC 4514), "" when it showed no certificate."""


def take(sock: ssl.SSLSocket, seconds: float) -> Handshake:
    """Our side of the handshake on a wrapped socket, `seconds` for the whole of it. Raises HandshakeFailed in words."""
    try:
        shake(sock, seconds)
    except HandshakeFailed as e:
        if str(e) == NO_TLS:
            raise HandshakeFailed("it speaks no TLS, and nothing else is taken here") from e
        raise
    shown = sock.getpeercert(binary_form=True)
    subject = x509.load_der_x509_certificate(shown).subject.rfc4514_string() if shown else ""
    return Handshake(sock.version() or "", subject)


def shake(sock: ssl.SSLSocket, seconds: float) -> None:
    """The handshake, with one time limit on all of it. Raises HandshakeFailed in words."""
    sock.settimeout(seconds)
    try:
        sock.do_handshake()
    except TimeoutError:
        raise HandshakeFailed(
            f"it let the handshake stand still for {seconds:g} seconds: it may speak no TLS here"
        ) from None
    except (ssl.SSLEOFError, ConnectionError) as e:
        raise HandshakeClosed(f"it closed the connection in the middle of the handshake: perhaps {NO_TLS}") from e
    except OSError as e:
        raise HandshakeFailed(tls_words(e) or str(e.strerror or e)) from e


def shown_until(sock: ssl.SSLSocket) -> datetime | None:
    """When the peer's certificate ends; None when it showed none."""
    shown = sock.getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(shown).not_valid_after_utc if shown else None
