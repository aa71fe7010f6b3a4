"""What the references of a TLS setting name: read, checked, made into a context that is kept until they change.

With each connection a file's stamp is looked at (not its content), an environment variable is read, and Secret Manager is
asked once in five minutes. A change that cannot be used (half a rotation: the new certificate, the old key) is logged once,
and the context in use stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from engine.errors import Retry
from engine.security.secret_references import resolve

__all__ = ["CIPHERS", "Certificate", "Parts", "context_of", "ends_of", "valid_until_of"]

log = logging.getLogger(__name__)

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2 (RFC 9325 4.2: ephemeral elliptic-curve keys and AEAD alone); 1.3 has no others than such."""
REMOTE_SECONDS = 300.0
"""How long the answer of Secret Manager holds."""


class Parts(NamedTuple):
    """References to: authorities, certificate chain, key, the key's password."""

    ca: str | None
    certificate: str | None
    private_key: str | None
    key_password: str | None


class Certificate(NamedTuple):
    """One certificate that a setting names."""

    reference: str
    subject: str
    """RFC 4514."""
    valid_until: datetime


@dataclass
class _Kept:
    stamp: tuple[object, ...]
    digest: bytes
    context: ssl.SSLContext
    looked: float
    bad: bytes = b""
    """What could not be used, so that it is said once."""


_kept: dict[tuple[object, ...], _Kept] = {}
_lock = threading.Lock()


def context_of(key: tuple[object, ...], parts: Parts, build: Callable[[ssl.SSLContext], None]) -> ssl.SSLContext:
    """The context for a setting (`key[0]` is "client" or "server"), made anew when what its references name has changed.

    `build` sets what the setting asks for. Raises Retry in words when there is no usable one, and never was.
    """
    now = time.monotonic()
    stamp = _stamp(parts)
    with _lock:
        kept = _kept.get(key)
    fresh = now - kept.looked < REMOTE_SECONDS if kept and _remote(parts) else True
    if kept and stamp == kept.stamp and fresh:
        return kept.context
    try:
        return _renew(key, parts, build, kept, stamp)
    except Retry as e:
        if kept is None:
            raise
        if _digest_of_words(e) != kept.bad:
            log.warning("the TLS certificate in use stays, as what is there now cannot be used: %s", e)
        kept.bad, kept.looked = _digest_of_words(e), now
        return kept.context


def _renew(
    key: tuple[object, ...],
    parts: Parts,
    build: Callable[[ssl.SSLContext], None],
    kept: _Kept | None,
    stamp: tuple[object, ...],
) -> ssl.SSLContext:
    texts = _read(parts)
    digest = hashlib.sha256("\0".join(text or "" for text in texts).encode()).digest()
    if kept and kept.digest == digest:
        kept.stamp, kept.looked = stamp, time.monotonic()
        return kept.context
    context = _make(str(key[0]), parts, texts)
    build(context)
    with _lock:
        _kept[key] = _Kept(stamp, digest, context, time.monotonic())
    if kept:
        log.info("a new TLS certificate or CA is in use: %s", parts.certificate or parts.ca)
    return context


def _digest_of_words(error: Retry) -> bytes:
    return hashlib.sha256(str(error).encode()).digest()


def _remote(parts: Parts) -> bool:
    return any(one and one.startswith("gcp-sm:") for one in parts)


def _stamp(parts: Parts) -> tuple[object, ...]:
    """What tells a change apart, cheaply. A file that is away or being replaced stamps as such and is looked at again."""
    return tuple(_stamp_of(one) for one in parts if one)


def _stamp_of(reference: str) -> object:
    scheme, _, rest = reference.partition(":")
    if scheme == "env":
        return hashlib.sha256(os.environ.get(rest, "").encode()).digest()
    if scheme != "file":
        return ""
    try:
        stat = Path(rest).stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


def _read(parts: Parts) -> tuple[str | None, ...]:
    return tuple(resolve(one).get_secret_value() if one else None for one in parts)


def _make(side: str, parts: Parts, texts: tuple[str | None, ...]) -> ssl.SSLContext:
    ca, certificate, private_key, password = texts
    if side == "client":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if ca is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if ca is not None:
        _certificates(parts.ca or "", ca)
        context.load_verify_locations(cadata=ca)
    if certificate is not None:
        key = certificate if private_key is None else private_key
        _check_key(parts, certificate, key, password)
        with _as_file(certificate) as chain, _as_file(key) as keyfile:
            try:
                context.load_cert_chain(chain, keyfile, password or "")  # "": never a question at a terminal
            except (OSError, ValueError) as e:  # ssl.SSLError is an OSError
                raise Retry(f"The certificate {parts.certificate} cannot be used for TLS: {e}.") from e
    return context


def _check_key(parts: Parts, certificate: str, key: str, password: str | None) -> None:
    """OpenSSL's own words on keys are riddles. Raises Retry."""
    chain = _certificates(parts.certificate or "", certificate)
    where = parts.private_key or parts.certificate
    try:
        private = load_pem_private_key(key.encode(), password.encode() if password else None)
    except TypeError as e:  # cryptography's way to say that a password is missing, or is given for nothing
        words = "needs a password: give it as `key_password`" if not password else "has no password, and one is given"
        raise Retry(f"The private key {where} {words}.") from e
    except ValueError as e:
        words = "its password is not right, or it is damaged" if password else "it is not a private key in PEM"
        raise Retry(f"The private key {where} cannot be read: {words}.") from e
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != chain[0].public_key().public_bytes(*form):
        raise Retry(
            f"The private key {where} does not belong to the certificate {parts.certificate} "
            f"({chain[0].subject.rfc4514_string()}): the server's own certificate has to stand first."
        )


def _certificates(reference: str, text: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError as e:
        raise Retry(f"{reference} holds no certificate in PEM (-----BEGIN CERTIFICATE-----).") from e


@contextlib.contextmanager
def _as_file(text: str) -> Iterator[str]:
    """Python's ssl takes certificates and keys from files alone: one in memory where there are such, so that no key that
    stands in the environment or in Secret Manager touches a disk."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("axiom-tls", os.MFD_CLOEXEC)
        try:
            os.write(fd, text.encode())
            yield f"/proc/self/fd/{fd}"
        finally:
            os.close(fd)
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # 0600, gone at once
        file.write(text)
        file.flush()
        yield file.name


def ends_of(parts: Parts) -> list[Certificate]:
    """Every certificate that is named, with its end. Raises Retry in words."""
    texts = _read(parts)
    return [
        Certificate(reference, one.subject.rfc4514_string(), one.not_valid_after_utc)
        for reference, text in ((parts.certificate, texts[1]), (parts.ca, texts[0]))
        if reference and text
        for one in _certificates(reference, text)
    ]


def valid_until_of(parts: Parts) -> str:
    """The first end among them, ISO 8601 in UTC; "" without any."""
    first = min((one.valid_until for one in ends_of(parts)), default=None)
    return first.astimezone(UTC).isoformat(timespec="seconds") if first else ""
