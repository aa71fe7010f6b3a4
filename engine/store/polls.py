"""What was polled: who polls a source now, what of it was seen, and what became of each study.

Nodes share it: one of them polls a source at a time (`claim`, a lease with a heartbeat), any of them may go on where it
ended. A study is marked fetched after it is in the spool, so a crash between the two fetches it again, and loses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, and_, bindparam, func, insert, select, update

from engine.dicom.dictionary import tag_of
from engine.errors import Missing
from engine.process import token_alive
from engine.sources._query import ALWAYS_WANTED, Level, Match
from engine.store.database import Database
from engine.store.tables import polled, pollers

__all__ = ["Key", "Poller", "Polls", "Seen", "Target"]

LEASE = timedelta(seconds=60)
"""A holder on another node that has not said so long that it lives is taken for dead; clocks may differ by half of it."""

_UID = re.compile(r"[0-9.]{1,64}")
_KEPT = {f"{tag_of(k):08X}" for k in ("SOPClassesInStudy", *(k for level in ALWAYS_WANTED.values() for k in level))}
"""What of a match is needed to fetch it, and to show it while it is not fetched."""
_KEYS = (polled.c.source, polled.c.study, polled.c.series, polled.c.instance)


class Key(NamedTuple):
    """What one retrieve fetches: a study, a series of it, or an instance of that ("" for what is not named)."""

    study: str
    series: str = ""
    instance: str = ""


class Seen(NamedTuple):
    """What the matches of a query were."""

    found: int
    queued: int
    """New ones, and those whose counts have changed."""
    already: int
    """Those that were fetched before, and have not changed."""
    unusable: int
    """Those without a UID that can be asked for."""


class Target(NamedTuple):
    """One that is to be fetched."""

    key: Key
    match: Match
    attempts: int
    backfill: str


@dataclass(frozen=True, slots=True)
class Poller:
    """A source's state as a poller."""

    source: str
    holder: str = ""
    beat: datetime | None = None
    next_at: datetime | None = None
    not_before: datetime | None = None
    failures: int = 0
    asked_at: datetime | None = None
    found: int = 0
    queued: int = 0
    error: str = ""
    activity: dict[str, Any] | None = None

    def held(self, now: datetime, node: str) -> bool:
        """Whether a living process holds it, as far as `node` can tell."""
        where, _, token = self.holder.partition("/")
        if not self.holder or (where == node and not token_alive(token)):
            return False
        return self.beat is not None and now - self.beat < LEASE


class Polls:
    """The tables `pollers` and `polled`. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # --- who polls

    def pollers(self) -> dict[str, Poller]:
        """The state of every source that was ever polled, by its name."""
        with self.database.read() as connection:
            return {row.source: _poller(row) for row in connection.execute(select(pollers))}

    def poller(self, source: str) -> Poller:
        with self.database.read() as connection:
            row = connection.execute(select(pollers).where(pollers.c.source == source)).one_or_none()
        return Poller(source) if row is None else _poller(row)

    def claim(self, source: str, holder: str, now: datetime) -> bool:
        """Become the one who polls; False: another one lives. `holder` is "node/process token"."""
        with self.database.write() as connection:
            row = _row_of(connection, source)
            if row.holder != holder and row.held(now, holder.partition("/")[0]):
                return False
            _set(connection, source, holder=holder, beat=now, activity={})
        return True

    def beat(self, source: str, holder: str, now: datetime, activity: dict[str, Any]) -> bool:
        """Say that the holder lives and what it does; False: another one took over, this one has to stop."""
        with self.database.write() as connection:
            if _row_of(connection, source).holder != holder:
                return False
            _set(connection, source, beat=now, activity=activity)
        return True

    def release(self, source: str, holder: str) -> None:
        with self.database.write() as connection:
            if _row_of(connection, source).holder == holder:
                _set(connection, source, holder="", activity={})

    def asked(self, source: str, seen: Seen, now: datetime, next_at: datetime | None, error: str = "") -> None:
        """A query came to its end. `next_at`: when the next one is due (None: not by itself)."""
        values = {"asked_at": now, "next_at": next_at, "found": seen.found, "queued": seen.queued, "error": error}
        with self.database.write() as connection:
            _row_of(connection, source)
            _set(connection, source, failures=0, not_before=None, **values)

    def peer_well(self, source: str) -> None:
        """The peer answered as it should: nothing waits for it any more."""
        with self.database.write() as connection:
            row = _row_of(connection, source)
            if row.failures:
                _set(connection, source, failures=0, not_before=None, error="")

    def peer_away(self, source: str, error: str, not_before: datetime) -> None:
        """The peer did not answer, or asked for a pause: nothing is asked or fetched before that time."""
        with self.database.write() as connection:
            failures = _row_of(connection, source).failures + 1
            _set(connection, source, failures=failures, error=error, not_before=not_before)

    def poll_now(self, source: str, now: datetime) -> None:
        """Have it asked at once, whatever its interval or its pause."""
        with self.database.write() as connection:
            _row_of(connection, source)
            _set(connection, source, next_at=now, not_before=None)

    # --- what was seen

    def see(
        self, source: str, matches: Sequence[Match], now: datetime, *, quiet: timedelta = timedelta(0),
        backfill: str = "", again_since: datetime | None = None,
    ) -> Seen:
        """Note the matches of a query. New and changed ones are to be fetched when they have been quiet for `quiet`.

        `backfill`: the back-fill that found them; with `again_since` it also wants what was fetched before that time.
        """
        with self.database.write() as connection:
            return see(connection, source, matches, now, quiet, backfill, again_since)

    def want(self, source: str, matches: Sequence[Match], now: datetime) -> int:
        """Have these fetched now, also those that were fetched before (a person chose them). Returns how many."""
        with self.database.write() as connection:
            return see(connection, source, matches, now, timedelta(0), "", now + timedelta(seconds=1)).queued

    def due(self, source: str, now: datetime, limit: int, *, paused: Iterable[str] = ()) -> list[Target]:
        """What is to be fetched now: what polls found before what back-fills found, the longest waiting first."""
        query = (
            select(polled)
            .where(
                polled.c.source == source, polled.c.state == "waiting", polled.c.next_at <= now,
                polled.c.backfill.not_in(list(paused)),
            )
            .order_by(polled.c.backfill != "", polled.c.next_at, polled.c.study)
            .limit(limit)
        )  # fmt: skip
        with self.database.read() as connection:
            return [_target(row) for row in connection.execute(query)]

    def next_due(self) -> dict[tuple[str, str], datetime]:
        """(source, back-fill or "") -> when the first of what waits there is due."""
        query = (
            select(polled.c.source, polled.c.backfill, func.min(polled.c.next_at).label("first"))
            .where(polled.c.state == "waiting")
            .group_by(polled.c.source, polled.c.backfill)
        )
        with self.database.read() as connection:
            return {(row.source, row.backfill): row.first for row in connection.execute(query)}

    def fetched(self, source: str, target: Target, received: int, now: datetime) -> None:
        """It is in the spool. What tells the patient is forgotten here.

        It counts as fetched with what came, where that is more than was seen: it grew before it was asked for.
        """
        count = max(target.match.instances or 0, received)
        with self.database.write() as connection:
            row = connection.execute(select(polled).where(_is(source, target.key))).one_or_none()
            if row is None:
                return
            grown = row.instances is not None and row.instances != target.match.instances and row.instances > count
            values: dict[str, Any] = {
                "fetched_instances": count, "received": received, "fetched_at": now, "attempts": 0, "words": "",
            }  # fmt: skip
            if not grown:  # seen to grow while it was fetched: then it waits for the next time
                values |= {"state": "fetched", "instances": count, "attributes": {}}
            connection.execute(update(polled).where(_is(source, target.key)).values(values))

    def not_fetched(self, source: str, target: Target, words: str, *, counts: bool, next_at: datetime | None) -> None:
        """It could not be fetched; `next_at` None: it waits for a person. `counts`: as an attempt of its own."""
        values = {
            "state": "waiting" if next_at else "failed", "words": words, "attempts": target.attempts + counts,
        } | ({"next_at": next_at} if next_at else {})  # fmt: skip
        with self.database.write() as connection:
            connection.execute(update(polled).where(_is(source, target.key)).values(values))

    def unwanted(self, source: str, target: Target, words: str) -> None:
        """No rule wants it: it is left where it is, until it changes or is asked for again."""
        with self.database.write() as connection:
            values = {"state": "unmatched", "words": words, "attributes": {}}
            connection.execute(update(polled).where(_is(source, target.key)).values(values))

    # --- for people

    def counts(self) -> dict[str, dict[str, int]]:
        """Source -> state -> how many; `retrying` are those of `waiting` that failed before."""
        retrying = func.sum(func.sign(polled.c.attempts)).label("retrying")
        query = select(polled.c.source, polled.c.state, func.count().label("n"), retrying).group_by(
            polled.c.source, polled.c.state
        )
        out: dict[str, dict[str, int]] = {}
        with self.database.read() as connection:
            for row in connection.execute(query):
                counts = out.setdefault(row.source, {"waiting": 0, "fetched": 0, "failed": 0, "retrying": 0})
                counts[row.state] = row.n
                if row.state == "waiting":
                    counts["retrying"] = int(row.retrying or 0)
        return out

    def troubled(self, source: str, limit: int = 200) -> list[dict[str, Any]]:
        """What could not be fetched: given up ones, and those that are tried again."""
        query = (
            select(polled)
            .where(polled.c.source == source, polled.c.state.in_(("waiting", "failed")), polled.c.words != "")
            .order_by(polled.c.state, polled.c.next_at)
            .limit(limit)
        )
        with self.database.read() as connection:
            return [
                {
                    "study_instance_uid": row.study, "series_instance_uid": row.series, "sop_instance_uid": row.instance,
                    "state": "failed" if row.state == "failed" else "retrying", "attempts": row.attempts,
                    "words": row.words, "next_at": row.next_at if row.state == "waiting" else None,
                    "instances": row.instances, "attributes": row.attributes,
                }
                for row in connection.execute(query)
            ]  # fmt: skip

    def retry(self, source: str, studies: Sequence[str], now: datetime) -> int:
        """Try again now what could not be fetched: of these studies, or all. Raises Missing when there is nothing."""
        where = and_(polled.c.source == source, polled.c.words != "", polled.c.state.in_(("waiting", "failed")))
        if studies:
            where = and_(where, polled.c.study.in_(list(studies)))
        with self.database.write() as connection:
            done = connection.execute(
                update(polled).where(where).values(state="waiting", attempts=0, next_at=now, words="")
            ).rowcount
        if not done:
            raise Missing(f"Nothing of {source} waits to be tried again.")
        return int(done)


def see(
    connection: Connection, source: str, matches: Sequence[Match], now: datetime, quiet: timedelta, backfill: str,
    again_since: datetime | None,
) -> Seen:
    """`Polls.see` within a transaction."""
    usable = {key: m for m in matches if (key := _key(m)) is not None}
    new, changed, already = [], [], 0
    for chunk in _chunks(list(usable), 400):
        known = _known(connection, source, chunk)
        for key in chunk:
            match, row = usable[key], known.get(key)
            kept = {tag: value for tag, value in match.attributes.items() if tag in _KEPT}
            values: dict[str, Any] = {
                "state": "waiting", "instances": match.instances, "changed_at": now, "next_at": now + quiet,
                "attempts": 0, "words": "", "backfill": backfill, "attributes": kept,
            }  # fmt: skip
            if row is None:
                named: dict[str, Any] = {"source": source, "study": key.study, "series": key.series, "instance": key.instance}
                new.append(named | values | {"fetched_instances": None, "received": 0, "first_seen": now, "fetched_at": None})
            elif _has_changed(row, match) or _wanted_again(row, again_since):
                changed.append(_bound(key) | values)
            elif row.state == "fetched":
                already += 1
            elif backfill:  # what a poll found and has not fetched yet, or has given up: the back-fill takes it over
                changed.append(_bound(key) | values)
    if new:
        connection.execute(insert(polled), new)
    if changed:
        where = and_(
            polled.c.source == source, polled.c.study == bindparam("b_study"),
            polled.c.series == bindparam("b_series"), polled.c.instance == bindparam("b_instance"),
        )  # fmt: skip
        connection.execute(update(polled).where(where), changed)
    return Seen(len(matches), len(new) + len(changed), already, len(matches) - len(usable))


def _bound(key: Key) -> dict[str, Any]:
    return {"b_study": key.study, "b_series": key.series, "b_instance": key.instance}


def _key(match: Match) -> Key | None:
    """None for UIDs that no peer can be asked for; they become parts of URLs and of queries."""
    key = Key(*match.uids)
    depth = {"study": 1, "series": 2, "instance": 3}.get(match.level, 0)
    return key if depth and all(_UID.fullmatch(uid) for uid in key[:depth]) else None


def _chunks(keys: list[Key], size: int) -> Iterable[list[Key]]:
    return (keys[i : i + size] for i in range(0, len(keys), size))


def _known(connection: Connection, source: str, keys: list[Key]) -> dict[Key, Row[Any]]:
    wanted = set(keys)
    query = select(polled).where(polled.c.source == source)
    if all(k.instance for k in keys):
        query = query.where(polled.c.instance.in_({k.instance for k in keys}))
    elif all(k.series for k in keys):
        query = query.where(polled.c.series.in_({k.series for k in keys}), polled.c.instance == "")
    query = query.where(polled.c.study.in_({k.study for k in keys}))
    rows = {Key(r.study, r.series, r.instance): r for r in connection.execute(query)}
    return {key: row for key, row in rows.items() if key in wanted}


def _has_changed(row: Row[Any], match: Match) -> bool:
    return match.instances is not None and match.instances != row.instances


def _wanted_again(row: Row[Any], since: datetime | None) -> bool:
    return since is not None and (row.fetched_at is None or row.fetched_at < since)


def _target(row: Row[Any]) -> Target:
    level: Level = "instance" if row.instance else "series" if row.series else "study"
    return Target(
        Key(row.study, row.series, row.instance), Match(level, row.attributes), row.attempts, row.backfill
    )


def _is(source: str, key: Key) -> Any:
    return and_(*(column == value for column, value in zip(_KEYS, (source, *key), strict=True)))


def _poller(row: Row[Any]) -> Poller:
    return Poller(**row._mapping)


def _row_of(connection: Connection, source: str) -> Poller:
    """The row of a source, made when it is not there yet. In a write transaction."""
    row = connection.execute(select(pollers).where(pollers.c.source == source)).one_or_none()
    if row is not None:
        return _poller(row)
    values = {"holder": "", "failures": 0, "found": 0, "queued": 0, "error": "", "activity": {}}
    connection.execute(insert(pollers).values(source=source, **values))
    return Poller(source)


def _set(connection: Connection, source: str, **values: Any) -> None:
    connection.execute(update(pollers).where(pollers.c.source == source).values(**values))
