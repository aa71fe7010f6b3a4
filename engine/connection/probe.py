"""Trying a peer before a configuration is saved: the steps to it as a tick list, the first that fails ends it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import httpx

from engine.connection.http import HttpSettings
from engine.connection.tls import TlsClient
from engine.errors import AxiomError, Retry
from engine.model import Tick
from engine.security.outward import outward

__all__ = ["NotApplicable", "Step", "reach", "try_steps"]

SOON_DAYS = 30


class NotApplicable(Exception):
    """A step that this peer does not offer, which is its right."""


class Step(NamedTuple):
    """A name, and what tries it: gives words; raises an AxiomError with the reason, or NotApplicable."""

    name: str
    run: Callable[[], str]


def try_steps(steps: Sequence[Step]) -> list[Tick]:
    """A tick for each step in order; after the first failure the others are not tried."""
    ticks: list[Tick] = []
    for name, run in steps:
        if any(tick.ok is False for tick in ticks):
            ticks.append(Tick(name, None, "not tried"))
            continue
        try:
            ticks.append(Tick(name, True, run()))
        except NotApplicable as error:
            ticks.append(Tick(name, None, str(error)))
        except AxiomError as error:
            ticks.append(Tick(name, False, str(error)))
    return ticks


def reach(url: str, settings: HttpSettings, tls: TlsClient) -> Iterator[Step]:
    """The steps to an HTTP peer before anything is asked of it: name, port, and TLS with the certificate's end.

    Through a proxy it is the proxy whose name and port are tried. What may not be asked (an address of this machine or its
    cloud that AXIOM_ALLOWED_HOSTS does not name) fails at its name, and no port of it is tried.
    """
    way = httpx.URL(settings.proxy or url)
    host, port = way.host, way.port or (443 if way.scheme == "https" else 80)
    yield Step("name resolves", lambda: _resolve(host, port))
    yield Step("port open", lambda: _connect(host, port, settings.connect_seconds))
    if settings.proxy:
        yield Step("TLS valid", lambda: _not_applicable("behind the proxy"))
    else:
        yield Step("TLS valid", lambda: _shake(httpx.URL(url), settings.connect_seconds, tls))


def _not_applicable(words: str) -> str:
    raise NotApplicable(words)


def _resolve(host: str, port: int) -> str:
    return outward().look_up(host, port).addresses[0]


def _open(host: str, port: int, seconds: float) -> socket.socket:
    """A connection to one of the addresses that were found good."""
    refused: OSError | None = None
    for address in outward().look_up(host, port).addresses:
        try:
            return socket.create_connection((address, port), timeout=seconds)
        except OSError as error:
            refused = error
    raise Retry(f"{host} port {port}: {refused and (refused.strerror or refused)}.") from refused


def _connect(host: str, port: int, seconds: float) -> str:
    _open(host, port, seconds).close()
    return f"{host} port {port}"


def _shake(url: httpx.URL, seconds: float, tls: TlsClient) -> str:
    if url.scheme != "https":
        raise NotApplicable("plain http: everything can be read on the way, the sign-in too")
    plain = _open(url.host, url.port or 443, seconds)
    with tls.connect(plain, url.host, seconds) as secure:
        certificate = secure.getpeercert()
        version = secure.version()
    if not certificate:
        return f"{version}, the certificate is not checked"
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    days = (until - datetime.now(UTC)).days
    soon = f": only {days} days" if days < SOON_DAYS else ""
    return f"{version}, certificate valid until {until:%Y-%m-%d}{soon}"
