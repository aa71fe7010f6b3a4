from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from engine.errors import Denied, Invalid, Missing
from engine.security.roles import Permission
from engine.store import Store, tables


@pytest.fixture
def ada(store: Store) -> Store:
    store.people.create("ada", role="User", who="t")
    return store


def test_a_key_is_shown_once_and_kept_as_a_hash(ada: Store) -> None:
    text, key = ada.keys.create("ada", "nightly", who="ada")
    assert text.startswith(f"axm_{key.prefix}_")
    with ada.database.read() as connection:
        assert text.split("_", 2)[2] not in repr(connection.execute(tables.api_keys.select()).all())
    user, found = ada.keys.verify(text)
    assert (user.username, found.name) == ("ada", "nightly")
    assert ada.keys.list("ada")[0].used_at is not None


def test_a_key_may_no_more_than_its_owner(ada: Store) -> None:
    text, _ = ada.keys.create("ada", "all", who="ada", permissions=["view", "administer"])
    user, key = ada.keys.verify(text)
    assert key.permissions_within(user) == {Permission.VIEW}
    _, unlimited = ada.keys.verify(ada.keys.create("ada", "own", who="ada")[0])
    assert unlimited.permissions_within(user) == user.permissions


def test_where_from_and_until_when(ada: Store) -> None:
    text, key = ada.keys.create("ada", "office", who="ada", networks=["10.1.0.0/16", "2001:db8::/32"])
    for good in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::5"):
        assert ada.keys.verify(text, address=good)
    for bad in ("10.2.0.1", "", "testclient"):
        with pytest.raises(Denied):
            ada.keys.verify(text, address=bad)
    with ada.database.write() as connection:
        connection.execute(tables.api_keys.update().values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    with pytest.raises(Denied):
        ada.keys.verify(text, address="10.1.2.3")
    assert key.expires_at is None


def test_revoked_unknown_and_orphaned_keys_are_refused_in_the_same_words(ada: Store) -> None:
    text, key = ada.keys.create("ada", "x", who="ada")
    other, _ = ada.keys.create("ada", "y", who="ada")
    ada.keys.revoke(key.prefix, who="ada")
    words = set()
    for bad in (text, "axm_", "axm_x_y", f"axm_{key.prefix}_wrong", "axm"):
        with pytest.raises(Denied) as caught:
            ada.keys.verify(bad)
        words.add(str(caught.value))
    ada.people.change("ada", who="admin", active=False)
    with pytest.raises(Denied) as caught:
        ada.keys.verify(other)
    assert words == {str(caught.value)}


def test_one_revokes_ones_own(ada: Store) -> None:
    ada.people.create("ben", role="User", who="t")
    _, key = ada.keys.create("ada", "x", who="ada")
    with pytest.raises(Missing):
        ada.keys.revoke(key.prefix, who="ben", only_of="ben")
    with pytest.raises(Missing):
        ada.keys.revoke("nothing", who="ada")
    ada.keys.revoke(key.prefix, who="ada", only_of="ada")
    assert ada.keys.list()[0].revoked_at is not None


def test_what_does_not_hold_is_refused_at_its_field(ada: Store) -> None:
    with pytest.raises(Invalid) as caught:
        ada.keys.create("ada", "x", who="ada", permissions=["fly"], networks=["10.1.0.1/16"],
                        expires_at=datetime.now(UTC))  # fmt: skip
    assert [p.loc for p in caught.value.problems] == [("permissions", 0), ("networks", 0), ("expires_at",)]
