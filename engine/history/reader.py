"""Reading history: SQL over the views, in an in-memory DuckDB over the Parquet files.

Each query has a connection and views of its own, over the files that count at that moment. The database can read files
of the history folder and nothing else, its settings are locked, and `lockdown` has seen the SQL; so a person's query may
be run as it is. Writers are never locked: they only ever add files, and a file that goes away while it is being read
(compaction, retention) makes the query start again on what is there now.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import Invalid, Retry
from engine.history.columns import DUCKDB_TYPES, VIEWS
from engine.history.files import Sealed, sealed
from engine.history.lockdown import TOO_MUCH, check_sql, sql_problem, took_too_long

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

__all__ = ["Reader", "is_truncated"]

_log = logging.getLogger(__name__)

Params = Sequence[Any] | Mapping[str, Any] | None

_ATTEMPTS = 5
_BATCH_ROWS = 2048
_MOST_BYTES = 256 << 20
"""What an answer may hold. Arrow's memory is not the database's: its limit does not know of it."""
_VANISHED = ("No such file", "Cannot open file", "No files found")
_DAMAGED = ("too small to be a Parquet file", "No magic bytes found", "magic bytes", "Could not read enough bytes",
            "TProtocolException", "Invalid Parquet")  # fmt: skip
_SHOW = {"hide(x)": "x", "hide_change(morph, tag, vr, carries, x)": "x", "hide_reasons(x)": "x"}
_HIDDEN = "CASE WHEN x IS NULL OR x = '' THEN x ELSE '***' END"
_MASK = {
    "hide(x)": _HIDDEN,
    # `engine.dicom.identity.may_identify`; what these morphs did leads back from a pseudonym to the patient, and what carries
    # came out of another tag (rows of before do not say whether they carry)
    "hide_change(morph, tag, vr, carries, x)": "CASE WHEN regexp_full_match(tag, '[0-9A-Fa-f]{3}[02468ACEace][0-9A-Fa-f]{4}') "
    "AND tag NOT LIKE '0010%' AND tag <> '00080050' AND coalesce(vr, '') <> 'PN' "
    "AND NOT coalesce(carries, morph IN ('copy', 'move'), false) "
    "AND coalesce(morph, '') NOT IN ('crosswalk', 'deidentify', 'remap_uid', 'shift_dates') "
    f"THEN x ELSE {_HIDDEN} END",
    "hide_reasons(x)": "list_transform(x, lambda r: split_part(r, ':', 1))",  # what follows the colon is the value seen
}


class Reader:
    """Answers SQL over the history's views (`views.sql`): instances, decisions, changes, deliveries, queries, audit."""

    def __init__(self, history_dir: Path, *, memory: str = "1GB", threads: int = 2) -> None:
        self._dir = history_dir.resolve()
        self._memory = memory
        self._threads = threads
        self._lock = threading.Lock()
        self._databases: dict[int, duckdb.DuckDBPyConnection] = {}
        """By process: a forked child cannot use its parent's (whose threads it has not), and must not close it."""

    def query(
        self,
        sql: str,
        params: Params = None,
        *,
        limit: int | None = 10_000,
        timeout_s: float = 30.0,
        mask: bool = False,
    ) -> pa.Table:
        """The answer as an Arrow table of at most `limit` rows; `is_truncated(table)` says whether there were more.

        `params` are bound: a list for `?` or `$1`, a mapping for `$name`. `mask` hides what identifies a patient.
        Raises Invalid (beside `sql`) for SQL that is wrong, not allowed or too slow; Retry when the files do not hold
        still.
        """
        deadline = time.monotonic() + timeout_s
        damaged: frozenset[Path] = frozenset()
        for attempt in range(_ATTEMPTS):
            if attempt and time.monotonic() > deadline:
                break
            try:
                return self._once(sql, params, limit, deadline, timeout_s, mask, damaged)
            except _FilesChangedError as error:
                if error.damaged:
                    damaged = _find_damaged(self._dir)
        raise Retry("The history changed too often while it was being read; ask again.")

    def rows(
        self,
        sql: str,
        params: Params = None,
        *,
        limit: int | None = 10_000,
        timeout_s: float = 30.0,
        mask: bool = False,
    ) -> list[dict[str, Any]]:
        """`query` as plain Python values; times are aware datetimes in UTC."""
        rows: list[dict[str, Any]] = self.query(sql, params, limit=limit, timeout_s=timeout_s, mask=mask).to_pylist()
        return rows

    def _once(
        self,
        sql: str,
        params: Params,
        limit: int | None,
        deadline: float,
        timeout_s: float,
        mask: bool,
        damaged: frozenset[Path],
    ) -> pa.Table:
        import duckdb

        connection = self._connect()
        try:
            self._make_views(connection, check_sql(connection, sql), mask, damaged)
            with _interrupted_at(connection, deadline):
                return _fetch(connection, sql, params, limit)
        except (duckdb.Error, OSError) as error:
            words = str(error)
            if "Interrupted" in words:
                raise took_too_long(timeout_s) from error
            if any(sign in words for sign in _DAMAGED):
                raise _FilesChangedError(damaged=True) from error
            if isinstance(error, duckdb.IOException | OSError) and any(sign in words for sign in _VANISHED):
                raise _FilesChangedError(damaged=False) from error
            raise self._explained(words) from error
        finally:
            connection.close()

    def _explained(self, words: str) -> Invalid:
        for sign in ("Parser Error: ", "Binder Error: ", "Catalog Error: ", "Invalid Input Error: "):
            words = words.removeprefix(sign)
        if "Out of Memory" in words or "maximum total string size" in words:  # 2 GB of text in one part of an answer
            words = TOO_MUCH
        return sql_problem(words.replace(str(self._dir), "history"))

    def _connect(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            database = self._databases.get(os.getpid())
            if database is None:
                database = self._databases[os.getpid()] = self._locked_database()
            return database.cursor()

    def _locked_database(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        database = duckdb.connect(
            ":memory:",
            config={
                "threads": self._threads,
                "memory_limit": self._memory,
                "temp_directory": "",
                "autoinstall_known_extensions": False,
                "python_enable_replacements": False,
            },
        )
        database.execute("SET GLOBAL TimeZone = 'UTC'")
        here = f"{self._dir}/"  # as it is and as a pattern: both forms of a path are looked at
        database.execute(f"SET allowed_directories = [{_literal(here)}, {_literal(_no_glob(here))}]")
        database.execute("SET enable_external_access = false")
        database.execute("SET lock_configuration = true")
        return database

    def _make_views(
        self, connection: duckdb.DuckDBPyConnection, used: set[str], mask: bool, damaged: frozenset[Path]
    ) -> None:
        """All views, so that they can be described; those not used without their files, whose footers cost time."""
        for macro, body in (_MASK if mask else _SHOW).items():
            connection.execute(f"CREATE TEMP MACRO {macro} AS {body}")
        nothing = Sealed([], [])
        sources = {view: _source(view, sealed(self._dir, view, damaged) if view in used else nothing) for view in VIEWS}
        connection.execute(_views_sql().format_map(sources))


def is_truncated(table: pa.Table) -> bool:
    """Whether an answer of `Reader.query` was cut at its limit."""
    return (table.schema.metadata or {}).get(b"truncated") == b"true"


class _FilesChangedError(Exception):
    def __init__(self, *, damaged: bool) -> None:
        self.damaged = damaged


@functools.cache
def _views_sql() -> str:
    return Path(__file__).with_name("views.sql").read_text()


def _source(view: str, files: Sealed) -> str:
    """Every row of these files, each once, as a relation in SQL. Replayed rows cost only where there are some."""
    columns = ", ".join(f'NULL::{DUCKDB_TYPES[kind]} AS "{name}"' for name, kind in VIEWS[view].items())
    empty = f"SELECT {columns}, NULL::DATE AS day WHERE false"
    rows, replayed = files
    parts = [empty]
    if rows:
        parts.append(_read(rows))
    if replayed:
        once = f"SELECT DISTINCT ON (id) * FROM ({_read(replayed)})"  # noqa: S608  (made of our own file names)
        if rows:
            told = f"SELECT id FROM ({_read(rows)}) WHERE id IN (SELECT id FROM ({_read(replayed)}))"  # noqa: S608
            once = f"SELECT * FROM ({once}) WHERE id NOT IN ({told})"  # noqa: S608
        parts.append(once)
    return "(" + " UNION ALL BY NAME ".join(f"({part})" for part in parts) + ")"


def _read(files: list[Path]) -> str:
    paths = ", ".join(_literal(_no_glob(str(file))) for file in files)
    options = "union_by_name = true, hive_partitioning = true, hive_types = {'day': DATE}"
    return f"SELECT * FROM read_parquet([{paths}], {options})"  # noqa: S608  (the paths are quoted)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _no_glob(path: str) -> str:
    return path.translate({ord(c): f"[{c}]" for c in "[*?"})


def _find_damaged(history_dir: Path) -> frozenset[Path]:
    """Parquet files that cannot be opened: left out, so that one bad file does not hide all the others."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = set()
    for view in VIEWS:
        listed = sealed(history_dir, view)
        for file in listed.rows + listed.replayed:
            try:
                pq.read_metadata(file)
            except FileNotFoundError:
                continue
            except (pa.ArrowException, OSError) as error:
                _log.error("history: %s is damaged and is left out: %s", file, error)
                found.add(file)
    return frozenset(found)


@contextlib.contextmanager
def _interrupted_at(connection: duckdb.DuckDBPyConnection, deadline: float) -> Iterator[None]:
    """Interrupt what the connection does when the time is over (again and again: one may come between two steps)."""
    done = threading.Event()

    def watch() -> None:
        wait = max(0.0, deadline - time.monotonic())
        while not done.wait(wait):
            connection.interrupt()
            wait = 0.05

    watcher = threading.Thread(target=watch, name="history-timeout", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _fetch(connection: duckdb.DuckDBPyConnection, sql: str, params: Params, limit: int | None) -> pa.Table:
    """Stream the answer and stop behind the limit: what is not shown is not computed where that can be helped."""
    import pyarrow as pa

    values: Any = dict(params) if isinstance(params, Mapping) else list(params or []) or None
    size = _BATCH_ROWS if limit is None else max(1, min(limit + 1, _BATCH_ROWS))
    reader = connection.sql(sql, params=values).to_arrow_reader(size)
    try:
        batches, count, size = [], 0, 0
        for batch in reader:
            batches.append(batch)
            count += batch.num_rows
            size += batch.nbytes
            if size > _MOST_BYTES:
                raise sql_problem(f"The answer is larger than {_MOST_BYTES >> 20} MB: ask for fewer rows or columns.")
            if limit is not None and count > limit:
                break
        table = pa.Table.from_batches(batches, reader.schema)
    finally:
        reader.close()
    if limit is not None and count > limit:
        table = table.slice(0, limit).replace_schema_metadata({b"truncated": b"true"})
    return table
