from __future__ import annotations

import pytest

from engine.errors import Denied
from engine.security.roles import ROLES, Permission, allow, permissions_of
from engine.security.throttle import Throttle


def test_admin_may_all_and_user_sees_no_patients() -> None:
    assert permissions_of("Admin") == frozenset(Permission)
    assert permissions_of("User") == {Permission.VIEW, Permission.OPERATE, Permission.BROWSE}
    assert permissions_of("no such role") == frozenset()
    assert permissions_of("made", ["view", "of another version"]) == {Permission.VIEW}
    assert permissions_of("User", ["administer"]) == ROLES["User"]
    assert permissions_of("Sender") == {Permission.STORE}
    assert set(ROLES) == {"Admin", "Sender", "User"}


def test_a_missing_permission_is_named() -> None:
    allow({Permission.VIEW}, Permission.VIEW)
    with pytest.raises(Denied, match="permission to see patient data") as caught:
        allow({Permission.VIEW}, Permission.SEE_PATIENT_DATA)
    assert caught.value.known


def test_a_name_is_throttled_from_one_address_alone() -> None:
    throttle = Throttle(each_name=3, each_address=100)
    for _ in range(3):
        throttle.refuse_too_many("Ada", "10.0.0.1")
        throttle.failed("ada", "10.0.0.1")
    with pytest.raises(Denied, match="wait") as caught:
        throttle.refuse_too_many(" ADA ", "10.0.0.1")
    assert caught.value.after is not None
    assert 1 <= caught.value.after <= 60
    throttle.refuse_too_many("ada", "10.0.0.2")
    throttle.refuse_too_many("ben", "10.0.0.1")


def test_an_address_that_tries_many_names_is_throttled() -> None:
    throttle = Throttle(each_name=5, each_address=10)
    for i in range(10):
        throttle.refuse_too_many(f"user{i}", "10.0.0.1")
        throttle.failed(f"user{i}", "10.0.0.1")
    with pytest.raises(Denied):
        throttle.refuse_too_many("somebody else", "10.0.0.1")
