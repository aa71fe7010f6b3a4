"""The connection to the configuration store: SQLite or PostgreSQL, the same promises on both.

Writers stand in line (SQLite: `BEGIN IMMEDIATE`; PostgreSQL: one advisory lock), so that "read, decide, write" in one
transaction is never a race. Readers never wait for them (WAL; MVCC).
"""

from __future__ import annotations

import json
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DataError, DBAPIError, InterfaceError, OperationalError

from engine.errors import AxiomError, Invalid, Problem, Retry

__all__ = ["Database"]

BUSY_SECONDS = 15.0
WRITE_LOCK = 0x41584D  # "AXM": the key of the advisory lock that writers hold


class Database:
    """One SQLAlchemy engine with its transactions. Safe to share between threads, and to inherit over a fork."""

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError as e:
            raise AxiomError("AXIOM_DATABASE_URL is not a database URL such as postgresql://user@host/axiom.") from e
        self.dialect = parsed.get_backend_name()
        self.place = parsed.render_as_string(hide_password=True)
        """Where the store is, fit to be shown."""
        match self.dialect:
            case "sqlite":
                _make_file(parsed.database)
                arguments = {"timeout": BUSY_SECONDS, "isolation_level": None, "check_same_thread": False}
                self.engine = create_engine(parsed, connect_args=arguments, json_serializer=_json)
                event.listen(self.engine, "connect", _sqlite_connect)
                event.listen(self.engine, "begin", _sqlite_begin)
            case "postgresql" | "postgres":
                psycopg = parsed.set(drivername="postgresql+psycopg")
                self.engine = create_engine(
                    psycopg, pool_pre_ping=True, connect_args={"connect_timeout": 10}, json_serializer=_json
                )
            case other:
                raise AxiomError(f"AXIOM_DATABASE_URL names {other}; the store works on SQLite and PostgreSQL.")
        _forget_after_fork(self.engine)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state and changes nothing. Raises Retry when the store cannot be reached,
        Invalid for a text that no database takes.
        """
        with self._transaction(write=False) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that no other writer overlaps: all or nothing. Raises Retry as `read` does."""
        with self._transaction(write=True) as connection:
            yield connection

    @contextmanager
    def _transaction(self, *, write: bool) -> Iterator[Connection]:
        try:
            with self.engine.connect().execution_options(axiom_write=write) as connection, connection.begin():
                if write and self.dialect != "sqlite":
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")
                yield connection
        except (DataError, UnicodeEncodeError) as e:
            words = "This text cannot be stored: it holds a NUL or half a character, or is too long."
            raise Invalid([Problem((), words)]) from e
        except (OperationalError, InterfaceError) as e:
            raise Retry(f"The configuration store at {self.place} cannot be used: {_reason(e)}.") from e
        except DatabaseError as e:
            if self.dialect != "sqlite" or type(e) is not DatabaseError:  # its subclasses speak of a statement, not of the file
                raise
            hint = "Put a backup of it in its place, or move it away to begin with an empty configuration."
            raise AxiomError(f"The configuration store at {self.place} is damaged: {_reason(e)}. {hint}") from e

    def close(self) -> None:
        self.engine.dispose()


def _json(value: Any) -> str:
    """As UTF-8, not as escapes: half a character, which no answer could be made of later, is refused here."""
    return json.dumps(value, ensure_ascii=False)


def _reason(error: DBAPIError) -> str:
    """The driver's first line, without SQL and its values."""
    return (str(error.orig).strip().splitlines() or ["no reason given"])[0].rstrip(".")


def _make_file(name: str | None) -> None:
    if not name or name == ":memory:":
        raise AxiomError("The store needs a SQLite file: in memory, its processes would not see the same one.")
    path = Path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)  # password hashes are in it; the WAL takes over its mode
    except OSError as e:
        raise AxiomError(f"The database file {path} cannot be made: {e.strerror}.") from e


def _sqlite_connect(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = FULL")
    give_up = time.monotonic() + BUSY_SECONDS
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:  # going over to WAL does not wait for others by itself; it is done once in a file's life
            cursor.execute("PRAGMA journal_mode = WAL")
        except connection.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.02)
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("axiom_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _forget_after_fork(engine: Engine) -> None:
    """A forked worker makes its own connections: two processes on one connection would mix up their answers."""
    held = weakref.ref(engine)

    def forget() -> None:
        if (inherited := held()) is not None:
            inherited.dispose(close=False)

    os.register_at_fork(after_in_child=forget)
