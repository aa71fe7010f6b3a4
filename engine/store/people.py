"""People: who they are, their passwords, and whether they may sign in now."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from engine.errors import Conflict, Denied, Invalid, Missing, Problem
from engine.security.passwords import hash_password, new_password, refuse_weak, verify_password
from engine.security.roles import Permission, permissions_of
from engine.store import tables
from engine.store.audit import append
from engine.store.database import Database
from engine.store.roles import need_role
from engine.store.sessions import Sessions, alive

__all__ = ["People", "User", "need_user", "refuse_no_admin"]

LOCK_AFTER = 10
LOCK_FOR = timedelta(minutes=15)
USERNAME = re.compile(r"[a-z0-9]([a-z0-9._@+-]{0,62}[a-z0-9])?")
REFUSED = "The name or the password is not right, or you may not sign in now."


@dataclass(frozen=True, slots=True)
class User:
    """One person. The password's hash stays in the table."""

    username: str
    name: str
    email: str
    role: str
    must_change_password: bool
    active: bool
    locked_until: datetime | None
    generation: int
    created_at: datetime
    signed_in_at: datetime | None
    pending: bool
    """Came by Google, and waits until an admin lets them in."""
    permissions: frozenset[Permission]
    """What their role allows now."""

    def as_json(self) -> dict[str, Any]:
        return {
            "username": self.username, "name": self.name, "email": self.email, "role": self.role,
            "must_change_password": self.must_change_password, "active": self.active,
            "locked_until": self.locked_until.isoformat() if self.locked_until else None,
            "created_at": self.created_at.isoformat(),
            "signed_in_at": self.signed_in_at.isoformat() if self.signed_in_at else None, "pending": self.pending,
        }


class People:
    """The users of the installation. Names are lower case: `Ada` and `ada` are one person."""

    def __init__(self, database: Database, idle: timedelta = timedelta(hours=12)) -> None:
        self._database = database
        self.sessions = Sessions(database, idle)

    def list(self) -> list[User]:
        with self._database.read() as connection:
            return [_user(r) for r in connection.execute(_people().order_by(tables.users.c.username))]

    def get(self, username: str) -> User:
        """Raises Missing."""
        with self._database.read() as connection:
            return _user(_need(connection, username))

    def find(self, username: str) -> User | None:
        with self._database.read() as connection:
            row = _row(connection, username)
            return _user(row) if row else None

    def signed_in(self, session: str, username: str, generation: int) -> User:
        """Whose access token it is. Raises Denied when the session is over, or the person may not sign in any more."""
        with self._database.read() as connection:
            row = _row(connection, username)
            if row is None or not row.active or row.generation != generation or not alive(connection, session, username):
                raise Denied("The session is over: sign in again.")
            return _user(row)

    def create(
        self, username: str, *, role: str, who: str, password: str | None = None, name: str = "", email: str = "",
        address: str = "", must_change: bool = True,
    ) -> str | None:
        """Add a person. Without a password a one-time one is made and returned: it is not kept, and must be changed.

        Raises Invalid for a name, role or password that will not do, Conflict when the name is taken.
        """
        username = username.strip().lower()
        _refuse_bad(username)
        one_time = new_password() if password is None else None
        if password is not None:
            refuse_weak(password, username=username)
        hashed = hash_password(password if password is not None else str(one_time))
        with self._database.write() as connection:
            need_role(connection, role)
            if _row(connection, username):
                raise Conflict(f"There is already a user called {username}.")
            connection.execute(
                tables.users.insert().values(
                    username=username, name=name or username, email=email, role=role, password=hashed,
                    must_change_password=must_change or one_time is not None, active=True, failed_attempts=0,
                    generation=0, created_at=datetime.now(UTC),
                )
            )
            append(
                connection, who=who, action="create", family="users", name=username, detail={"role": role},
                address=address,
            )
        return one_time

    def create_admin(
        self, password: str | None = None, *, username: str = "admin", who: str = "axiom up"
    ) -> str | None:
        """The first admin of an empty installation; returns the one-time password. None: there are people already."""
        if self.list():
            return None
        try:
            return self.create(username, role="Admin", who=who, password=password, name="Administrator") or password
        except Conflict:  # another process was quicker
            return None

    def inject_admin(self, username: str = "admin", *, who: str, password: str | None = None) -> str:
        """Make (or bring back) an admin from the box itself: unlocked, active, every session ended.

        Returns the password to sign in with once; it must be changed then.
        """
        username = username.strip().lower()
        if self.find(username) is None:
            return self.create(username, role="Admin", who=who, password=password) or str(password)
        chosen = password if password is not None else new_password()
        self.set_password(username, chosen, who=who, must_change=True)
        self.change(username, who=who, role="Admin", active=True)
        return chosen

    def verify(self, username: str, password: str, *, address: str = "") -> User:
        """Who signs in with name and password. Raises Denied, in the same words and time whatever is wrong.

        Ten wrong passwords lock the person out for a quarter of an hour. Each attempt stands in the audit.
        """
        username = username.strip().lower()
        now = datetime.now(UTC)
        with self._database.read() as connection:
            row = _row(connection, username)
        right = verify_password(password, row.password if row else None)  # slow, so outside of any transaction
        locked = row is not None and row.locked_until is not None and row.locked_until > now
        with self._database.write() as connection:
            if row is not None and right and row.active and not locked:
                values: dict[str, Any] = {"failed_attempts": 0, "locked_until": None, "signed_in_at": now}
                connection.execute(_update(username).values(**values))
                append(connection, who=username, action="sign-in", family="users", name=username, address=address)
                return _user(_need(connection, username))
            why = "unknown" if row is None else "locked" if locked else "inactive" if not row.active else "password"
            if row is not None and not locked and not right:
                failed = _need(connection, username).failed_attempts + 1
                until = now + LOCK_FOR if failed >= LOCK_AFTER else None
                connection.execute(
                    _update(username).values(failed_attempts=0 if until else failed, locked_until=until)
                )
                why = "password, locked now" if until else why
            append(
                connection, who=username if row is not None else "", action="sign-in-refused", family="users",
                name=username if row is not None else "", detail={"why": why}, address=address,
            )
        raise Denied(REFUSED)

    def set_password(
        self, username: str, password: str, *, who: str, must_change: bool = False, old: str | None = None,
        address: str = "",
    ) -> None:
        """Set a password; every session ends. `old` is checked when given. Raises Invalid (at `old_password` or
        `new_password`), Missing."""
        user = self.get(username)
        if old is not None:
            with self._database.read() as connection:
                known = _need(connection, user.username).password
            if not verify_password(old, known):
                raise Invalid([Problem(("old_password",), "This is not your password now.")])
        refuse_weak(password, username=user.username, old=old)
        hashed = hash_password(password)
        with self._database.write() as connection:
            connection.execute(
                _update(user.username).values(
                    password=hashed, must_change_password=must_change, failed_attempts=0, locked_until=None,
                    generation=tables.users.c.generation + 1,
                )
            )
            append(connection, who=who, action="password", family="users", name=user.username, address=address)

    def reset_password(self, username: str, *, who: str, address: str = "") -> str:
        """A new one-time password for a person, who must change it then; their sessions end. Raises Missing."""
        chosen = new_password()
        self.set_password(username, chosen, who=who, must_change=True, address=address)
        return chosen

    def change(
        self, username: str, *, who: str, role: str | None = None, active: bool | None = None, name: str | None = None,
        email: str | None = None, unlock: bool = False, address: str = "",
    ) -> User:
        """Change what is known of a person. A change of role or activity ends their sessions. Raises Missing, Invalid,
        Conflict when no active admin would be left."""
        given = {"role": role, "active": active, "name": name, "email": email}
        values: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        if unlock:
            values |= {"failed_attempts": 0, "locked_until": None}
        with self._database.write() as connection:
            if role is not None:
                need_role(connection, role)
            before = _user(_need(connection, username))
            ends = (role not in (None, before.role)) or (active not in (None, before.active))
            if ends:
                values["generation"] = before.generation + 1
            if active:
                values["pending"] = False
            if values:
                connection.execute(_update(before.username).values(**values))
            if before.active and Permission.ADMINISTER in before.permissions:
                refuse_no_admin(connection)
            detail = {k: v for k, v in values.items() if k in ("role", "active", "name", "email")} | {"unlock": unlock}
            append(
                connection, who=who, action="change", family="users", name=before.username, detail=detail,
                address=address,
            )
            return _user(_need(connection, username))

    def sign_out_everywhere(self, username: str, *, who: str, address: str = "") -> None:
        """Every token of the person is worth nothing from now on. Raises Missing."""
        with self._database.write() as connection:
            user = _user(_need(connection, username))
            connection.execute(_update(user.username).values(generation=user.generation + 1))
            append(
                connection, who=who, action="sign-out-everywhere", family="users", name=user.username, address=address
            )


def _update(username: str) -> Any:
    return tables.users.update().where(tables.users.c.username == username)


def need_user(connection: Connection, username: str) -> User:
    """Raises Missing."""
    return _user(_need(connection, username))


def _people() -> Select[Any]:
    u, r = tables.users, tables.roles
    return select(u, r.c.permissions.label("made")).outerjoin(r, r.c.name == u.c.role)


def _row(connection: Connection, username: str) -> Row[*tuple[Any, ...]] | None:
    return connection.execute(_people().where(tables.users.c.username == username.strip().lower())).one_or_none()


def _need(connection: Connection, username: str) -> Row[*tuple[Any, ...]]:
    row = _row(connection, username)
    if row is None:
        raise Missing(f"There is no user called {username}.")
    return row


def _user(row: Row[*tuple[Any, ...]]) -> User:
    return User(
        row.username, row.name, row.email, row.role, row.must_change_password, row.active, row.locked_until,
        row.generation, row.created_at, row.signed_in_at, row.pending, permissions_of(row.role, row.made),
    )


def _refuse_bad(username: str) -> None:
    if not USERNAME.fullmatch(username):
        raise Invalid([Problem(("username",), "A user's name has letters, digits and . _ @ + -, 64 at most.")])


def refuse_no_admin(connection: Connection) -> None:
    """Raises Conflict when nobody who is active may administer: what led to it must not be saved."""
    active = connection.execute(_people().where(tables.users.c.active.is_(True)))
    if not any(Permission.ADMINISTER in _user(row).permissions for row in active):
        raise Conflict("Nobody could administer any more: make another user an admin first.")
