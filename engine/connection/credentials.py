"""Who we are to an HTTP peer: none, a password, a token, OAuth2 client credentials (RFC 6749 4.4), or Google.

Secrets stand in the configuration as references, are read when used, and are kept out of every text: `Authorizer.hide`
blanks them in what a peer says.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
import threading
import time
from typing import Literal, NamedTuple, Self
from urllib.parse import quote_plus

import httpx
from pydantic import Field, model_validator

from engine.component import ConfigModel
from engine.connection.words import peer_words
from engine.errors import Permanent, Retry
from engine.security.outward import OutwardTransport, outward
from engine.security.secret_references import SecretReference, resolve

__all__ = ["Authentication", "Authorizer", "authorize"]

EARLY = 60.0
"""Seconds before its end in which a token counts as expired: a long upload has to begin with a fresh one."""
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"

_NEEDED = {
    "none": (),
    "basic": ("user", "password"),
    "bearer": ("token",),
    "oauth": ("token_url", "client_id", "client_secret"),
    "google": (),
}


class Authentication(ConfigModel):
    """How we sign in at an HTTP peer."""

    method: Literal["none", "basic", "bearer", "oauth", "google"] = "none"
    """`basic`: user and password. `bearer`: a token that does not change. `oauth`: OAuth2 client credentials, a token
    fetched from the token URL. `google`: a Google service account, or this machine's own identity."""
    user: str = Field(default="", max_length=256, pattern=r"^[^:\x00-\x1f\x7f]*$", examples=["axiom"])
    """For `basic`."""
    password: SecretReference | None = Field(default=None, examples=["env:PACS_PASSWORD"])
    """For `basic`: where the password is."""
    token: SecretReference | None = Field(default=None, examples=["file:/run/secrets/pacs-token"])
    """For `bearer`: where the token is."""
    token_url: str = Field(
        default="", max_length=2000, pattern=r"^(https?://\S+)?$", examples=["https://login.example.org/oauth2/token"]
    )
    """For `oauth`: where tokens are given."""
    client_id: str = Field(default="", max_length=256, examples=["axiom-flow"])
    """For `oauth`: who we are there."""
    client_secret: SecretReference | None = Field(default=None, examples=["env:PACS_CLIENT_SECRET"])
    """For `oauth`: where the secret is."""
    scope: str = Field(default="", max_length=1000, examples=["dicomweb.write"])
    """For `oauth` and `google`: what the token shall be good for, separated by spaces. Empty: what the peer gives by
    default; for Google the whole cloud platform, as far as its IAM allows."""
    client_sent_in: Literal["header", "body"] = "header"
    """For `oauth`: whether client and secret go as HTTP Basic (RFC 6749 2.3.1) or in the form."""
    service_account: SecretReference | None = Field(default=None, examples=["file:/run/secrets/google.json"])
    """For `google`: where the service account's JSON key is; none: this machine's own identity (application default
    credentials)."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [name for name in _NEEDED[self.method] if not getattr(self, name)]
        if missing:
            raise ValueError(f"The method {self.method} needs {' and '.join(missing)}.")
        return self


class Authorizer:
    """Gives the Authorization header of one peer; this one gives none."""

    def header(self) -> str:
        """The header's value now, "" for none. Raises Retry or Permanent when no token can be had."""
        return ""

    def refused(self) -> bool:
        """The peer answered 401 to the last header: whether another one can be had, so that asking again makes sense."""
        return False

    def hide(self, text: str) -> str:
        """The text without any secret of ours that a peer may have repeated in it."""
        return text


class _Fixed(Authorizer):
    """A header that stays, and the secrets it is made of."""

    def __init__(self, header: str, *secrets: str) -> None:
        self._header = header
        self._secrets = (header, *secrets)

    def header(self) -> str:
        return self._header

    def hide(self, text: str) -> str:
        return _hide(text, self._secrets)


class _Google(Authorizer):
    def __init__(self, key: str | None, scopes: tuple[str, ...]) -> None:
        from engine.security.google import google_tokens

        self._tokens = google_tokens(key, scopes)
        self._last = ""

    def header(self) -> str:
        self._last = self._tokens.token()
        return f"Bearer {self._last}"

    def refused(self) -> bool:
        self._tokens.forget(self._last)
        return True

    def hide(self, text: str) -> str:
        return _hide(text, (self._last,))


class _Token(NamedTuple):
    value: str
    until: float
    """On the monotonic clock."""


_tokens: dict[str, _Token] = {}
"""The tokens of this process, by a hash of what they were fetched with: all deliveries to a peer share one."""
_lock = threading.Lock()


class _OAuth(Authorizer):
    """Client credentials. A token is fetched when there is none or it ends soon, and once more after a 401."""

    def __init__(self, settings: Authentication, secret: str, tls: ssl.SSLContext | None) -> None:
        self._settings = settings
        self._secret = secret
        self._tls = tls
        parts = (settings.token_url, settings.client_id, settings.scope, settings.client_sent_in, secret)
        self._name = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        self._pair = base64.b64encode(f"{quote_plus(settings.client_id)}:{quote_plus(secret)}".encode()).decode()
        """Client and secret, form-encoded before they become HTTP Basic (RFC 6749 2.3.1)."""
        self._last = ""

    def header(self) -> str:
        with _lock:
            known = _tokens.get(self._name)
        if known is None or time.monotonic() >= known.until:
            known = self._fetch()
            with _lock:
                _tokens[self._name] = known
        self._last = known.value
        return f"Bearer {self._last}"

    def refused(self) -> bool:
        with _lock:
            known = _tokens.get(self._name)
            if known and known.value == self._last:
                del _tokens[self._name]
        return True

    def hide(self, text: str) -> str:
        return _hide(text, (self._last, self._secret, quote_plus(self._secret), self._pair))

    def _fetch(self) -> _Token:
        began = time.monotonic()
        answer = self._ask()
        code = str(answer.status_code)
        if not answer.is_success:
            said = peer_words(answer.headers.get("Content-Type", ""), answer.content, self.hide)
            words = f"The token endpoint refused us ({code}): {said}"
            transient = answer.status_code in (408, 425, 429) or answer.status_code >= 500
            raise Retry(words, code) if transient else Permanent(words, code)
        try:
            body = answer.json()
            token, lasts = str(body["access_token"]), float(body.get("expires_in", 300))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Retry("The token endpoint's answer holds no token.", code) from None  # the cause may quote one
        return _Token(token, began + max(lasts - EARLY, lasts / 2))

    def _ask(self) -> httpx.Response:
        s = self._settings
        form = {"grant_type": "client_credentials"}
        headers = {"Accept": "application/json"}
        if s.scope:
            form["scope"] = s.scope
        if s.client_sent_in == "header":
            headers["Authorization"] = f"Basic {self._pair}"
        else:
            form |= {"client_id": s.client_id, "client_secret": self._secret}
        try:
            way = OutwardTransport(outward(), httpx.HTTPTransport(verify=self._tls or False))
            with httpx.Client(trust_env=False, timeout=20, transport=way) as client:
                return client.post(s.token_url, data=form, headers=headers)
        except httpx.HTTPError as error:
            raise Retry(f"The token endpoint cannot be reached ({type(error).__name__}).") from error


def authorize(settings: Authentication, tls: ssl.SSLContext | None = None) -> Authorizer:
    """Ready to sign in; `tls` serves an OAuth token endpoint too, and is needed when that is https.

    Raises Retry when a secret cannot be read now.
    """
    match settings.method:
        case "basic":
            password = _secret(settings.password)
            pair = base64.b64encode(f"{settings.user}:{password}".encode()).decode()
            return _Fixed(f"Basic {pair}", pair, password)
        case "bearer":
            token = _secret(settings.token)
            return _Fixed(f"Bearer {token}", token)
        case "oauth":
            return _OAuth(settings, _secret(settings.client_secret), tls)
        case "google":
            key = _secret(settings.service_account) if settings.service_account else None
            return _Google(key, tuple(settings.scope.split()) or (CLOUD_PLATFORM,))
    return Authorizer()


def _secret(reference: str | None) -> str:
    return resolve(reference).get_secret_value() if reference else ""


def _hide(text: str, secrets: tuple[str, ...]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 4:  # shorter ones would blank ordinary words, and are no secrets
            text = text.replace(secret, "(hidden)")
    return text
