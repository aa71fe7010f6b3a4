"""Access tokens of Google, through google-auth over httpx: a service account's key, or what the machine is given.

"What the machine is given" are Google's application default credentials: GOOGLE_APPLICATION_CREDENTIALS, a workload
identity, or the metadata server of a virtual machine. The token endpoint is the one that the key itself names.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google.auth
import httpx
from google.auth import exceptions, transport
from google.oauth2 import service_account

from engine.errors import Permanent, Retry
from engine.security.outward import OutwardTransport, outward

__all__ = ["GoogleTokens", "google_tokens"]

SECONDS = 20.0
_KEY = "the service account's key"


class _Answer(transport.Response):
    """An answer as google-auth reads it."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    @property
    def data(self) -> bytes:
        return self._response.content


class _Request(transport.Request):
    """google-auth's way to the network, by httpx.

    `guarded`: the token endpoint stands in a key that somebody gave, so it is none of this machine's. (This machine's own
    identity does come from its cloud's metadata service.)
    """

    def __init__(self, *, guarded: bool) -> None:
        self._guarded = guarded

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> _Answer:
        try:
            way = OutwardTransport(outward()) if self._guarded else None
            with httpx.Client(trust_env=False, timeout=timeout or SECONDS, transport=way) as client:
                return _Answer(client.request(method, url, content=body, headers=headers))
        except httpx.HTTPError as error:
            words = f"{type(error).__name__}: {error}"
            raise exceptions.TransportError(words) from error  # type: ignore[no-untyped-call]


class GoogleTokens:
    """The tokens of one identity for some scopes; a token is used until shortly before it expires. Threads may share it."""

    def __init__(self, key: str | None, scopes: tuple[str, ...]) -> None:
        self._lock = threading.Lock()
        self._request = _Request(guarded=key is not None)
        self._made = _credentials(key, scopes)

    def token(self) -> str:
        """A token that is good now. Raises Retry when it cannot be had now, Permanent when the identity is refused."""
        with self._lock:
            if not self._made.valid:
                try:
                    self._made.refresh(self._request)
                except exceptions.TransportError as error:
                    raise Retry(f"Google's token endpoint cannot be reached ({_words(error)}).") from error
                except exceptions.GoogleAuthError as error:
                    raise _refused(error) from error
                except ValueError as error:  # an answer that is no token
                    raise Retry("Google's token endpoint gave an answer that cannot be read.") from error
            return str(self._made.token)

    def forget(self, token: str) -> None:
        """This token was refused: the next one is fetched anew."""
        with self._lock:
            if self._made.token == token:
                self._made.token = None


_known: dict[tuple[str, ...], GoogleTokens] = {}
_lock = threading.Lock()


def google_tokens(key: str | None, scopes: tuple[str, ...]) -> GoogleTokens:
    """The tokens of the service account with this key (JSON), or without one of the machine's own identity; the same
    object for the same identity, so that a token serves all deliveries of a process.

    Raises Permanent when the key is no service account's, Retry when the machine has no identity (yet).
    """
    name = (hashlib.sha256(key.encode()).hexdigest() if key else _machine(), *scopes)
    with _lock:
        if name not in _known:
            _known[name] = GoogleTokens(key, scopes)
        return _known[name]


def _machine() -> str:
    """Changes when the file that GOOGLE_APPLICATION_CREDENTIALS names does."""
    file = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
    try:
        return f"{file}@{Path(file).stat().st_mtime_ns}" if file else ""
    except OSError:
        return file


def _credentials(key: str | None, scopes: tuple[str, ...]) -> Any:
    if key is None:
        try:
            return google.auth.default(scopes=scopes, request=_Request(guarded=False))[0]
        except exceptions.GoogleAuthError as error:
            raise Retry(
                "This machine has no identity at Google: name a service account, or set GOOGLE_APPLICATION_CREDENTIALS."
            ) from error
    try:
        make: Any = service_account.Credentials.from_service_account_info
        return make(json.loads(key), scopes=scopes)
    except (ValueError, TypeError, AttributeError, exceptions.GoogleAuthError):
        # The cause may quote the key, so it is left behind.
        raise Permanent(f"This is not {_KEY}: it should be the JSON file that Google made for it.") from None


def _refused(error: exceptions.GoogleAuthError) -> Retry | Permanent:
    words = f"Google gives no token: {_words(error)}."
    return Retry(words) if getattr(error, "retryable", False) else Permanent(words)


def _words(error: Exception) -> str:
    return " ".join(str(error.args[0] if error.args else error).split())[:300].rstrip(". ")
