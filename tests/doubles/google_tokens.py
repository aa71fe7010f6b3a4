"""A double of Google's token endpoint: takes JWT grants signed with a service account's key (RFC 7523), gives tokens."""

from __future__ import annotations

import functools
import json
import secrets
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.doubles.server import Answer, Asked

__all__ = ["GoogleTokens", "google_error"]

AUDIENCE = "https://oauth2.googleapis.com/token"
"""What google-auth addresses a grant to, wherever it sends it."""
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def google_error(code: int, status: str, message: str, headers: dict[str, str] | None = None) -> Answer:
    """An error as Google's APIs write it: google.rpc.Status in JSON."""
    body = {"error": {"code": code, "message": message, "status": status}}
    more = {"Content-Type": "application/json; charset=UTF-8"} | (headers or {})
    return Answer(code, json.dumps(body).encode(), more)


class GoogleTokens:
    """One service account, its key, and the tokens given to it. `lasts`: seconds that a token is said to be good."""

    def __init__(self, *, lasts: int = 3600, account: str = "axiom") -> None:
        self.lasts = lasts
        self.url = ""
        """Set by who serves it: the token endpoint that the key names."""
        self.given: list[str] = []
        self.good: dict[str, str] = {}
        """Tokens that are good, with their scopes."""
        self._key = _key(account)
        self._lock = threading.Lock()

    @property
    def private_key(self) -> str:
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    def service_account(self) -> dict[str, Any]:
        """The account's key, as the JSON file that Google makes for it."""
        return {
            "type": "service_account", "project_id": "p", "private_key_id": "k1", "private_key": self.private_key,
            "client_email": "axiom@p.iam.gserviceaccount.com", "client_id": "1", "token_uri": self.url,
        }  # fmt: skip

    def key_file(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "google.json"
        file.write_text(json.dumps(self.service_account()))
        return file

    def expire(self) -> None:
        """All tokens given so far are good no more."""
        with self._lock:
            self.good.clear()

    def answer(self, asked: Asked) -> Answer:
        form = {k: v[0] for k, v in _form(asked.body).items()}
        try:
            if form.get("grant_type") != GRANT:
                raise jwt.InvalidTokenError("Unsupported grant type")
            claims = jwt.decode(
                form["assertion"], self._key.public_key(), algorithms=["RS256"], audience=AUDIENCE,
                options={"require": ["exp", "iat", "iss", "scope"]},
            )  # fmt: skip
        except jwt.InvalidTokenError as error:
            said = {"error": "invalid_grant", "error_description": f"Invalid JWT: {error}"}
            return Answer(400, json.dumps(said).encode(), {"Content-Type": "application/json"})
        token = f"ya29.{secrets.token_urlsafe(24)}"
        with self._lock:
            self.given.append(token)
            self.good[token] = claims["scope"]
        said = {"access_token": token, "expires_in": self.lasts, "token_type": "Bearer"}
        return Answer(200, json.dumps(said).encode(), {"Content-Type": "application/json"})

    def refuse(self, asked: Asked, *scopes: str) -> Answer | None:
        """The error for a request whose token is missing, bad or not for one of these scopes; None when it is well."""
        kind, _, token = asked.headers.get("Authorization", "").partition(" ")
        with self._lock:
            scope = self.good.get(token) if kind == "Bearer" else None
        if scope is None:
            words = (
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
                "valid authentication credential."
            )
            realm = {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/", error="invalid_token"'}
            return google_error(401, "UNAUTHENTICATED", words, realm)
        if not set(scope.split()) & set(scopes):
            return google_error(403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.")
        return None


@functools.cache
def _key(account: str) -> rsa.RSAPrivateKey:
    """One a run for each account: making a key takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _form(body: bytes) -> dict[str, list[str]]:
    return parse_qs(body.decode())
