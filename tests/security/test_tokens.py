from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest

from engine.errors import AxiomError, Denied
from engine.security.tokens import Signer

KEY = "k" * 40


def _token(signer: Signer, **changes: Any) -> str:
    """A token signed with the signer's own key, with some claims changed (None: left out)."""
    good = jwt.decode(signer.sign("ada", "User", 3, "s1"), options={"verify_signature": False})
    claims = {k: v for k, v in (good | changes).items() if v is not None}
    return jwt.encode(claims, signer._key, algorithm="HS256")


def test_a_token_says_who_and_from_which_session() -> None:
    claims = Signer(KEY).check(Signer(KEY).sign("ada", "User", 3, "s1"))
    assert (claims.username, claims.role, claims.generation, claims.session) == ("ada", "User", 3, "s1")


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1_000_000_000}, {"aud": "other"}, {"iss": "other"}, {"exp": None}, {"aud": None}, {"iss": None},
        {"sub": None}, {"gen": None}, {"sid": None}, {"iat": 9_999_999_999}, {"gen": "x"},
    ],
    ids=str,
)  # fmt: skip
def test_other_claims_are_refused_in_the_same_words(changes: dict[str, Any]) -> None:
    signer = Signer(KEY)
    with pytest.raises(Denied, match="sign in again"):
        signer.check(_token(signer, **changes))


def test_foreign_unsigned_and_broken_tokens_are_refused() -> None:
    signer = Signer(KEY)
    good = signer.sign("ada", "User", 3, "s1")
    head, body, mark = good.split(".")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).rstrip(b"=").decode()
    for bad in (Signer("o" * 40).sign("ada", "User", 3, "s1"), f"{none}.{body}.", f"{none}.{body}.{mark}",
                f"{head}.{body}.", f"{head}.{body}x.{mark}", "", "a.b.c", good[:-2]):  # fmt: skip
        with pytest.raises(Denied):
            signer.check(bad)


def test_a_token_ends() -> None:
    signer = Signer(KEY)
    with pytest.raises(Denied):
        signer.check(signer.sign("ada", "User", 3, "s1", seconds=-10))


def test_a_short_key_is_refused() -> None:
    with pytest.raises(AxiomError, match="AXIOM_SECRET_KEY is too short"):
        Signer("short")
