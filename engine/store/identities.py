"""People who come from elsewhere: whose identity it is, once a token, and who waits for an admin."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, select

from engine.errors import Denied
from engine.security.google_sign_in import REFUSED, Identity, RefusedToken
from engine.store import tables
from engine.store.audit import append
from engine.store.database import Database
from engine.store.people import User, need_user

__all__ = ["Identities"]

WAITS = "Your account waits for an administrator to let you in."


class Identities:
    """Which of our people an identity of another issuer is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def sign_in(self, identity: Identity, *, address: str = "") -> User:
        """Who it is. Somebody new is noted as pending.

        Raises RefusedToken for a token that was here before, and Denied (known) for who waits or may not come in.
        """
        now = datetime.now(UTC)
        replayed = False
        with self._database.write() as connection:
            replayed = not _first_time(connection, identity, now)
            if not replayed:
                username = _known(connection, identity) or _linked(connection, identity, now)
                user = need_user(connection, username) if username else _pending(connection, identity, now, address)
                if user.active:
                    t = tables.users
                    connection.execute(t.update().where(t.c.username == user.username).values(signed_in_at=now))
                _note(connection, user, address)
        if replayed:
            raise RefusedToken("replay")
        if user.pending:
            raise Denied(WAITS, known=True)
        if not user.active:
            raise Denied(REFUSED)
        return user

    def refused(self, why: str, *, address: str = "") -> None:
        """A line in the audit for a token that was no way in."""
        with self._database.write() as connection:
            append(
                connection, who="", action="sign-in-refused", family="users", detail={"why": why, "by": "google"},
                address=address,
            )  # fmt: skip


def _note(connection: Connection, user: User, address: str) -> None:
    action = "sign-in" if user.active else "sign-in-refused"
    detail: dict[str, Any] = {"by": "google"}
    if not user.active:
        detail["why"] = "pending" if user.pending else "inactive"
    append(
        connection, who=user.username, action=action, family="users", name=user.username, detail=detail, address=address
    )


def _first_time(connection: Connection, identity: Identity, now: datetime) -> bool:
    t = tables.used_tokens
    connection.execute(t.delete().where(t.c.expires_at < now))
    if connection.execute(select(t.c.digest).where(t.c.digest == identity.digest)).one_or_none():
        return False
    connection.execute(t.insert().values(digest=identity.digest, expires_at=identity.expires_at))
    return True


def _known(connection: Connection, identity: Identity) -> str | None:
    t = tables.identities
    query = select(t.c.username).where(t.c.issuer == identity.issuer, t.c.subject == identity.subject)
    found: str | None = connection.execute(query).scalar_one_or_none()
    return found


def _linked(connection: Connection, identity: Identity, now: datetime) -> str | None:
    """The one person to whom an admin gave this e-mail address, and who has no identity of this issuer yet: from now on known
    by the subject."""
    u, i = tables.users, tables.identities
    taken = select(i.c.username).where(i.c.issuer == identity.issuer)
    query = select(u.c.username).where(func.lower(u.c.email) == identity.email, u.c.username.not_in(taken))
    found: list[str] = list(connection.execute(query.limit(2)).scalars())
    if len(found) != 1:
        return None
    _link(connection, identity, found[0], now)
    return found[0]


def _link(connection: Connection, identity: Identity, username: str, now: datetime) -> None:
    connection.execute(
        tables.identities.insert().values(
            issuer=identity.issuer, subject=identity.subject, username=username, created_at=now
        )
    )
    append(
        connection, who=username, action="link", family="users", name=username, detail={"by": "google"},
    )  # fmt: skip


def _pending(connection: Connection, identity: Identity, now: datetime, address: str) -> User:
    username = _free_name(connection, identity.email)
    connection.execute(
        tables.users.insert().values(
            username=username, name=identity.name or username, email=identity.email, role="User", password="",
            must_change_password=False, active=False, pending=True, failed_attempts=0, generation=0, created_at=now,
        )
    )
    append(
        connection, who=username, action="create", family="users", name=username,
        detail={"role": "User", "pending": True, "by": "google"}, address=address,
    )  # fmt: skip
    _link(connection, identity, username, now)
    return need_user(connection, username)


def _free_name(connection: Connection, email: str) -> str:
    """The e-mail address as a user name, with a number behind it where somebody is called so already."""
    plain = re.sub(r"[^a-z0-9._@+-]", "-", email.lower()).strip("._@+-")[:58].strip("._@+-") or "somebody"
    t = tables.users
    number, name = 1, plain
    while connection.execute(select(t.c.username).where(t.c.username == name)).one_or_none():
        number += 1
        name = f"{plain}-{number}"
    return name
