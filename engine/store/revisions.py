"""Reading and writing rows of revisions inside a transaction: `engine.store.store` decides, this asks the tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, desc, func, select

from engine.configuration import FAMILIES
from engine.errors import Conflict, Missing
from engine.store import tables
from engine.store.audit import append
from engine.store.diff import diff_documents

__all__ = ["EMPTY", "Pointer", "Revision", "digest_of", "insert", "load", "newest", "pointer", "save", "set_label", "set_live"]

EMPTY: Mapping[str, Any] = {family: [] for family in FAMILIES}
"""Revision 0: what is live before anything was saved."""


class Pointer(NamedTuple):
    """Which revision is live, and the digest of its document."""

    revision: int
    digest: str


@dataclass(frozen=True, slots=True)
class Revision:
    """One saved state of the whole configuration."""

    id: int
    created_at: datetime | None
    """None for revision 0, the empty configuration that nobody saved."""
    author: str
    reason: str
    label: str
    digest: str
    document: Mapping[str, Any] = field(repr=False)

    def as_json(self, *, document: bool = False) -> dict[str, Any]:
        out: dict[str, Any] = {
            "id": self.id, "created_at": self.created_at.isoformat() if self.created_at else None,
            "author": self.author, "reason": self.reason, "label": self.label, "digest": self.digest,
        }
        return out | {"document": self.document} if document else out


def digest_of(document: Mapping[str, Any]) -> str:
    """SHA-256 of the document's canonical JSON: equal documents, equal digests."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def pointer(connection: Connection) -> Pointer:
    r, live = tables.revisions, tables.live
    row = connection.execute(select(r.c.id, r.c.digest).join(live, live.c.revision == r.c.id)).one_or_none()
    return Pointer(row.id, row.digest) if row else Pointer(0, digest_of(EMPTY))


def load(connection: Connection, number: int) -> Revision:
    """Raises Missing when there is no such revision."""
    if number == 0:
        return Revision(0, None, "", "Nothing is configured yet.", "", digest_of(EMPTY), EMPTY)
    t = tables.revisions
    row = connection.execute(select(t).where(t.c.id == number)).one_or_none()
    if row is None:
        raise Missing(f"There is no revision {number}.")
    return Revision(row.id, row.created_at, row.author, row.reason, row.label, row.digest, row.document)


def newest(connection: Connection, limit: int, before: int | None) -> list[Revision]:
    """The newest first, without their documents."""
    t = tables.revisions
    query = select(t.c.id, t.c.created_at, t.c.author, t.c.reason, t.c.label, t.c.digest).order_by(desc(t.c.id))
    if before is not None:
        query = query.where(t.c.id < before)
    return [Revision(*row, {}) for row in connection.execute(query.limit(limit))]


def insert(
    connection: Connection, document: Mapping[str, Any], digest: str, *, author: str, reason: str, label: str
) -> int:
    """The new revision's number: one more than the last. Needs `Database.write`."""
    t = tables.revisions
    number: int = (connection.execute(select(func.max(t.c.id))).scalar_one() or 0) + 1
    connection.execute(
        t.insert().values(
            id=number, created_at=datetime.now(UTC), author=author[:128], reason=reason, label=label[:128],
            document=document, digest=digest,
        )
    )
    return number


def save(
    connection: Connection, document: Mapping[str, Any], *, author: str, reason: str, label: str, expected: int | None,
    address: str, action: str,
) -> int:
    """Make a checked document live as a new revision, with its line in the audit; an equal one makes none. Its number.

    Raises Conflict when another revision than `expected` is live. Needs `Database.write`.
    """
    digest = digest_of(document)
    live = pointer(connection)
    if live.digest == digest:
        return live.revision
    last = load(connection, live.revision)
    if expected is not None and expected != live.revision:
        raise Conflict(
            f"{last.author or 'Somebody'} saved revision {live.revision} after you read revision {expected}. "
            "Load the configuration again and repeat your change."
        )
    number = insert(connection, document, digest, author=author, reason=reason, label=label)
    set_live(connection, number)
    summary = diff_documents(last.document, document).summary()
    append(
        connection, who=author, action=action, family="configuration", revision=number, address=address,
        detail={"reason": reason, "changes": summary[:200], "count": len(summary)},
    )
    return number


def set_live(connection: Connection, number: int) -> None:
    live = tables.live
    if connection.execute(live.update().values(revision=number)).rowcount == 0:
        connection.execute(live.insert().values(id=1, revision=number))


def set_label(connection: Connection, number: int, label: str) -> None:
    t = tables.revisions
    if connection.execute(t.update().where(t.c.id == number).values(label=label[:128])).rowcount == 0:
        raise Missing(f"There is no revision {number}.")
