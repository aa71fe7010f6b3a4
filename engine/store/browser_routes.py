"""What people chose in the data browser to be fetched and routed: which studies, for whom, and how far each is.

The choice and the wish to fetch it are written in one transaction; the pollers fetch it (`Polls`), so it survives whatever
is restarted. Nothing that tells the patient is kept here.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, desc, insert, select, update

from engine.errors import Invalid, Missing, Problem
from engine.sources._query import Match
from engine.store.database import Database
from engine.store.polls import see
from engine.store.tables import browser_routes, polled, pollers

__all__ = ["BrowserRoutes"]

KEPT = 500
"""Older ones are forgotten; what they fetched is in the history."""
_STATES = ("waiting", "fetching", "retrying", "fetched", "failed", "gone")


class BrowserRoutes:
    """The table `browser_routes`. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def ask(self, source: str, matches: Sequence[Match], who: str) -> str:
        """Have these fetched now and sent through the rules, also those that were before. Returns the route's id.

        Raises Invalid when none of them has UIDs that a peer can be asked for.
        """
        now, route = datetime.now(UTC), secrets.token_hex(8)
        with self.database.write() as connection:
            seen = see(connection, source, matches, now, timedelta(0), "", now + timedelta(seconds=1))
            items = [list(uids) for uids in dict.fromkeys(m.uids for m in matches) if _hurry(connection, source, uids, now)]
            if not items:
                raise Invalid([Problem(("items",), f"None of the {seen.found} chosen has UIDs that can be asked for.")])
            connection.execute(update(pollers).where(pollers.c.source == source).values(not_before=None))
            connection.execute(
                insert(browser_routes).values(id=route, source=source, created_at=now, created_by=who[:128], items=items)
            )
            kept = select(browser_routes.c.id).order_by(desc(browser_routes.c.created_at)).limit(KEPT)
            connection.execute(delete(browser_routes).where(browser_routes.c.id.not_in(kept.scalar_subquery())))
        return route

    def listing(self, limit: int) -> list[dict[str, Any]]:
        """The latest, newest first, with their counts and without their items."""
        with self.database.read() as connection:
            rows = connection.execute(select(browser_routes).order_by(desc(browser_routes.c.created_at)).limit(limit))
            told = [_told(connection, row) for row in rows.all()]
        return [{key: value for key, value in one.items() if key != "items"} for one in told]

    def one(self, route: str) -> dict[str, Any]:
        """`{id, source, at, who, state, total, fetched, failed, received, items: [...]}`. Raises Missing."""
        with self.database.read() as connection:
            row = connection.execute(select(browser_routes).where(browser_routes.c.id == route)).one_or_none()
            if row is None:
                raise Missing(f"There is no route {route}; only the latest {KEPT} are kept.")
            return _told(connection, row)


def _hurry(connection: Connection, source: str, uids: tuple[str, str, str], now: datetime) -> bool:
    """What waits already, or was given up, is tried now."""
    done = connection.execute(
        update(polled).where(_is(source, uids)).values(state="waiting", next_at=now, attempts=0, words="")
    )
    return bool(done.rowcount)


def _is(source: str, uids: Sequence[str]) -> Any:
    study, series, instance = uids
    return and_(
        polled.c.source == source, polled.c.study == study, polled.c.series == series, polled.c.instance == instance
    )


def _told(connection: Connection, row: Row[Any]) -> dict[str, Any]:
    activity = connection.execute(select(pollers.c.activity).where(pollers.c.source == row.source)).scalar_one_or_none()
    fetching = {one["study_instance_uid"]: one for one in (activity or {}).get("fetching", [])}
    studies = {item[0] for item in row.items}
    known: dict[tuple[str, str, str], Row[Any]] = {}
    for chunk in (sorted(studies)[at : at + 400] for at in range(0, len(studies), 400)):
        query = select(polled).where(polled.c.source == row.source, polled.c.study.in_(chunk))
        known |= {(r.study, r.series, r.instance): r for r in connection.execute(query)}
    items = [_item(row, uids, known.get(tuple(uids)), fetching.get(uids[0], {})) for uids in row.items]
    counts = {state: sum(one["state"] == state for one in items) for state in _STATES}
    open_ = counts["waiting"] + counts["fetching"] + counts["retrying"]
    return {
        "id": row.id, "source": row.source, "at": row.created_at.isoformat(), "who": row.created_by,
        "state": "running" if open_ else "done" if counts["fetched"] == len(items) else "failed",
        "total": len(items), "fetched": counts["fetched"], "failed": counts["failed"] + counts["gone"],
        "received": sum(one["received"] for one in items), "items": items,
    }  # fmt: skip


def _item(route: Row[Any], uids: Sequence[str], row: Row[Any] | None, fetching: Mapping[str, Any]) -> dict[str, Any]:
    state, words = "gone", "The back-fill that it belonged to was cancelled: choose it again."
    received, expected = 0, None
    if row is not None:
        words, expected = row.words, row.instances
        if row.fetched_at is not None and row.fetched_at >= route.created_at:
            state, words, received = "fetched", "", row.received
        elif row.state == "failed":
            state = "failed"
        elif fetching:
            state, received, expected = "fetching", fetching["received"], fetching["expected"] or expected
        else:
            state = "retrying" if words else "waiting"
    return {
        "study_instance_uid": uids[0], "series_instance_uid": uids[1], "sop_instance_uid": uids[2], "state": state,
        "received": received, "expected": expected, "words": words,
    }  # fmt: skip
