"""A small HTTP client for sources and destinations: one peer, its sign-in, its TLS, and every failure told as the flow
needs it.

A failure becomes Retry or Permanent by its status: 4xx is the peer's last word, save 408, 425 and 429; 5xx and broken
connections are tried again, not before Retry-After (RFC 9110 10.2.3) has passed. The words are the peer's own. Proxies of
the environment are not used; redirects are followed within the same origin only, so that no credential goes elsewhere.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import httpx
from pydantic import Field

from engine.component import ConfigModel
from engine.connection.credentials import Authentication, Authorizer, authorize
from engine.connection.tls import TlsClient
from engine.connection.words import peer_words, trim
from engine.errors import Permanent, Retry
from engine.security.outward import OutwardTransport, outward
from engine.tls_words import tls_words

__all__ = ["Body", "HttpClient", "HttpSettings", "failure", "is_transient", "retry_after"]

Body = bytes | Callable[[], Iterable[bytes]]
"""What is sent: bytes, or what makes the chunks anew each time, as a request may have to be sent again (401)."""

REDIRECTS = 3
LONGEST_WAIT = 86_400.0
ANSWER_PATIENCE = 3.0
"""An answer that is read as a whole may take so many times the silence that is allowed."""
_TRANSIENT = {408, 425, 429}
_ERRNO = re.compile(r"^\[Errno -?\d+\] ")


class HttpSettings(ConfigModel):
    """How long to wait for an HTTP peer, and by which way it is reached."""

    connect_seconds: float = Field(default=10.0, gt=0, le=600)
    """How long connecting (with TLS) may take."""
    silence_seconds: float = Field(default=120.0, gt=0, le=7200)
    """How long the peer may say nothing, or take nothing of what is sent."""
    answer_megabytes: int = Field(default=64, ge=1, le=1024)
    """The largest answer that is read as a whole (store responses, search results, metadata)."""
    proxy: str = Field(
        default="", max_length=500, pattern=r"^(https?://[^\s@]+)?$", examples=["http://proxy.example.org:3128"]
    )
    """The HTTP proxy to go through; none unless given: variables such as HTTPS_PROXY are not looked at."""


class HttpClient:
    """A peer at `base`, signed in. Used as a context; one thread at a time.

    `tls` serves https, of an OAuth token endpoint too. Raises Retry or Permanent when no sign-in can be had, a
    certificate of ours cannot be read, or the proxy may not be asked. Each request, to an address of this machine or its
    cloud, is refused (Permanent) unless AXIOM_ALLOWED_HOSTS names it.
    """

    def __init__(
        self,
        base: str,
        authentication: Authentication | None = None,
        settings: HttpSettings | None = None,
        tls: TlsClient | None = None,
    ) -> None:
        settings = settings or HttpSettings()
        tls = tls or TlsClient()
        self.base = httpx.URL(base.rstrip("/") + "/")
        self.answered_at = 0.0
        """When the last answer's head came, on the monotonic clock."""
        secure = self.base.scheme == "https" or (authentication and authentication.token_url.startswith("https:"))
        context = tls.context() if secure else None
        self._authorizer: Authorizer = authorize(authentication or Authentication(), context)
        self._extensions = {"sni_hostname": tls.server_name} if tls.server_name else {}
        self._largest = settings.answer_megabytes << 20
        self._silence = silence = settings.silence_seconds
        inner = httpx.HTTPTransport(
            verify=context or False,  # without https nothing is there to be verified
            proxy=_pinned(settings.proxy) if settings.proxy else None,
            limits=httpx.Limits(max_connections=4),
        )
        self._client = httpx.Client(
            trust_env=False,
            transport=OutwardTransport(outward(), inner, proxied=bool(settings.proxy)),
            timeout=httpx.Timeout(silence, connect=settings.connect_seconds),
            headers={"User-Agent": "Axiom-Flow", "Accept-Encoding": "identity"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def url(self, path: str) -> httpx.URL:
        """A path below the base, or a whole URL of the same origin (a Retrieve URL, an upload session).

        Raises Permanent for a URL of another origin: our credentials are for this peer alone.
        """
        url = self.base.join(path.lstrip("/") if "://" not in path else path)
        if _origin(url) != _origin(self.base):
            raise Permanent(f"The peer names an address at another host ({url.host}), which is not asked.")
        return url

    def sign_in(self) -> str:
        """Fetch what the Authorization header needs, to see that it can be had. Raises Retry or Permanent."""
        return "signed in" if self._authorizer.header() else "without a sign-in"

    def hide(self, text: str) -> str:
        """The text without any secret of ours."""
        return self._authorizer.hide(text)

    def request(
        self,
        method: str,
        path: str = "",
        *,
        params: Mapping[str, str | int] | Iterable[tuple[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        takes: Iterable[int] = (),
    ) -> httpx.Response:
        """One request, with its answer's body read as a whole. Statuses 2xx and those in `takes` are given back.

        Raises Retry or Permanent for the others, for broken connections and for silence.
        """
        with self.stream(method, path, params=params, headers=headers, body=body, takes=takes) as response:
            content = b"".join(self.chunks(response, self._largest))
            kept = [(k, v) for k, v in response.headers.multi_items() if k.lower() != "content-encoding"]
            return httpx.Response(response.status_code, headers=kept, content=content, request=response.request)

    @contextmanager
    def stream(
        self,
        method: str,
        path: str = "",
        *,
        params: Mapping[str, str | int] | Iterable[tuple[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        takes: Iterable[int] = (),
    ) -> Iterator[httpx.Response]:
        """Like `request`, with the answer's body still to be read: by `chunks`, inside of the context."""
        url = self.url(path)
        if params:
            given = params.items() if isinstance(params, Mapping) else params
            url = url.copy_merge_params([(k, str(v)) for k, v in given])
        response = self._send(method, url, headers or {}, body)
        try:
            if not response.is_success and response.status_code not in set(takes):
                raise self._failure(response)
            yield response
        finally:
            response.close()

    def chunks(self, response: httpx.Response, most: int | None = None) -> Iterator[bytes]:
        """The body of a streamed answer. Raises Retry when the peer breaks off or falls silent, or says more than `most`."""
        said, until = 0, time.monotonic() + ANSWER_PATIENCE * self._silence
        try:
            for chunk in response.iter_bytes():
                said += len(chunk)
                if most is not None and time.monotonic() > until:
                    raise Retry("The peer's answer drips: it is given up, as a worker is not to be held by it.")
                if most is not None and said > most:
                    raise Retry(f"The peer's answer is longer than {most >> 20} MB, more than is read.")
                yield chunk
        except httpx.HTTPError as error:
            raise self._broken(error) from error

    def _send(self, method: str, url: httpx.URL, headers: Mapping[str, str], body: Body | None) -> httpx.Response:
        """The answer's head, after redirects within the origin and at most one new sign-in."""
        renewed, redirects = False, 0
        while True:
            response = self._send_once(method, url, headers, body)
            if response.status_code == 401 and not renewed and self._authorizer.refused():
                renewed = True
                response.close()
                continue
            if not response.has_redirect_location:
                return response
            response.close()
            redirects += 1
            url = self._redirected(response, url, method, redirects)

    def _send_once(self, method: str, url: httpx.URL, headers: Mapping[str, str], body: Body | None) -> httpx.Response:
        header = self._authorizer.header()
        signed = {**headers, "Authorization": header} if header else headers
        content = body() if callable(body) else body
        try:
            request = self._client.build_request(method, url, headers=signed, content=content, extensions=self._extensions)
            response = self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise self._broken(error) from error
        self.answered_at = time.monotonic()
        return response

    def _redirected(self, response: httpx.Response, url: httpx.URL, method: str, redirects: int) -> httpx.URL:
        code = str(response.status_code)
        to = url.join(response.headers["Location"])
        if _origin(to) != _origin(url):
            port = f":{to.port}" if to.port else ""
            raise Permanent(
                f"The peer redirects to {to.scheme}://{to.host}{port}, which is not followed: if that is right, "
                f"write it into the URL.", code,
            )  # fmt: skip
        if redirects > REDIRECTS:
            raise Permanent(f"The peer redirects in circles ({redirects} times).", code)
        if method not in ("GET", "HEAD") and response.status_code not in (307, 308):
            raise Permanent(f"The peer redirects a {method} so that it would lose its body: correct the URL.", code)
        return to

    def _failure(self, response: httpx.Response) -> Retry | Permanent:
        content = b""
        with contextlib.suppress(Retry):  # too long, too slow, broken off: the status says enough
            for chunk in self.chunks(response, 1 << 16):
                content += chunk
        return failure(response.status_code, response.headers, content, self.hide)

    def _broken(self, error: httpx.HTTPError) -> Retry | Permanent:
        host = f"{self.base.host}{f':{self.base.port}' if self.base.port else ''}"
        if isinstance(error, httpx.ConnectTimeout):
            return Retry(f"{host} does not answer: connecting took too long.")
        if isinstance(error, httpx.ReadTimeout):
            return Retry(f"{host} fell silent: it took the request and did not answer in time.")
        if isinstance(error, httpx.WriteTimeout):
            return Retry(f"{host} takes no more bytes.")
        if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL | httpx.LocalProtocolError):
            return Permanent(f"The request to {host} cannot be made: {trim(self.hide(str(error)))}.")
        if words := tls_words(error):
            return Retry(f"TLS with {host} failed: {words}.")
        said = trim(self.hide(_ERRNO.sub("", str(error)))) or type(error).__name__
        if isinstance(error, httpx.ConnectError):
            return Retry(f"{host} cannot be reached: {said}.")
        return Retry(f"The connection to {host} broke off: {said}.")


def is_transient(status: int) -> bool:
    """Whether the same request may go well later."""
    return status in _TRANSIENT or status >= 500


def failure(
    status: int, headers: Mapping[str, str], content: bytes, hide: Callable[[str], str] = lambda text: text
) -> Retry | Permanent:
    """The error of an answer, in the peer's own words. `hide` takes secrets out of them."""
    said = peer_words(headers.get("Content-Type", ""), content, hide)
    reason = _MEANS.get(status) or httpx.codes.get_reason_phrase(status) or "no usual status"
    words = f"{status} {reason}{f': {said}' if said else ''}"
    if is_transient(status):
        return Retry(words, str(status), retry_after(headers.get("Retry-After", "")))
    return Permanent(words, str(status))


_MEANS = {
    401: "Unauthorized (the peer does not know us: look at the authentication)",
    403: "Forbidden (the peer knows us, and we may not do this there)",
    404: "Not Found (the peer has no such path: look at the URL)",
    406: "Not Acceptable (the peer does not give its answer in any form that we read)",
    413: "Content Too Large (the peer takes no request of this size)",
    415: "Unsupported Media Type (the peer does not take what it is sent in this form, or in this transfer syntax)",
}


def retry_after(value: str, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or a date (RFC 9110 10.2.3); a day at most."""
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return min(float(value), LONGEST_WAIT)
    try:
        at = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max((at - (now or datetime.now(UTC))).total_seconds(), 0.0), LONGEST_WAIT)


def _pinned(proxy: str) -> httpx.URL:
    """The proxy at the address that was found good. (Over TLS it keeps its name, which its certificate is made out to.)"""
    url = httpx.URL(proxy)
    target = outward().check(proxy)
    return url if url.scheme == "https" else url.copy_with(host=target.addresses[0])


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
