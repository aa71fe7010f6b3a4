"""Passwords: bcrypt, with the same time spent whether or not the person exists."""

from __future__ import annotations

import secrets
from functools import cache

import bcrypt

from engine.errors import Invalid, Problem

__all__ = ["hash_password", "new_password", "refuse_weak", "verify_password"]

ROUNDS = 12
SHORTEST = 12
LONGEST_BYTES = 72  # bcrypt looks at no more
ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # nothing that looks like something else


def new_password() -> str:
    """A one-time password that can be read out and typed: four groups of five, 116 bits."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(5)) for _ in range(4))


def refuse_weak(password: str, *, username: str = "", old: str | None = None) -> None:
    """Raises Invalid (at `new_password`) for what is too short, too long for bcrypt, the old one or the name."""
    words = ""
    if len(password) < SHORTEST:
        words = f"A password needs {SHORTEST} characters or more: a sentence is easy to remember."
    elif len(password.encode()) > LONGEST_BYTES:
        words = f"A password can be {LONGEST_BYTES} bytes long at most (letters beyond ASCII count as 2 to 4)."
    elif "\0" in password:
        words = "A password cannot hold a NUL character."
    elif len(set(password)) < 5 or (username and password.lower().replace(username.lower(), "") == ""):
        words = "This password is too easy to guess."
    elif old is not None and password == old:
        words = "The new password is the old one."
    if words:
        raise Invalid([Problem(("new_password",), words)])


def hash_password(password: str) -> str:
    """The bcrypt hash. Raises Invalid when the password is longer than bcrypt looks at."""
    if len(password.encode()) > LONGEST_BYTES:
        raise Invalid([Problem(("new_password",), f"A password can be {LONGEST_BYTES} bytes long at most.")])
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(ROUNDS)).decode()


def verify_password(password: str, hashed: str | None) -> bool:
    """Whether it is the one that was hashed. No hash (nobody of that name, no password): false, in the same time."""
    known = bool(hashed)
    given = password.encode()
    if len(given) > LONGEST_BYTES or b"\0" in given:
        known, given = False, b"x"  # no such password can have been set
    return bcrypt.checkpw(given, hashed.encode() if known and hashed else _nobody(ROUNDS)) and known


@cache
def _nobody(rounds: int) -> bytes:
    return bcrypt.hashpw(secrets.token_bytes(32).hex().encode(), bcrypt.gensalt(rounds))
