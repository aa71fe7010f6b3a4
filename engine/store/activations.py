"""Revisions that become live at a time: noted here, done by the engines' loop, once, whichever node is first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from engine.configuration import load_configuration
from engine.errors import Invalid, Missing, Problem
from engine.store import revisions, tables
from engine.store.audit import append
from engine.store.database import Database

__all__ = ["Activation", "Activations"]

LATEST = datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Activation:
    """One plan: this revision's configuration shall be live from `at` on."""

    id: int
    revision: int
    at: datetime
    who: str
    reason: str
    ended_at: datetime | None
    """None: it is to come."""
    outcome: str

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id, "revision": self.revision, "at": self.at.isoformat(), "who": self.who, "reason": self.reason,
            "ended_at": self.ended_at.isoformat() if self.ended_at else None, "outcome": self.outcome,
        }  # fmt: skip


class Activations:
    """The plans. What became of each stays on the list."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def plan(self, revision: int, at: datetime, *, who: str, reason: str = "", address: str = "") -> Activation:
        """Raises Missing when there is no such revision, Invalid for a moment that is not to come."""
        if at.tzinfo is None or not datetime.now(UTC) < at < LATEST:
            raise Invalid([Problem(("at",), "This must be a moment to come, with its time zone.")])
        t = tables.activations
        with self._database.write() as connection:
            if revision == 0:
                raise Missing("Revision 0 is the empty start; it cannot be planned.")
            revisions.load(connection, revision)
            number = (connection.execute(select(func.max(t.c.id))).scalar_one() or 0) + 1
            connection.execute(
                t.insert().values(
                    id=number, revision=revision, at=at, who=who[:128], reason=reason, created_at=datetime.now(UTC),
                    outcome="",
                )
            )
            append(
                connection, who=who, action="plan", family="configuration", name=str(number), revision=revision,
                detail={"at": at.isoformat(), "reason": reason}, address=address,
            )  # fmt: skip
            return _need(connection, number)

    def list(self, limit: int = 100) -> list[Activation]:
        """The newest plans first."""
        t = tables.activations
        with self._database.read() as connection:
            return [_activation(r) for r in connection.execute(select(t).order_by(t.c.id.desc()).limit(limit))]

    def cancel(self, number: int, *, who: str, address: str = "") -> None:
        """It will not be done; one that has ended stays as it is. Raises Missing."""
        with self._database.write() as connection:
            if _need(connection, number).ended_at is None:
                _end(connection, number, f"Cancelled by {who}.")
                append(
                    connection, who=who, action="cancel", family="configuration", name=str(number), address=address
                )

    def do_due(self) -> int:
        """Make live what is due; how many plans ended. Cheap while nothing is due; several nodes may ask at the same time.

        A revision that does not hold any more (a kind is gone) ends its plan with the reason, and changes nothing.
        """
        t = tables.activations
        due = select(t.c.id).where(t.c.ended_at.is_(None), t.c.at <= datetime.now(UTC)).order_by(t.c.at, t.c.id)
        with self._database.read() as connection:
            numbers = list(connection.execute(due).scalars())
        return sum(map(self._do, numbers))

    def _do(self, number: int) -> bool:
        with self._database.write() as connection:
            plan = _need(connection, number)
            if plan.ended_at is not None:  # another node was quicker, or it was cancelled meanwhile
                return False
            try:
                document = load_configuration(revisions.load(connection, plan.revision).document).document()
            except Invalid as e:
                _end(connection, number, f"It does not hold any more: {e}")
                return True
            made = revisions.save(
                connection, document, author=plan.who, reason=plan.reason or f"revision {plan.revision}, as planned",
                label="", expected=None, address="", action="activate",
            )  # fmt: skip
            _end(connection, number, f"Live as revision {made}.")
        return True


def _end(connection: Connection, number: int, outcome: str) -> None:
    t = tables.activations
    values = {"ended_at": datetime.now(UTC), "outcome": outcome[:500]}
    connection.execute(t.update().where(t.c.id == number).values(**values))


def _need(connection: Connection, number: int) -> Activation:
    row = connection.execute(select(tables.activations).where(tables.activations.c.id == number)).one_or_none()
    if row is None:
        raise Missing(f"There is no plan {number}.")
    return _activation(row)


def _activation(r: Row[*tuple[Any, ...]]) -> Activation:
    return Activation(r.id, r.revision, r.at, r.who, r.reason, r.ended_at, r.outcome)
