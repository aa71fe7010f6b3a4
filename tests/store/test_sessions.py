from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from engine.errors import Denied
from engine.store import Store, tables
from engine.store.sessions import GRACE, Opened

GOOD = "correct horse battery"


@pytest.fixture
def opened(store: Store) -> Opened:
    store.people.create("ada", role="User", who="t", password=GOOD, must_change=False)
    return store.people.sessions.open("ada", 0, address="10.0.0.9")


def _age_use(store: Store) -> None:
    """As if every refresh had been longer ago than the moment in which two requests may refresh together."""
    with store.database.write() as connection:
        t = tables.refresh_tokens
        long_ago = datetime.now(UTC) - GRACE - timedelta(seconds=1)
        connection.execute(t.update().where(t.c.used_at.is_not(None)).values(used_at=long_ago))


def test_a_refresh_token_is_changed_for_the_next(store: Store, opened: Opened) -> None:
    second = store.people.sessions.refresh(opened.refresh_token)
    assert second.session == opened.session
    assert second.refresh_token != opened.refresh_token
    third = store.people.sessions.refresh(second.refresh_token)
    assert store.people.signed_in(third.session, "ada", 0).username == "ada"


def test_a_token_that_comes_again_ends_its_session(store: Store, opened: Opened) -> None:
    second = store.people.sessions.refresh(opened.refresh_token)
    _age_use(store)
    for token in (opened.refresh_token, second.refresh_token):
        with pytest.raises(Denied):
            store.people.sessions.refresh(token)
    with pytest.raises(Denied):
        store.people.signed_in(opened.session, "ada", 0)
    assert [r.name for r in store.audit.rows(action="refresh-token-reused")] == ["ada"]


def test_two_requests_of_one_client_may_refresh_at_the_same_moment(store: Store, opened: Opened) -> None:
    first = store.people.sessions.refresh(opened.refresh_token)
    second = store.people.sessions.refresh(opened.refresh_token)
    for one in (first, second):
        assert store.people.sessions.refresh(one.refresh_token).session == opened.session


def test_tokens_are_kept_as_hashes_alone(store: Store, opened: Opened) -> None:
    with store.database.read() as connection:
        rows = repr(connection.execute(tables.refresh_tokens.select()).all())
    assert opened.refresh_token not in rows
    assert opened.refresh_token.removeprefix("axr_") not in rows


@pytest.mark.parametrize("column", ["token", "session"])
def test_what_is_too_old_is_over(store: Store, opened: Opened, column: str) -> None:
    table = tables.refresh_tokens if column == "token" else tables.sessions
    with store.database.write() as connection:
        connection.execute(table.update().values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    with pytest.raises(Denied):
        store.people.sessions.refresh(opened.refresh_token)


@pytest.mark.parametrize("token", ["", "axr_", "axr_" + "x" * 43, "ä" * 1000])
def test_unknown_tokens_are_refused(store: Store, opened: Opened, token: str) -> None:
    with pytest.raises(Denied):
        store.people.sessions.refresh(token)


def test_signing_out_ends_this_session_alone(store: Store, opened: Opened) -> None:
    other = store.people.sessions.open("ada", 0)
    store.people.sessions.close(opened.session, "ada")
    with pytest.raises(Denied):
        store.people.sessions.refresh(opened.refresh_token)
    with pytest.raises(Denied):
        store.people.signed_in(opened.session, "ada", 0)
    assert store.people.sessions.refresh(other.refresh_token)


def test_what_ends_every_session(store: Store, opened: Opened) -> None:
    store.people.create("root", role="Admin", who="t")
    for i, end in enumerate(
        (
            lambda: store.people.sign_out_everywhere("ada", who="ada"),
            lambda: store.people.set_password("ada", "another good one", who="ada"),
            lambda: store.people.change("ada", who="admin", role="Admin"),
            lambda: store.people.change("ada", who="admin", active=False),
        )
    ):
        now = store.people.sessions.open("ada", i)
        assert store.people.signed_in(now.session, "ada", i)
        end()
        with pytest.raises(Denied):
            store.people.signed_in(now.session, "ada", i)
        with pytest.raises(Denied):
            store.people.sessions.refresh(now.refresh_token)


def test_old_sessions_are_thrown_away_by_the_way(store: Store, opened: Opened) -> None:
    with store.database.write() as connection:
        connection.execute(tables.sessions.update().values(expires_at=datetime.now(UTC) - timedelta(days=1)))
    store.people.sessions.open("ada", 0)
    with store.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(tables.sessions)).scalar_one() == 1
        assert connection.execute(select(func.count()).select_from(tables.refresh_tokens)).scalar_one() == 1
