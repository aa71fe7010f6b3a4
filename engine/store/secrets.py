"""Secrets that people typed in: kept sealed, referred to as `stored:ID`, opened at the moment of use and for nobody else."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, cast, func, select

from engine.errors import InUse, Missing, Retry
from engine.security.sealing import Sealer
from engine.security.secret_references import use_stored
from engine.settings import Settings
from engine.store import revisions, tables
from engine.store.audit import append
from engine.store.database import Database

__all__ = ["Secrets", "StoredSecret"]


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """What may be known of one: not what it is."""

    reference: str
    created_at: datetime
    created_by: str
    places: tuple[str, ...]
    """What in the live configuration names it: "destinations/pacs"."""
    last_revision: int | None
    """The newest revision that names it: going back to it needs the secret. None: no revision ever did."""

    @property
    def used(self) -> bool:
        """Whether the live configuration names it."""
        return bool(self.places)

    def as_json(self) -> dict[str, Any]:
        return {
            "reference": self.reference, "created_at": self.created_at.isoformat(), "created_by": self.created_by,
            "used": self.used, "places": list(self.places), "last_revision": self.last_revision,
        }  # fmt: skip


class Secrets:
    """The stored secrets. This process's `stored:` references are resolved here from now on."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        use_stored(self._open)

    def put(self, value: str, *, who: str, address: str = "") -> str:
        """Keep it; the reference to it."""
        key = secrets.token_hex(16)
        sealed = Sealer(self._settings.key).seal(value, key)
        with self._database.write() as connection:
            connection.execute(
                tables.secrets.insert().values(id=key, sealed=sealed, created_at=datetime.now(UTC), created_by=who[:128])
            )
            append(connection, who=who, action="create", family="secrets", name=key, address=address)
        return f"stored:{key}"

    def list(self) -> list[StoredSecret]:
        """All of them, the oldest first. One that nothing names is not removed by itself: a form may be about to be saved."""
        t = tables.secrets
        with self._database.read() as connection:
            live = revisions.load(connection, revisions.pointer(connection).revision)
            query = select(t.c.id, t.c.created_at, t.c.created_by).order_by(t.c.created_at, t.c.id)
            found = []
            for r in connection.execute(query).all():
                places = _places(live.document, r.id)
                last = live.id if places else _last_revision(connection, r.id)
                found.append(StoredSecret(f"stored:{r.id}", r.created_at, r.created_by, places, last))
        return found

    def delete(self, key: str, *, who: str, address: str = "") -> None:
        """For good. Raises Missing; InUse while the live configuration, or a revision that is planned to become live, names it.
        (Earlier revisions that name it can be looked at, but would miss it.)"""
        t = tables.secrets
        with self._database.write() as connection:
            if connection.execute(select(t.c.id).where(t.c.id == key)).one_or_none() is None:
                raise Missing(f"There is no secret stored:{key}.")
            live = revisions.load(connection, revisions.pointer(connection).revision)
            if places := _places(live.document, key):
                raise InUse(f"The secret stored:{key} is used by {', '.join(places)}.", places)
            if plans := _plans(connection, key):
                raise InUse(f"The secret stored:{key} is used by what is planned: {', '.join(plans)}.", plans)
            connection.execute(t.delete().where(t.c.id == key))
            append(connection, who=who, action="delete", family="secrets", name=key, address=address)

    def _open(self, key: str) -> str:
        t = tables.secrets
        with self._database.read() as connection:
            sealed = connection.execute(select(t.c.sealed).where(t.c.id == key)).scalar_one_or_none()
        if sealed is None:
            raise Retry(f"The secret stored:{key} is not in this installation: type it in again.")
        return Sealer(self._settings.key).open(sealed, key)


def _quoted(key: str) -> str:
    return f'"stored:{key}"'


def _places(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The items of a configuration that name it."""
    return tuple(
        f"{family}/{item['name']}"
        for family, items in document.items()
        for item in items
        if _quoted(key) in json.dumps(item)
    )


def _names(key: str) -> ColumnElement[bool]:
    return cast(tables.revisions.c.document, Text).contains(_quoted(key), autoescape=True)


def _last_revision(connection: Connection, key: str) -> int | None:
    r = tables.revisions
    found: int | None = connection.execute(select(func.max(r.c.id)).where(_names(key))).scalar_one()
    return found


def _plans(connection: Connection, key: str) -> tuple[str, ...]:
    """The plans to come that would make a revision live that names it."""
    a, r = tables.activations, tables.revisions
    query = select(a.c.id).join(r, r.c.id == a.c.revision).where(a.c.ended_at.is_(None), _names(key)).order_by(a.c.id)
    return tuple(f"activations/{number}" for number in connection.execute(query).scalars())
