"""A table in each kind of source that the lookups are tested on, with the questions that reach it counted."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from engine.component import kinds
from engine.crosswalk.base import CrosswalkSource
from tests.crosswalk.tds import TdsServer

__all__ = ["KINDS", "ROWS", "Table", "make_source", "table"]

KINDS = ("postgresql", "mysql", "sql_server", "csv")
ROWS = [
    ("P1", "1", "A1", "Nobody^One"), ("P2", "2", "A2", "Nobody^Two"), ("P3", "3", "A3", "Müller^Дмитрий"),
    ("O'Brien", "4", "A4", "x"), ("p1", "5", "A5", "small"), ("", "6", "A6", "empty"), ("TWICE", "7", "A7", "a"),
    ("TWICE", "7", "A8", "b"), ("NULL", "8", None, "no pseudonym"), ("100%", "9", "A9", "%s"), ("back\\slash", "10", "A10", "y"),
]  # fmt: skip
COLUMNS = ("mrn", "number", "pseudonym", "the alias%")


@dataclass
class Table:
    """One table, as a source's configuration says it, and how to change it."""

    kind: str
    config: dict[str, Any]
    insert: Callable[[Sequence[tuple[str | None, ...]]], None]
    counted: Callable[[], int] = field(default=lambda: 0)
    """How many lookups (SELECT of this table's replacing columns) have reached it."""

    def source(self, **changes: Any) -> CrosswalkSource:
        return make_source(self.config | changes)


def make_source(config: dict[str, Any]) -> CrosswalkSource:
    model = kinds("crosswalk_source")[config["kind"]]
    made = model.model_validate(config)
    assert isinstance(made, CrosswalkSource)
    return made


@contextmanager
def table(kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Table]:
    """The table of ROWS in a source of that kind."""
    if kind == "csv":
        yield _csv(tmp_path, monkeypatch)
    elif kind == "sql_server":
        with TdsServer() as server:
            server.run('CREATE TABLE dbo.patients (mrn nvarchar, number int, pseudonym nvarchar, "the alias%" nvarchar)')
            server.describe("dbo", "patients", dict(zip(COLUMNS, ("nvarchar", "int", "nvarchar", "nvarchar"), strict=True)))

            def insert(rows: Sequence[tuple[str | None, ...]]) -> None:
                server.many("INSERT INTO dbo.patients VALUES (?, ?, ?, ?)", rows)

            insert(ROWS)
            config = {
                "name": "mrn", "kind": "sql_server", "host": "127.0.0.1", "port": server.port, "database": "research",
                "user": "reader", "password": "env:CROSSWALK_SECRET", "table": "patients",
            }  # fmt: skip
            monkeypatch.setenv("CROSSWALK_SECRET", server.password)
            yield Table(kind, config, insert, lambda: sum("FROM [dbo].[patients]" in q for q in server.asked))
    else:
        with _server(kind, request) as made:
            yield made


def _csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    path = tmp_path / "patients.csv"
    kept: list[tuple[str | None, ...]] = []

    def insert(rows: Sequence[tuple[str | None, ...]]) -> None:
        kept.extend(r for r in rows if None not in r)  # a file knows no NULL
        with path.open("w", encoding="utf-8", newline="") as out:
            csv.writer(out).writerows([COLUMNS, *kept])

    insert(ROWS)
    from engine.crosswalk.csv_file import CsvFile

    count = [0]
    real = CsvFile.find

    def find(self: CsvFile, *args: Any) -> Any:
        count[0] += 1
        return real(self, *args)

    monkeypatch.setattr(CsvFile, "find", find)
    return Table("csv", {"name": "mrn", "kind": "csv", "path": str(path)}, insert, lambda: count[0])


@contextmanager
def _server(kind: str, request: pytest.FixtureRequest) -> Iterator[Table]:
    url = sa.make_url(request.getfixturevalue("postgres_url" if kind == "postgresql" else "mariadb_url"))
    engine = sa.create_engine(url)
    metadata = sa.MetaData()
    size = sa.String(64, collation="utf8mb4_general_ci" if kind == "mysql" else None)
    columns = [sa.Column(c, sa.Integer if c == "number" else size) for c in COLUMNS]
    patients = sa.Table("patients", metadata, *columns)
    metadata.drop_all(engine)
    metadata.create_all(engine)

    def insert(rows: Sequence[tuple[str | None, ...]]) -> None:
        with engine.begin() as connection:
            values = [dict(zip(COLUMNS, r, strict=True)) for r in rows]
            connection.execute(patients.insert(), [v | {"number": int(v["number"] or 0)} for v in values])

    insert(ROWS)
    count = _counter(kind, engine)
    config = {
        "name": "mrn", "kind": kind, "host": url.host, "port": url.port, "database": url.database, "user": url.username,
        "table": "patients",
    }  # fmt: skip
    try:
        yield Table(kind, config, insert, count)
    finally:
        metadata.drop_all(engine)
        engine.dispose()


def _counter(kind: str, engine: sa.Engine) -> Callable[[], int]:
    """The server's own count of the SELECTs that looked something up."""
    if kind == "mysql":
        with engine.begin() as connection:
            connection.execute(sa.text("SET GLOBAL log_output = 'TABLE'"))
            connection.execute(sa.text("SET GLOBAL general_log = 1"))
            connection.execute(sa.text("TRUNCATE mysql.general_log"))
        question = (
            "SELECT count(*) FROM mysql.general_log WHERE command_type = 'Query' "
            "AND argument LIKE 'SELECT `mrn`%' AND argument LIKE '%WHERE%'"
        )

        def logged() -> int:
            with engine.connect() as connection:
                return int(connection.execute(sa.text(question)).scalar_one())

        return logged

    with engine.begin() as connection:
        connection.execute(sa.text("ALTER DATABASE postgres SET log_statement = 'all'"))
        data = connection.execute(sa.text("SHOW data_directory")).scalar_one()
    log = Path(data).parent / "log"

    def said() -> int:
        # A backend writes this line before it looks; the figures of pg_stat_user_tables come up to a second late.
        return len(re.findall(r"LOG: +execute [^:]*: SELECT [^\n]*mrn[^\n]* WHERE ", log.read_text(errors="replace")))

    return said
