"""API keys: `axm_<prefix>_<secret>`, shown once, stored as a hash, never worth more than their owner."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from engine.errors import Denied, Invalid, Missing, Problem
from engine.security.roles import Permission
from engine.security.tokens import digest, new_secret
from engine.store import tables
from engine.store.audit import append
from engine.store.database import Database
from engine.store.people import User, need_user

__all__ = ["Key", "Keys"]

REFUSED = "The API key is not valid here and now."
NOTE_USE_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key; not the key itself."""

    prefix: str
    username: str
    name: str
    permissions: tuple[str, ...]
    """What it may at most; empty: what its owner may."""
    networks: tuple[str, ...]
    """Where it may come from (CIDR); empty: anywhere."""
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None

    def permissions_within(self, user: User) -> frozenset[Permission]:
        """What it may now: of its own permissions those that its owner (still) has."""
        return frozenset(p for p in user.permissions if not self.permissions or p.value in self.permissions)

    def as_json(self) -> dict[str, Any]:
        def moment(at: datetime | None) -> str | None:
            return at.isoformat() if at else None

        return {
            "prefix": self.prefix, "username": self.username, "name": self.name,
            "permissions": list(self.permissions), "networks": list(self.networks),
            "created_at": moment(self.created_at), "expires_at": moment(self.expires_at),
            "used_at": moment(self.used_at), "revoked_at": moment(self.revoked_at),
        }  # fmt: skip


class Keys:
    """The keys of all users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, username: str, name: str, *, who: str, permissions: Sequence[str] = (), networks: Sequence[str] = (),
        expires_at: datetime | None = None, address: str = "",
    ) -> tuple[str, Key]:
        """Make a key: its text, which is shown this once, and what is kept. Raises Invalid, Missing."""
        _refuse_bad(permissions, networks, expires_at)
        prefix, secret = secrets.token_hex(6), new_secret()
        with self._database.write() as connection:
            user = need_user(connection, username)
            connection.execute(
                tables.api_keys.insert().values(
                    prefix=prefix, digest=digest(secret), username=user.username, name=name[:128],
                    permissions=sorted(set(permissions)), networks=list(networks), created_at=datetime.now(UTC),
                    expires_at=expires_at,
                )
            )
            append(
                connection, who=who, action="create", family="keys", name=prefix, address=address,
                detail={"for": user.username, "permissions": sorted(set(permissions)), "networks": list(networks)},
            )
            return f"axm_{prefix}_{secret}", _key(_need(connection, prefix))

    def verify(self, text: str, *, address: str = "") -> tuple[User, Key]:
        """Whose key it is. Raises Denied, in the same words whatever is wrong."""
        _, prefix, secret = (*text.split("_", 2), "", "")[:3]
        now = datetime.now(UTC)
        with self._database.read() as connection:
            row = _row(connection, prefix)
            if row is None or not hmac.compare_digest(digest(secret), row.digest):
                raise Denied(REFUSED)
            key, user = _key(row), need_user(connection, row.username)
        over = key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now)
        if over or not user.active or not _from(key.networks, address):
            raise Denied(REFUSED)
        if key.used_at is None or key.used_at + NOTE_USE_EVERY < now:
            t = tables.api_keys
            with self._database.write() as connection:
                connection.execute(t.update().where(t.c.prefix == prefix).values(used_at=now))
        return user, key

    def list(self, username: str | None = None) -> list[Key]:
        """All of them, or a user's."""
        query = select(tables.api_keys).order_by(tables.api_keys.c.created_at)
        if username is not None:
            query = query.where(tables.api_keys.c.username == username)
        with self._database.read() as connection:
            return [_key(r) for r in connection.execute(query)]

    def revoke(self, prefix: str, *, who: str, only_of: str | None = None, address: str = "") -> None:
        """It is worth nothing from now on. `only_of`: a user who may revoke their own alone. Raises Missing."""
        t = tables.api_keys
        with self._database.write() as connection:
            row = _need(connection, prefix)
            if only_of is not None and row.username != only_of:
                raise Missing(f"There is no key {prefix}.")
            stands = t.c.revoked_at.is_(None)
            connection.execute(t.update().where(t.c.prefix == prefix, stands).values(revoked_at=datetime.now(UTC)))
            append(connection, who=who, action="revoke", family="keys", name=prefix, address=address)


def _row(connection: Connection, prefix: str) -> Row[*tuple[Any, ...]] | None:
    return connection.execute(select(tables.api_keys).where(tables.api_keys.c.prefix == prefix)).one_or_none()


def _need(connection: Connection, prefix: str) -> Row[*tuple[Any, ...]]:
    row = _row(connection, prefix)
    if row is None:
        raise Missing(f"There is no key {prefix}.")
    return row


def _key(r: Row[*tuple[Any, ...]]) -> Key:
    return Key(
        r.prefix, r.username, r.name, tuple(r.permissions), tuple(r.networks), r.created_at, r.expires_at, r.used_at,
        r.revoked_at,
    )


def _from(networks: Sequence[str], address: str) -> bool:
    if not networks:
        return True
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return any((mapped or ip) in ipaddress.ip_network(n) for n in networks)


def _refuse_bad(permissions: Sequence[str], networks: Sequence[str], expires_at: datetime | None) -> None:
    problems = []
    for i, permission in enumerate(permissions):
        if permission not in [p.value for p in Permission]:
            known = ", ".join(p.value for p in Permission)
            problems.append(Problem(("permissions", i), f"There is no permission called {permission}; there are {known}."))
    for i, network in enumerate(networks):
        try:
            ipaddress.ip_network(network)
        except ValueError:
            problems.append(Problem(("networks", i), "A network is given like 10.1.0.0/16 or 2001:db8::/32."))
    if expires_at is not None and (expires_at.tzinfo is None or expires_at <= datetime.now(UTC)):
        problems.append(Problem(("expires_at",), "This must be a moment to come, with its time zone."))
    if problems:
        raise Invalid(problems)
