"""Tokens: short-lived signed ones that say who asks, and opaque ones that are stored only as hashes."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from engine.errors import AxiomError, Denied

__all__ = ["ACCESS_SECONDS", "Claims", "Signer", "digest", "new_secret"]

ACCESS_SECONDS = 15 * 60
ISSUER = "axiom-flow"
AUDIENCE = "axiom-flow-api"
ALGORITHM = "HS256"
SHORTEST_KEY = 32
LEEWAY = 5  # seconds that the clocks of two nodes may differ


@dataclass(frozen=True, slots=True)
class Claims:
    """What a checked access token says."""

    username: str
    role: str
    generation: int
    """Of the user's tokens when it was made: "sign out everywhere" counts it up."""
    session: str
    expires_at: datetime


class Signer:
    """Makes and checks access tokens (JWT, HS256) with the installation's secret key."""

    def __init__(self, key: str) -> None:
        if len(key) < SHORTEST_KEY:
            raise AxiomError(f"AXIOM_SECRET_KEY is too short: it needs {SHORTEST_KEY} characters or more.")
        self._key = hashlib.sha256(b"access tokens\0" + key.encode()).digest()  # one key a purpose

    def sign(self, username: str, role: str, generation: int, session: str, seconds: int = ACCESS_SECONDS) -> str:
        import jwt

        now = datetime.now(UTC)
        claims = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": username, "role": role, "gen": generation, "sid": session,
            "iat": now, "exp": now + timedelta(seconds=seconds), "jti": secrets.token_hex(8),
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM)

    def check(self, token: str) -> Claims:
        """Raises Denied for what is not a token of ours or not valid now, always with the same words."""
        import jwt

        try:
            claims = jwt.decode(
                token, self._key, algorithms=[ALGORITHM], audience=AUDIENCE, issuer=ISSUER, leeway=LEEWAY,
                options={"require": ["exp", "iat", "aud", "iss", "sub", "role", "gen", "sid"]},
            )
            return Claims(
                str(claims["sub"]), str(claims["role"]), int(claims["gen"]), str(claims["sid"]),
                datetime.fromtimestamp(claims["exp"], UTC),
            )
        except (jwt.InvalidTokenError, ValueError, TypeError) as e:
            raise Denied("The access token is not valid, or its time is over: sign in again.") from e


def new_secret() -> str:
    """256 random bits, as text."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """How such a secret is kept: it is random, so a plain hash does (no one can try them all)."""
    return hashlib.sha256(secret.encode()).hexdigest()
