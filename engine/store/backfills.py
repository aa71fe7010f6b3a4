"""Back-fills: a range of days of a source, fetched day by day; where each stands survives every restart.

A day is asked for, and what it found is noted in the table of what was polled, in one transaction with the step to the next
day: so a crash asks for a day again at most, and counts nothing twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, insert, select, update

from engine.errors import Conflict, Invalid, Missing, Problem
from engine.sources._query import Match
from engine.store.database import Database
from engine.store.polls import Seen, see
from engine.store.tables import backfills, polled

__all__ = ["Backfill", "Backfills", "State"]

State = Literal["running", "paused", "cancelled", "done"]
LONGEST = timedelta(days=366 * 150)

_NEXT: dict[str, tuple[State, tuple[str, ...]]] = {
    "pause": ("paused", ("running",)),
    "resume": ("running", ("paused",)),
    "cancel": ("cancelled", ("running", "paused")),
}
"""What a person may do -> the state it makes, and the states it may be done in."""


@dataclass(frozen=True, slots=True)
class Backfill:
    """One back-fill as it stands."""

    id: str
    source: str
    first_day: date
    last_day: date
    next_day: date
    """The next day to be asked for; behind `last_day` all have been."""
    again: bool
    state: State
    found: int
    already: int
    """Found, and fetched before: not fetched again."""
    fetched: int
    failed: int
    error: str
    created_at: datetime
    created_by: str
    ended_at: datetime | None
    waiting: int = 0
    """Found, and still to be fetched; those that failed and are tried again are among them."""
    retrying: int = 0

    @property
    def asked(self) -> bool:
        """Whether every day has been asked for."""
        return self.next_day > self.last_day

    @property
    def can_go_on(self) -> bool:
        """Whether its next step may be made: what is only tried again holds up its end, but not the next day."""
        return not self.waiting if self.asked else self.waiting <= self.retrying

    @property
    def progress(self) -> float:
        """0 to 1, by days; the day that is being fetched counts by its studies."""
        days = (self.last_day - self.first_day).days + 1
        over = (self.next_day - self.first_day).days
        open_share = self.waiting / max(1, self.found - self.already) if over else 0.0
        return 1.0 if self.state == "done" else max(0.0, min(1.0, (over - open_share) / days))

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"progress": round(self.progress, 4)}


class Backfills:
    """The table of back-fills. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(
        self, source: str, first: date, last: date, *, who: str, now: datetime, again: bool = False
    ) -> Backfill:
        """Begin one. Raises Invalid for a range that is none, Conflict while the source has a running one."""
        if last < first:
            raise Invalid([Problem(("to",), f"The last day, {last}, is before the first, {first}.")])
        if last - first > LONGEST:
            raise Invalid([Problem(("from",), "The range is longer than 150 years.")])
        with self.database.write() as connection:
            running = backfills.c.source == source, backfills.c.state.in_(("running", "paused"))
            other = connection.execute(select(backfills.c.id).where(*running)).first()
            if other is not None:
                raise Conflict(f"{source} has a back-fill already ({other.id}): wait for its end, or cancel it.")
            one = secrets.token_hex(8)
            connection.execute(insert(backfills).values(
                id=one, source=source, first_day=first, last_day=last, next_day=first, again=again, state="running",
                found=0, already=0, fetched=0, failed=0, error="", created_at=now, created_by=who,
            ))  # fmt: skip
            return _load(connection, one)

    def get(self, backfill: str) -> Backfill:
        """Raises Missing."""
        with self.database.read() as connection:
            return _load(connection, backfill)

    def listing(self, source: str = "", limit: int = 100) -> list[Backfill]:
        """The newest first."""
        query = select(backfills).order_by(backfills.c.created_at.desc()).limit(limit)
        if source:
            query = query.where(backfills.c.source == source)
        with self.database.read() as connection:
            return [_with_counts(connection, row) for row in connection.execute(query).all()]

    def open(self) -> list[Backfill]:
        """Those that have work: running ones, and paused ones whose studies have to be left alone."""
        query = select(backfills).where(backfills.c.state.in_(("running", "paused")))
        with self.database.read() as connection:
            return [_with_counts(connection, row) for row in connection.execute(query).all()]

    def change(self, backfill: str, action: str, now: datetime) -> Backfill:
        """`pause`, `resume` or `cancel`. Raises Missing, Conflict when it is in no state for that."""
        state, allowed = _NEXT[action]
        with self.database.write() as connection:
            one = _load(connection, backfill)
            if one.state not in allowed:
                raise Conflict(f"The back-fill {backfill} is {one.state}: it cannot be {action}d." if action != "cancel"
                               else f"The back-fill {backfill} is {one.state} already.")  # fmt: skip
            if state == "cancelled":
                _end(connection, one, state, now)
            else:
                connection.execute(update(backfills).where(backfills.c.id == backfill).values(state=state, error=""))
            return _load(connection, backfill)

    def day_asked(self, backfill: Backfill, day: date, matches: Sequence[Match], now: datetime) -> Seen:
        """A day's matches are known: note them to be fetched, and go on to the next day. All or nothing."""
        with self.database.write() as connection:
            again = backfill.created_at if backfill.again else None
            seen = see(connection, backfill.source, matches, now, timedelta(0), backfill.id, again)
            connection.execute(
                update(backfills)
                .where(backfills.c.id == backfill.id, backfills.c.next_day == day)
                .values(
                    next_day=day + timedelta(days=1), found=backfills.c.found + seen.found,
                    already=backfills.c.already + seen.already, error="",
                )
            )  # fmt: skip
        return seen

    def finish(self, backfill: str, now: datetime) -> Backfill:
        """Every day was asked for and nothing waits any more: it is done."""
        with self.database.write() as connection:
            one = _load(connection, backfill)
            if one.state == "running" and one.asked and not one.waiting:
                _end(connection, one, "done", now)
            return _load(connection, backfill)

    def say(self, backfill: str, error: str) -> None:
        """What stands in its way just now."""
        with self.database.write() as connection:
            connection.execute(update(backfills).where(backfills.c.id == backfill).values(error=error))


def _load(connection: Connection, backfill: str) -> Backfill:
    row = connection.execute(select(backfills).where(backfills.c.id == backfill)).one_or_none()
    if row is None:
        raise Missing(f"There is no back-fill {backfill}.")
    return _with_counts(connection, row)


def _with_counts(connection: Connection, row: Row[Any]) -> Backfill:
    if row.state not in ("running", "paused"):
        return Backfill(**row._mapping)
    counted = connection.execute(
        select(polled.c.state, func.count().label("n"), func.sum(func.sign(func.length(polled.c.words))).label("troubled"))
        .where(polled.c.backfill == row.id)
        .group_by(polled.c.state)
    ).all()
    counts = {r.state: r.n for r in counted}
    retrying = sum(int(r.troubled or 0) for r in counted if r.state == "waiting")
    live = {"fetched": counts.get("fetched", 0), "failed": counts.get("failed", 0), "waiting": counts.get("waiting", 0)}
    live["retrying"] = retrying
    return Backfill(**(dict(row._mapping) | live))


def _end(connection: Connection, one: Backfill, state: State, now: datetime) -> None:
    """Keep its counts; what it had not fetched yet is let go."""
    connection.execute(
        update(backfills)
        .where(backfills.c.id == one.id)
        .values(state=state, fetched=one.fetched, failed=one.failed, ended_at=now, error="")
    )
    if state == "cancelled":
        waiting = polled.c.backfill == one.id, polled.c.state == "waiting"
        fetched_before = polled.c.fetched_instances.is_not(None)
        connection.execute(
            update(polled).where(*waiting, fetched_before).values(state="fetched", backfill="", attributes={})
        )
        connection.execute(polled.delete().where(*waiting, ~fetched_before))
