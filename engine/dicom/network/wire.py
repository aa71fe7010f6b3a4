"""One TCP connection that carries PDUs: a fixed buffer in, plain sends out, a time limit on each PDU."""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import ssl
import struct
import time

from engine.tls_words import tls_words

__all__ = ["ConnectionLost", "Wire", "peer_ip"]

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux only
_BUFFER = 256 * 1024
_ALERT_SECONDS = 1.0


class ConnectionLost(Exception):
    """The connection ended or stood still when more was due. Its text says which."""


class Wire:
    """A connected socket, TLS or not. Not thread-safe: one thread uses it (`cut` apart, which any thread may call).

    `timeout` seconds bound each wait for the peer and the whole of each PDU, so that a peer that feeds single bytes
    cannot hold it. Sends small packets at once (TCP_NODELAY) and, with `acknowledge`, answers each segment at once
    (TCP_QUICKACK): without, a sender that leaves Nagle's algorithm on waits 40 ms for every image.
    """

    def __init__(self, sock: socket.socket, timeout: float, *, acknowledge: bool = False) -> None:
        self._sock = sock
        self._timeout = timeout
        self._quickack = _QUICKACK if acknowledge else None
        self._buffer = memoryview(bytearray(_BUFFER))
        self._start = self._end = 0
        self._was_cut = False
        self._deadline = time.monotonic() + timeout
        sock.settimeout(timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def secure(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        """Go over to TLS as the accepting side; the handshake is still to be made, on the socket that is given back.

        Raises OSError when the connection is over already.
        """
        wrapped = context.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
        self._sock = wrapped
        if self._was_cut:  # while neither socket was here to be cut
            self.cut()
        return wrapped

    def set_timeout(self, timeout: float) -> None:
        self._timeout = timeout
        self._sock.settimeout(timeout)

    def wait(self, seconds: float) -> bool:
        """Whether something can be read (or the peer has closed) within `seconds`."""
        if self._start < self._end:
            return True
        sock, until = self._sock, time.monotonic() + seconds
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return True
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        while poll.poll(max(0.0, until - time.monotonic()) * 1000):
            if not isinstance(sock, ssl.SSLSocket) or self._take_what_came(sock):
                return True
        return False

    def _take_what_came(self, sock: ssl.SSLSocket) -> bool:
        """TLS has records of its own (a session ticket, half a record), behind which a read would wait."""
        sock.settimeout(0)
        try:
            self._start, self._end = 0, sock.recv_into(self._buffer)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            return True  # it will be said again where it is read
        finally:
            sock.settimeout(self._timeout)
        return True

    def head(self) -> tuple[int, int]:
        """Type and length of the next PDU; its time limit starts now. Raises ConnectionLost."""
        self._deadline = time.monotonic() + self._timeout
        kind, _, length = struct.unpack(">BBI", self.exactly(6))
        return kind, length

    def some(self, most: int) -> memoryview:
        """At least one byte and at most `most`: a view that holds until the next call. Raises ConnectionLost."""
        if self._start == self._end:
            self._fill()
        start = self._start
        self._start = end = min(self._end, start + most)
        return self._buffer[start:end]

    def exactly(self, count: int) -> bytes:
        """`count` bytes; memory grows only with what really comes. Raises ConnectionLost."""
        if self._end - self._start >= count:
            return bytes(self.some(count)) if count else b""
        out = bytearray()
        while len(out) < count:
            out += self.some(count - len(out))
        return bytes(out)

    def _fill(self) -> None:
        try:
            got = self._sock.recv_into(self._buffer)
        except TimeoutError:
            raise ConnectionLost(f"the peer sent nothing for {self._timeout:g} seconds") from None
        except OSError as e:
            raise ConnectionLost(_broke(e)) from e
        if not got:
            raise ConnectionLost("the peer closed the connection")
        if self._quickack is not None:  # the kernel falls back to delayed acknowledgements, so after each read
            self._sock.setsockopt(socket.IPPROTO_TCP, self._quickack, 1)
        if time.monotonic() > self._deadline:
            raise ConnectionLost(f"the peer took longer than {self._timeout:g} seconds for one PDU")
        self._start, self._end = 0, got

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it. Raises ConnectionLost."""
        try:
            self._sock.sendall(data)
        except TimeoutError:
            raise ConnectionLost(f"the peer took nothing for {self._timeout:g} seconds") from None
        except OSError as e:
            raise ConnectionLost(_broke(self._alert() or e)) from e

    def _alert(self) -> OSError | None:
        """Why a TLS peer closed on us while we sent: with TLS 1.3 it judges our certificate after the handshake."""
        if not isinstance(self._sock, ssl.SSLSocket) or self._start < self._end:
            return None
        try:
            self._sock.settimeout(_ALERT_SECONDS)
            self._start, self._end = 0, self._sock.recv_into(self._buffer)  # its last words, if no alert: read later
        except OSError as e:
            return e if isinstance(e, ssl.SSLError) and e.reason else None
        return None

    def finish(self, last: bytes = b"", seconds: float = 2.0) -> None:
        """Say a last word, wait for the peer to close (the ARTIM timer of PS3.8 9.1.4), and close.

        Closing with unread bytes would reset the connection, and the peer would lose what it was told.
        """
        with contextlib.suppress(OSError):
            self._sock.settimeout(seconds)
            if last:
                self._sock.sendall(last)
            self._say_goodbye()
            self._sock.shutdown(socket.SHUT_WR)
            self._sock.settimeout(seconds)
            until = time.monotonic() + seconds
            while time.monotonic() < until and self._sock.recv_into(self._buffer):
                pass
        self.close()

    def cut(self) -> None:
        """End the connection now; a thread that waits on it is woken with ConnectionLost."""
        self._was_cut = True
        with contextlib.suppress(OSError):  # the TCP connection's own: TLS's would pull the state from under the reader
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        self._say_goodbye()
        self._sock.close()

    def _say_goodbye(self) -> None:
        """TLS ends with a close_notify (RFC 8446 6.1), or the peer would see a truncation; its own is not waited for."""
        if isinstance(self._sock, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):  # ValueError: there was no handshake, or this was said before
                self._sock.settimeout(0)
                self._sock.unwrap()


def _broke(error: OSError) -> str:
    words = tls_words(error)
    return f"the connection broke: the peer: {words}" if words else f"the connection broke: {error.strerror or error}"


def peer_ip(address: str) -> str:
    """A socket's textual peer address as people write it: an IPv4-mapped IPv6 address as IPv4, no zone."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)
