from __future__ import annotations

import statistics
import time

import pytest

from engine.errors import Invalid
from engine.security.passwords import hash_password, new_password, verify_password


def test_a_hash_verifies_its_password_alone() -> None:
    hashed = hash_password("correct horse battery")
    assert hashed.startswith("$2b$12$")
    assert verify_password("correct horse battery", hashed)
    assert not verify_password("correct horse batterz", hashed)
    assert not verify_password("", hashed)


def test_what_bcrypt_would_cut_off_is_never_right() -> None:
    hashed = hash_password("x" * 72)
    assert verify_password("x" * 72, hashed)
    assert not verify_password("x" * 73, hashed)
    with pytest.raises(Invalid, match="72 bytes"):
        hash_password("x" * 73)


def test_nobody_and_no_password_take_as_long_as_somebody() -> None:
    hashed = hash_password("correct horse battery")
    verify_password("x", None)  # the first one makes the hash of nobody

    def seconds(password: str, against: str | None) -> float:
        times = []
        for _ in range(3):
            began = time.thread_time()  # the work itself: what else the machine does must not tell
            assert not verify_password(password, against)
            times.append(time.thread_time() - began)
        return statistics.median(times)

    somebody = seconds("wrong password", hashed)
    for other in (seconds("wrong password", None), seconds("wrong password", ""), seconds("x" * 5000, hashed)):
        assert 0.3 < other / somebody < 3


def test_one_time_passwords_are_long_and_different() -> None:
    made = {new_password() for _ in range(200)}
    assert len(made) == 200
    assert all(len(p) == 23 and not set(p) & set("0O1lI ") for p in made)
