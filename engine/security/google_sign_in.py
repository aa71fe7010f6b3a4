"""Google sign-in (OpenID Connect): is this ID token one that Google made, for us, now, for a person we may know?

OpenID Connect Core 1.0, 3.1.3.7, and Google's own advice: signature by the issuer's published keys, audience, issuer, expiry,
`email_verified`, hosted domain (`hd`), nonce. Why a token is refused is told to the log and the audit (`RefusedToken.why`), to
the caller only that it is. Only public-key algorithms are known here, so neither `none` nor a "signature" made with the public
key as HMAC secret is one. The library that fetches the keys is given a time-out; keys are cached and fetched again when a token
names one that is not among them (they are rotated), but not more often than once a minute, whoever asks.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

from engine.errors import Denied, Retry

if TYPE_CHECKING:
    import jwt

__all__ = ["Google", "Identity", "IssuerKeys", "RefusedToken"]

ALGORITHMS = ["RS256", "ES256"]
LEEWAY = 10
LARGEST = 1 << 16
NEEDED = ["iss", "aud", "exp", "iat", "sub", "email"]
REFUSED = "This Google sign-in is not accepted here: sign in again, or ask an administrator."


class RefusedToken(Denied):
    """A token that is no way in. `why` is for the log: `audience issuer key signature algorithm expired malformed claims
    unverified-email domain nonce replay`; the text says nothing of it."""

    def __init__(self, why: str) -> None:
        super().__init__(REFUSED)
        self.why = why


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a good token speaks of."""

    issuer: str
    subject: str
    """The issuer's own, lasting name of the person; an e-mail address can change hands."""
    email: str
    name: str
    digest: str
    """Of what was signed: a token is good once. (The signature itself can be written in several ways.)"""
    expires_at: datetime


class IssuerKeys:
    """The issuer's public keys (RFC 7517), by `kid`. Thread-safe."""

    def __init__(self, url: str, *, keep_seconds: float = 3600.0, least_seconds: float = 60.0) -> None:

        self._url = url
        self.keep_seconds = keep_seconds
        self.least_seconds = least_seconds
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched: float | None = None
        self._lock = threading.Lock()

    def get(self, kid: str) -> jwt.PyJWK | None:
        """None when the issuer has no such key. Raises Retry when the issuer cannot be asked."""
        with self._lock:
            age = float("inf") if self._fetched is None else time.monotonic() - self._fetched
            if age > self.keep_seconds or (kid not in self._keys and age >= self.least_seconds):
                self._keys = self._fetch()
                self._fetched = time.monotonic()
            return self._keys.get(kid)

    def _fetch(self) -> dict[str, jwt.PyJWK]:
        import jwt

        try:
            answer = httpx.get(self._url, timeout=10.0, follow_redirects=False)
            answer.raise_for_status()
            told: Mapping[str, Any] = answer.json()
            keys = [jwt.PyJWK(k) for k in told["keys"] if k.get("kty") in ("RSA", "EC") and k.get("use", "sig") == "sig"]
        except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError, jwt.PyJWTError) as e:
            raise Retry(f"The keys for signing in with Google cannot be fetched from {self._url}.") from e
        return {key.key_id: key for key in keys if key.key_id}


class Google:
    """Checks ID tokens of one issuer for one client. `domains`: whose people may come (empty: anybody's)."""

    def __init__(self, client_id: str, issuer: str, jwks_url: str, domains: str = "") -> None:
        self.client_id = client_id
        self.keys = IssuerKeys(jwks_url)
        self._domains = {d.strip().lower() for d in domains.split(",") if d.strip()}
        self._issuers = {issuer, issuer.removeprefix("https://")} if issuer == "https://accounts.google.com" else {issuer}

    def check(self, token: str, nonce: str = "") -> Identity:
        """Raises RefusedToken, which knows why, and Retry when the issuer's keys cannot be had."""
        claims = self._claims(token)
        if claims["iss"] not in self._issuers:
            raise RefusedToken("issuer")
        if claims.get("azp", self.client_id) != self.client_id:
            raise RefusedToken("audience")
        if claims.get("email_verified") is not True:
            raise RefusedToken("unverified-email")
        email = str(claims["email"]).strip().lower()
        self._refuse_domain(email, str(claims.get("hd", "")).lower())
        if nonce and claims.get("nonce") != nonce:
            raise RefusedToken("nonce")
        signed = token.rpartition(".")[0]
        return Identity(
            str(claims["iss"]), str(claims["sub"])[:255], email, str(claims.get("name", ""))[:128],
            hashlib.sha256(signed.encode()).hexdigest(), datetime.fromtimestamp(claims["exp"] + LEEWAY, UTC),
        )  # fmt: skip

    def _claims(self, token: str) -> dict[str, Any]:
        import jwt

        try:
            head = jwt.get_unverified_header(token)
        except jwt.PyJWTError as e:
            raise RefusedToken("malformed") from e
        if head.get("alg") not in ALGORITHMS:
            raise RefusedToken("algorithm")
        key = self.keys.get(str(head.get("kid", "")))
        if key is None:
            raise RefusedToken("key")
        try:
            claims: dict[str, Any] = jwt.decode(
                token, key, algorithms=ALGORITHMS, audience=self.client_id, leeway=LEEWAY,
                options={"require": NEEDED, "strict_aud": True},
            )  # fmt: skip
        except jwt.PyJWTError as e:
            raise RefusedToken(_why(e)) from e
        return claims

    def _refuse_domain(self, email: str, hosted: str) -> None:
        """`hd` is the issuer's word for whose account it is. An address of the domain alone is not: anybody may have made a
        private account with it once."""
        if email.count("@") != 1:
            raise RefusedToken("claims")
        if self._domains and (hosted not in self._domains or email.rpartition("@")[2] not in self._domains):
            raise RefusedToken("domain")


def _why(error: jwt.PyJWTError) -> str:
    import jwt

    match error:
        case jwt.ExpiredSignatureError() | jwt.ImmatureSignatureError():
            return "expired"
        case jwt.InvalidAudienceError():
            return "audience"
        case jwt.InvalidIssuerError():
            return "issuer"
        case jwt.InvalidSignatureError() | jwt.InvalidKeyError():
            return "signature"
        case jwt.InvalidAlgorithmError():
            return "algorithm"
        case jwt.MissingRequiredClaimError() | jwt.InvalidIssuedAtError():
            return "claims"
    return "malformed"
