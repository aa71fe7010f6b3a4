"""Sessions: each sign-in is one, kept alive by refresh tokens that are used once, ended by signing out."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, select

from engine.errors import Denied
from engine.security.tokens import digest, new_secret
from engine.store import tables
from engine.store.audit import append
from engine.store.database import Database

__all__ = ["Opened", "Sessions", "alive"]

IDLE = timedelta(hours=12)
LONGEST = timedelta(days=7)
GRACE = timedelta(seconds=10)  # two requests of one client may refresh with the same token at the same moment
OVER = "The session is over: sign in again."


class Opened(NamedTuple):
    """A session and the refresh token that keeps it alive; the token is known to its holder alone."""

    session: str
    username: str
    refresh_token: str


class Sessions:
    """Who is signed in. A refresh token that comes a second time was stolen or copied: it ends its session."""

    def __init__(self, database: Database, idle: timedelta = IDLE) -> None:
        self._database = database
        self.idle = idle
        """Nothing asked for so long: the session is over."""

    def open(self, username: str, generation: int, *, address: str = "") -> Opened:
        """Begin a session. What is long over is thrown away by the way."""
        now = datetime.now(UTC)
        session = secrets.token_hex(16)
        with self._database.write() as connection:
            connection.execute(tables.sessions.delete().where(tables.sessions.c.expires_at < now))
            connection.execute(
                tables.sessions.insert().values(
                    id=session, username=username, generation=generation, created_at=now, expires_at=now + LONGEST,
                    address=address[:64],
                )
            )
            return Opened(session, username, _issue(connection, session, now + self.idle))

    def refresh(self, token: str, *, address: str = "") -> Opened:
        """Change a refresh token for the next one. Raises Denied when it is unknown, used, revoked or too old."""
        now = datetime.now(UTC)
        stolen = False
        with self._database.write() as connection:
            row = _by_token(connection, token)
            if row is None or row.revoked_at is not None or row.generation != row.current or not row.active:
                raise Denied(OVER)
            if row.expires_at < now or row.ends_at < now:
                raise Denied(OVER)
            stolen = row.used_at is not None and row.used_at + GRACE < now
            if stolen:
                _end(connection, row.session, now)
                append(
                    connection, who=row.username, action="refresh-token-reused", family="users", name=row.username,
                    address=address,
                )
            else:
                t = tables.refresh_tokens
                connection.execute(
                    t.update().where(t.c.digest == digest(token), t.c.used_at.is_(None)).values(used_at=now)
                )
                return Opened(row.session, row.username, _issue(connection, row.session, min(now + self.idle, row.ends_at)))
        raise Denied(OVER)

    def close(self, session: str, username: str, *, address: str = "") -> None:
        """Sign out: the session's tokens are worth nothing from now on."""
        with self._database.write() as connection:
            _end(connection, session, datetime.now(UTC))
            append(connection, who=username, action="sign-out", family="users", name=username, address=address)


def alive(connection: Connection, session: str, username: str) -> bool:
    """Whether an access token's session still stands."""
    t = tables.sessions
    row = connection.execute(select(t).where(t.c.id == session, t.c.username == username)).one_or_none()
    return row is not None and row.revoked_at is None and row.expires_at > datetime.now(UTC)


def _issue(connection: Connection, session: str, expires_at: datetime) -> str:
    token = f"axr_{new_secret()}"
    connection.execute(
        tables.refresh_tokens.insert().values(digest=digest(token), session=session, expires_at=expires_at)
    )
    return token


def _end(connection: Connection, session: str, at: datetime) -> None:
    t = tables.sessions
    connection.execute(t.update().where(t.c.id == session, t.c.revoked_at.is_(None)).values(revoked_at=at))


def _by_token(connection: Connection, token: str) -> Row[*tuple[Any, ...]] | None:
    r, s, u = tables.refresh_tokens, tables.sessions, tables.users
    query = (
        select(
            r.c.session, r.c.expires_at, r.c.used_at, s.c.username, s.c.generation, s.c.revoked_at,
            s.c.expires_at.label("ends_at"), u.c.generation.label("current"), u.c.active,
        )
        .join(s, s.c.id == r.c.session)
        .join(u, u.c.username == s.c.username)
        .where(r.c.digest == digest(token))
    )
    return connection.execute(query).one_or_none()
