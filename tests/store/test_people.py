from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from engine.errors import Conflict, Denied, Invalid, Missing
from engine.store import Store, tables

GOOD = "correct horse battery"


def test_the_first_admin_gets_a_one_time_password_once(store: Store) -> None:
    password = store.people.create_admin()
    assert password is not None
    assert store.people.create_admin() is None
    user = store.people.verify("admin", password)
    assert user.must_change_password
    assert user.role == "Admin"
    store.people.set_password("admin", GOOD, who="admin", old=password)
    assert not store.people.verify("ADMIN ", GOOD).must_change_password


def test_the_password_is_kept_as_a_hash_alone(store: Store) -> None:
    store.people.create("ada", role="User", who="t", password=GOOD)
    with store.database.read() as connection:
        row = connection.execute(tables.users.select()).one()
    assert GOOD not in repr(row)
    assert row.password.startswith("$2b$")


@pytest.mark.parametrize(
    ("username", "role", "loc"),
    [("a b", "User", "username"), ("", "User", "username"), ("x" * 65, "User", "username"), ("ada", "King", "role")],
)
def test_odd_names_and_roles_are_refused(store: Store, username: str, role: str, loc: str) -> None:
    with pytest.raises(Invalid) as caught:
        store.people.create(username, role=role, who="t")
    assert caught.value.problems[0].loc == (loc,)


def test_a_name_is_one_person_whatever_its_case(store: Store) -> None:
    store.people.create("Ada", role="User", who="t")
    with pytest.raises(Conflict, match="already a user called ada"):
        store.people.create("ADA", role="User", who="t")


def test_whatever_is_wrong_is_refused_in_the_same_words_and_told_apart_in_the_audit(store: Store) -> None:
    store.people.create("ada", role="User", who="t", password=GOOD)
    store.people.create("ben", role="User", who="t", password=GOOD)
    store.people.change("ben", who="t", active=False)
    words = set()
    for name, password in (("nobody", GOOD), ("ada", "wrong"), ("ben", GOOD), ("ada", "x" * 100), ("ada", "a\0b")):
        with pytest.raises(Denied) as caught:
            store.people.verify(name, password, address="10.0.0.9")
        words.add(str(caught.value))
    assert len(words) == 1
    refused = store.audit.rows(action="sign-in-refused")
    assert [(r.name, r.detail["why"]) for r in reversed(refused)] == [
        ("", "unknown"), ("ada", "password"), ("ben", "inactive"), ("ada", "password"), ("ada", "password"),
    ]  # fmt: skip
    assert {r.address for r in refused} == {"10.0.0.9"}
    assert "nobody" not in repr(refused)  # people type passwords into the wrong field


def test_ten_wrong_passwords_lock_even_the_right_one_out_until_the_time_is_over(store: Store) -> None:
    store.people.create("ada", role="User", who="t", password=GOOD)
    for _ in range(10):
        with pytest.raises(Denied):
            store.people.verify("ada", "wrong password")
    with pytest.raises(Denied):
        store.people.verify("ada", GOOD)
    assert store.people.get("ada").locked_until is not None
    with store.database.write() as connection:
        connection.execute(tables.users.update().values(locked_until=datetime.now(UTC) - timedelta(seconds=1)))
    assert store.people.verify("ada", GOOD).locked_until is None


def test_an_admin_unlocks(store: Store) -> None:
    store.people.create("ada", role="User", who="t", password=GOOD)
    with store.database.write() as connection:
        connection.execute(tables.users.update().values(locked_until=datetime.now(UTC) + timedelta(hours=1)))
    store.people.create("root", role="Admin", who="t")
    store.people.change("ada", who="root", unlock=True)
    assert store.people.verify("ada", GOOD)


def test_a_right_password_forgets_the_wrong_ones(store: Store) -> None:
    store.people.create("ada", role="User", who="t", password=GOOD)
    for _ in range(3):
        for _ in range(5):
            with pytest.raises(Denied):
                store.people.verify("ada", "wrong password")
        store.people.verify("ada", GOOD)
    assert store.people.get("ada").locked_until is None


@pytest.mark.parametrize(
    ("new", "words"),
    [("short", "12 characters"), ("ä" * 37, "72 bytes"), ("aaaaaaaaaaaaaaaa", "easy to guess"), (GOOD, "the old one"),
     ("longenough\0nul", "NUL")],
)  # fmt: skip
def test_weak_passwords_are_refused_at_their_field(store: Store, new: str, words: str) -> None:
    store.people.create("ada", role="User", who="t", password=GOOD)
    with pytest.raises(Invalid) as caught:
        store.people.set_password("ada", new, who="ada", old=GOOD)
    assert caught.value.problems[0].loc == ("new_password",)
    assert words in caught.value.problems[0].words


def test_the_old_password_is_asked_for(store: Store) -> None:
    store.people.create("ada", role="User", who="t", password=GOOD)
    with pytest.raises(Invalid) as caught:
        store.people.set_password("ada", "another good one", who="ada", old="wrong")
    assert caught.value.problems[0].loc == ("old_password",)


def test_the_last_admin_stays_one(store: Store) -> None:
    store.people.create_admin()
    for change in ({"role": "User"}, {"active": False}):
        with pytest.raises(Conflict, match="Nobody could administer"):
            store.people.change("admin", who="admin", **change)  # type: ignore[arg-type]
    assert store.people.get("admin").role == "Admin"
    assert store.people.get("admin").active


def test_injecting_an_admin_makes_or_brings_back_one(store: Store) -> None:
    first = store.people.inject_admin("root", who="os:root")
    assert store.people.verify("root", first).must_change_password
    store.people.create_admin()
    store.people.create("other", role="Admin", who="t")
    store.people.change("root", who="t", active=False, role="User")
    again = store.people.inject_admin("root", who="os:root")
    user = store.people.verify("root", again)
    assert (user.role, user.active, user.must_change_password) == ("Admin", True, True)
    chosen = store.people.inject_admin("root", who="os:root", password="chosen by the person")
    assert chosen == "chosen by the person"
    assert store.people.verify("root", chosen)


def test_a_reset_gives_a_one_time_password(store: Store) -> None:
    store.people.create("ada", role="User", who="t", password=GOOD, must_change=False)
    made = store.people.reset_password("ada", who="admin")
    assert store.people.verify("ada", made).must_change_password
    with pytest.raises(Missing):
        store.people.reset_password("nobody", who="admin")
