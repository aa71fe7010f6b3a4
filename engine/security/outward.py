"""Where requests that people configure may go: webhooks, sources and destinations by URL do not reach this machine's own
services.

Whoever may configure a URL could otherwise have the engine ask a cloud's metadata service for credentials, or a service that
trusts the loopback. Refused, unless AXIOM_ALLOWED_HOSTS names them: loopback, link-local, unspecified, multicast and reserved
addresses, and the metadata services that stand elsewhere. A hospital's private networks (RFC 1918) are what this is for.
The address that was looked at is the one that is connected to: a name that answers differently a moment later gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from engine.errors import Permanent, Retry

__all__ = ["Outward", "OutwardTransport", "Target", "outward", "use_outward"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA = tuple(ipaddress.ip_address(a) for a in ("100.100.100.200", "fd00:ec2::254", "fd20:ce::254", "168.63.129.16"))
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads: the name it gives, and the addresses that were found good."""

    host: str
    port: int
    addresses: tuple[str, ...]


class Outward:
    """The guard. `allowed`: networks and host names that may be reached all the same, comma-separated (the setting)."""

    def __init__(self, allowed: str = "") -> None:
        self._networks: list[Network] = []
        self._hosts: set[str] = set()
        for entry in filter(None, (e.strip() for e in allowed.split(","))):
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                self._hosts.add(entry.lower().rstrip("."))

    def check(self, url: str) -> Target:
        """Raises Permanent, in words that say what to do, for a URL that may not be asked; Retry when its name is not found."""
        parts = urlsplit(url)
        try:
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError as e:
            raise Permanent("The port of this URL is none.") from e
        if parts.scheme not in ("http", "https") or not host:
            raise Permanent("A URL with http:// or https:// and a host is needed.")
        if parts.username is not None or parts.password is not None:
            raise Permanent("A URL does not hold a name or password here: they are given as a secret.")
        return self.look_up(host, port or (443 if parts.scheme == "https" else 80))

    def look_up(self, host: str, port: int) -> Target:
        """As `check`, for a host and port."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as e:
            raise Retry(f"The name {host} is not found ({e.strerror}).") from e
        except UnicodeError as e:
            raise Retry(f"{host} is not a name that a machine can have.") from e
        addresses = tuple(dict.fromkeys(str(info[4][0]).partition("%")[0] for info in found))
        if host.lower() not in self._hosts:
            for address in addresses:
                self._refuse(host, ipaddress.ip_address(address))
        return Target(host, port, addresses)

    def _refuse(self, host: str, address: Address) -> None:
        meant = _meant(address)
        if any(a in n for n in self._networks for a in {address, meant} if a.version == n.version):
            return
        if meant in METADATA or meant.is_loopback or meant.is_link_local or meant.is_unspecified or _no_peer(meant):
            where = str(meant) if str(meant) == host else f"{host} ({meant})"
            raise Permanent(
                f"{where} is an address of this machine or its cloud, and is not asked. If it is meant, start with "
                f"AXIOM_ALLOWED_HOSTS={meant} (several parted by commas)."
            )


_current = [Outward()]


def use_outward(allowed: str) -> None:
    """From now on this process's HTTP clients may reach what is `allowed` (the store says so when it is opened)."""
    _current[:] = [Outward(allowed)]


def outward() -> Outward:
    """This process's guard; one that allows nothing of its own until `use_outward` was called."""
    return _current[0]


class OutwardTransport(httpx.BaseTransport):
    """For `httpx.Client(transport=...)`: each request, redirects among them, is checked and goes to the address checked.

    A name is looked up once for the life of the transport; of several addresses the first that can be connected to is taken.
    `proxied`: `inner` goes through a proxy, which looks names up itself: what this machine knows of them is checked all the same.
    """

    def __init__(self, guard: Outward, inner: httpx.BaseTransport | None = None, *, proxied: bool = False) -> None:
        self._guard = guard
        self._inner = inner or httpx.HTTPTransport()
        self._proxied = proxied
        self._known: dict[tuple[str, str, int | None], Target] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        place = (url.scheme, url.host, url.port)
        if place not in self._known:
            self._known[place] = self._looked_up(url)
        target = self._known[place]
        if self._proxied:
            return self._inner.handle_request(request)
        request.extensions = {"sni_hostname": target.host, **request.extensions}  # the certificate is the name's
        try:
            for address in target.addresses:
                request.url = url.copy_with(host=address)  # the Host header stays as it was made
                try:
                    response = self._inner.handle_request(request)
                except (httpx.ConnectError, httpx.ConnectTimeout):  # nothing was sent: the next address may answer
                    if address == target.addresses[-1]:
                        raise
                else:
                    self._known[place] = Target(target.host, target.port, (address,))
                    return response
        finally:
            request.url = url
        raise httpx.ConnectError(f"{target.host} has no address")

    def _looked_up(self, url: httpx.URL) -> Target:
        try:
            return self._guard.check(str(url))
        except Retry:
            if not self._proxied:
                raise
            return Target(url.host, url.port or 0, ())  # only the proxy knows this name

    def close(self) -> None:
        self._inner.close()


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (mapped, 6to4, NAT64), else itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _no_peer(address: Address) -> bool:
    return address.is_multicast or (isinstance(address, ipaddress.IPv4Address) and address.is_reserved)
