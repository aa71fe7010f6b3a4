"""Who did or saw what, when and from where: append-only, each row sealed by the hash of the one before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, desc, select

from engine.store import tables
from engine.store.database import Database

__all__ = ["Audit", "AuditRow", "append"]

FIRST = "0" * 64
PAGE = 1000


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One line of the audit."""

    id: int
    at: datetime
    who: str
    action: str
    """A verb: `sign-in`, `sign-in-refused`, `save`, `delete`, `retry-held`, `query-patients`, ..."""
    family: str
    name: str
    detail: Mapping[str, Any]
    revision: int | None
    address: str

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id, "at": self.at.isoformat(), "who": self.who, "action": self.action, "family": self.family,
            "name": self.name, "detail": dict(self.detail), "revision": self.revision, "address": self.address,
        }


def _seal(row: AuditRow, previous: str) -> str:
    text = json.dumps(row.as_json(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()


def append(
    connection: Connection,
    *,
    who: str,
    action: str,
    family: str = "",
    name: str = "",
    detail: Mapping[str, Any] | None = None,
    revision: int | None = None,
    address: str = "",
) -> AuditRow:
    """Add a line inside the writing transaction of what it tells: both or none. Needs `Database.write`."""
    t = tables.audit
    last = connection.execute(select(t.c.id, t.c.digest).order_by(desc(t.c.id)).limit(1)).one_or_none()
    row = AuditRow(
        id=last.id + 1 if last else 1,
        at=datetime.now(UTC),
        who=who[:128],
        action=action,
        family=family,
        name=name[:256],
        detail=json.loads(json.dumps(dict(detail or {}), default=str)),
        revision=revision,
        address=address[:64],
    )
    previous = last.digest if last else FIRST
    connection.execute(
        t.insert().values(
            id=row.id, at=row.at, who=row.who, action=row.action, family=row.family, name=row.name,
            detail=dict(row.detail), revision=row.revision, address=row.address, previous=previous,
            digest=_seal(row, previous),
        )
    )
    return row


class Audit:
    """Reading and writing the audit on its own (what changes the store writes its line with the change)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(
        self,
        *,
        who: str,
        action: str,
        family: str = "",
        name: str = "",
        detail: Mapping[str, Any] | None = None,
        revision: int | None = None,
        address: str = "",
    ) -> AuditRow:
        with self._database.write() as connection:
            return append(
                connection, who=who, action=action, family=family, name=name, detail=detail, revision=revision,
                address=address,
            )

    def rows(self, limit: int = 100, *, before: int | None = None, who: str = "", action: str = "") -> list[AuditRow]:
        """The newest first; `before` pages on."""
        t = tables.audit
        query = select(t).order_by(desc(t.c.id)).limit(limit)
        if before is not None:
            query = query.where(t.c.id < before)
        if who:
            query = query.where(t.c.who == who)
        if action:
            query = query.where(t.c.action == action)
        with self._database.read() as connection:
            return [_row(r) for r in connection.execute(query)]

    def since(self, last_id: int, limit: int = PAGE) -> list[AuditRow]:
        """What came after a line, the oldest first: for mirroring into the history."""
        t = tables.audit
        query = select(t).where(t.c.id > last_id).order_by(t.c.id).limit(limit)
        with self._database.read() as connection:
            return [_row(r) for r in connection.execute(query)]

    def verify(self) -> str | None:
        """Walk the chain. None when it is whole, else a sentence about the first line that is not as it was."""
        previous, expected = FIRST, 1
        for row, was_previous, digest in self._walk():
            if row.id != expected:
                return f"Line {expected} of the audit is missing."
            if was_previous != previous or _seal(row, previous) != digest:
                return f"Line {row.id} of the audit is not as it was written."
            previous, expected = digest, row.id + 1
        return None

    def _walk(self) -> Iterator[tuple[AuditRow, str, str]]:
        t, last = tables.audit, 0
        while True:
            with self._database.read() as connection:
                page = connection.execute(select(t).where(t.c.id > last).order_by(t.c.id).limit(PAGE)).all()
            if not page:
                return
            for r in page:
                yield _row(r), r.previous, r.digest
            last = page[-1].id


def _row(r: Row[*tuple[Any, ...]]) -> AuditRow:
    return AuditRow(r.id, r.at, r.who, r.action, r.family, r.name, r.detail, r.revision, r.address)
