"""Roles: named sets of permissions. Admin, User and Sender are always there and stay as they are; admins make others."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from engine.errors import Conflict, InUse, Invalid, Missing, Problem
from engine.security.roles import ROLES, Permission, permissions_of
from engine.store import tables
from engine.store.audit import append
from engine.store.database import Database

__all__ = ["Role", "Roles", "need_role"]

NAME = re.compile(r"[A-Za-z]([A-Za-z0-9 _.-]{0,62}[A-Za-z0-9])?")
SEEDED = {
    "Admin": "Everything.",
    "User": "Sees the configuration and what flows, retries and searches; patients are masked.",
    "Sender": "Sends images in over the API, and nothing else: for machines.",
}


@dataclass(frozen=True, slots=True)
class Role:
    """One role, with how many people have it."""

    name: str
    description: str
    permissions: tuple[str, ...]
    seeded: bool
    """Part of every installation: it cannot be changed or deleted."""
    users: int

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name, "description": self.description, "permissions": list(self.permissions),
            "seeded": self.seeded, "users": self.users,
        }  # fmt: skip


class Roles:
    """All roles. `refuse_no_admin` is asked inside the transaction of each change."""

    def __init__(self, database: Database, refuse_no_admin: Callable[[Connection], None]) -> None:
        self._database = database
        self._refuse_no_admin = refuse_no_admin

    def list(self) -> list[Role]:
        """The seeded ones first."""
        with self._database.read() as connection:
            made = connection.execute(select(tables.roles).order_by(tables.roles.c.name))
            return [_seeded(connection, name) for name in SEEDED] + [_role(connection, r) for r in made]

    def get(self, name: str) -> Role:
        """Raises Missing."""
        with self._database.read() as connection:
            return _get(connection, name)

    def create(
        self, name: str, permissions: Sequence[str], *, who: str, description: str = "", address: str = ""
    ) -> Role:
        """Raises Invalid for a name or permission that will not do, Conflict when the name is taken."""
        name = name.strip()
        _refuse_bad(permissions, name)
        held = sorted(set(permissions))
        with self._database.write() as connection:
            if any(name.lower() == known.lower() for known in _names(connection)):
                raise Conflict(f"There is already a role called {name}.")
            connection.execute(
                tables.roles.insert().values(
                    name=name, description=description, permissions=held, created_at=datetime.now(UTC)
                )
            )
            append(
                connection, who=who, action="create", family="roles", name=name, detail={"permissions": held},
                address=address,
            )
            return _get(connection, name)

    def change(
        self, name: str, *, who: str, permissions: Sequence[str] | None = None, description: str | None = None,
        address: str = "",
    ) -> Role:
        """It holds from the next request of everybody who has the role. Raises Missing, Invalid, Conflict."""
        values: dict[str, Any] = {} if description is None else {"description": description}
        if permissions is not None:
            _refuse_bad(permissions)
            values["permissions"] = sorted(set(permissions))
        with self._database.write() as connection:
            before = _changeable(connection, name)
            if values:
                t = tables.roles
                connection.execute(t.update().where(t.c.name == before.name).values(**values))
            if Permission.ADMINISTER.value in before.permissions:
                self._refuse_no_admin(connection)
            append(connection, who=who, action="change", family="roles", name=name, detail=values, address=address)
            return _get(connection, name)

    def delete(self, name: str, *, who: str, address: str = "") -> None:
        """Raises Missing, InUse while somebody has it, Conflict for a seeded one."""
        with self._database.write() as connection:
            role = _changeable(connection, name)
            users = _users(connection, role.name)
            if users:
                raise InUse(f"The role {name} is held by {', '.join(users)}.", tuple(f"users/{u}" for u in users))
            connection.execute(tables.roles.delete().where(tables.roles.c.name == role.name))
            append(connection, who=who, action="delete", family="roles", name=name, address=address)


def need_role(connection: Connection, name: str) -> None:
    """Raises Invalid, at `role`, when there is none of that name."""
    known = _names(connection)
    if name not in known:
        raise Invalid([Problem(("role",), f"There is no role called {name}; there are {', '.join(known)}.")])


def _names(connection: Connection) -> list[str]:
    return [*ROLES, *connection.execute(select(tables.roles.c.name).order_by(tables.roles.c.name)).scalars()]


def _users(connection: Connection, role: str) -> list[str]:
    t = tables.users
    return list(connection.execute(select(t.c.username).where(t.c.role == role).order_by(t.c.username)).scalars())


def _get(connection: Connection, name: str) -> Role:
    if name in ROLES:
        return _seeded(connection, name)
    row = connection.execute(select(tables.roles).where(tables.roles.c.name == name)).one_or_none()
    if row is None:
        raise Missing(f"There is no role called {name}.")
    return _role(connection, row)


def _changeable(connection: Connection, name: str) -> Role:
    role = _get(connection, name)
    if role.seeded:
        raise Conflict(f"The role {name} is part of every installation and stays as it is: make another role.")
    return role


def _seeded(connection: Connection, name: str) -> Role:
    held = tuple(sorted(p.value for p in ROLES[name]))
    return Role(name, SEEDED[name], held, seeded=True, users=len(_users(connection, name)))


def _role(connection: Connection, r: Row[*tuple[Any, ...]]) -> Role:
    held = tuple(sorted(p.value for p in permissions_of(r.name, r.permissions)))
    return Role(r.name, r.description, held, seeded=False, users=len(_users(connection, r.name)))


def _refuse_bad(permissions: Sequence[str], name: str = "x") -> None:
    problems = []
    if not NAME.fullmatch(name):
        words = "A role's name begins with a letter, has letters, digits, blanks and _ . -, 64 at most."
        problems.append(Problem(("name",), words))
    known = [p.value for p in Permission]
    for i, permission in enumerate(permissions):
        if permission not in known:
            words = f"There is no permission called {permission}; there are {', '.join(known)}."
            problems.append(Problem(("permissions", i), words))
    if problems:
        raise Invalid(problems)
