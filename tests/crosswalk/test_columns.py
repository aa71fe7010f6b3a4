"""Tables as hospitals have them, on the real servers: columns of other types and character sets than ours, names with quotes."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from engine.crosswalk.base import CrosswalkSource
from engine.crosswalk.lookup import answers_of
from tests.crosswalk.tables import make_source

HEART, ZHE = "🫀", "Ж"


def _url(kind: str, request: pytest.FixtureRequest) -> sa.URL:
    return sa.make_url(request.getfixturevalue("postgres_url" if kind == "postgresql" else "mariadb_url"))


@contextmanager
def _table(url: sa.URL, kind: str, name: str, *statements: str) -> Iterator[CrosswalkSource]:
    """A source whose table those statements make; `"` in them quotes names on each server."""
    quote = '"' if kind == "postgresql" else "`"
    drop = f"DROP TABLE IF EXISTS {quote}{name}{quote}"
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            for statement in (drop, *statements):
                connection.exec_driver_sql(statement.replace('"', quote))
        yield make_source({
            "name": "x", "kind": kind, "host": url.host, "port": url.port, "database": url.database, "user": url.username,
            "table": name,
        })  # fmt: skip
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(drop)
        engine.dispose()


def _found(source: CrosswalkSource, replace: str, *values: str) -> list[Any]:
    keys = [(v,) for v in values]
    answers = answers_of(source.find(("k",), (replace,), keys), keys)
    return [None if (found := answers[k].values) is None else found[0] for k in keys]


@pytest.mark.parametrize("of", ["latin1", "latin1 COLLATE latin1_german2_ci", "ascii", "utf8mb3", "ucs2", "utf8mb4"])
def test_a_value_that_the_columns_character_set_does_not_hold_is_a_miss(of: str, request: pytest.FixtureRequest) -> None:
    accents = [] if of == "ascii" else ["INSERT INTO t VALUES ('é', 'A2')"]
    with _table(
        _url("mysql", request), "mysql", "t", f"CREATE TABLE t (k varchar(64) CHARACTER SET {of}, v varchar(9), KEY (k))",
        "INSERT INTO t VALUES ('P1', 'A1'), ('?', 'A3')", *accents,
    ) as source:  # fmt: skip
        assert _found(source, "v", "P1", HEART, ZHE, "p1", "é") == ["A1", None, None, None, "A2" if accents else None]
        assert _found(source, "v", HEART, "?") == [None, "A3"]
        pairs = [("P1", "A1"), (HEART, "A1"), ("P1", ZHE)]
        assert [a.values for a in answers_of(source.find(("k", "v"), ("v",), pairs), pairs).values()] == [("A1",), None, None]


def test_a_value_that_the_databases_encoding_does_not_hold_is_a_miss(request: pytest.FixtureRequest) -> None:
    url = _url("postgresql", request)
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    for name, encoding in (("in_win1252", "WIN1252"), ("in_koi8r", "KOI8R")):
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
            connection.exec_driver_sql(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
        letter, other = (ZHE, "é") if encoding == "KOI8R" else ("é", ZHE)
        try:
            made = "CREATE TABLE t (k text, v text)", f"INSERT INTO t VALUES ('P1', 'A1'), ('{letter}', 'A2')"
            with _table(url.set(database=name), "postgresql", "t", *made) as source:
                assert _found(source, "v", "P1", HEART, other, letter) == ["A1", None, None, "A2"]
        finally:
            with engine.connect() as connection:
                connection.exec_driver_sql(f"DROP DATABASE {name}")
    engine.dispose()


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_whole_numbers_up_to_the_largest(kind: str, request: pytest.FixtureRequest) -> None:
    numbers = [0, 10**18, 2**63 - 1, *([-(2**63), -1] if kind == "postgresql" else [2**64 - 1])]
    columns = f"k bigint{'' if kind == 'postgresql' else ' unsigned'}, v text"
    rows = ", ".join(f"({n}, 'A{n}')" for n in numbers)
    with _table(_url(kind, request), kind, "t", f"CREATE TABLE t ({columns})", f"INSERT INTO t VALUES {rows}") as source:
        assert _found(source, "v", *map(str, numbers)) == [f"A{n}" for n in numbers]
        assert _found(source, "v", "0", str(2**64), "9" * 20, "00", "1.0", "+1", "-0", "٣") == ["A0"] + [None] * 7


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_times_and_dates_are_written_as_dicom_writes_them(kind: str, request: pytest.FixtureRequest) -> None:
    with _table(
        _url(kind, request), kind, "t", "CREATE TABLE t (k varchar(9), t time(3), d date, dt timestamp, n numeric(9, 3))",
        "INSERT INTO t VALUES ('a', '03:04:05.125', '2026-01-02', '2026-01-02 03:04:05', 1.5), ('b', '00:00:00', NULL, NULL, 0)",
    ) as source:  # fmt: skip
        assert _found(source, "t", "a", "b") == ["030405", "000000"]
        assert [_found(source, c, "a")[0] for c in ("d", "dt", "n")] == ["20260102", "20260102030405", "1.500"]


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_thousand_long_keys_are_not_too_much_for_a_server(kind: str, request: pytest.FixtureRequest) -> None:
    keys = [f"{n}{chr(39) * 10_000}" for n in range(1000)]  # each quote doubled: more than a packet of MariaDB may hold
    with _table(_url(kind, request), kind, "t", "CREATE TABLE t (k text, v text)", "INSERT INTO t VALUES ('P1', 'A1')") as source:
        assert _found(source, "v", *keys, "P1", "") == [None] * 1000 + ["A1", None]


ODD = ["a'b", 'a"b', "a\\b", "100%%", "%s", "é", unicodedata.normalize("NFD", "é"), "blank", "blank ", "Case", "CASE", "straße",
       "STRASSE", "İ", "i", "tab\t", "", "ﬁ", "x" * 10_000, "X" * 10_000, HEART, "🫁", "a\u200b", "ａ", "a"]  # fmt: skip


@pytest.mark.parametrize(("kind", "collation"), [("postgresql", "und-x-icu"), ("mysql", "utf8mb4_unicode_520_ci")])
def test_equal_is_equal_to_the_last_byte(kind: str, collation: str, request: pytest.FixtureRequest) -> None:
    url, name, value = _url(kind, request), 'select "from`%s:x', "group %s'"
    engine, metadata = sa.create_engine(url), sa.MetaData()
    table = sa.Table(name, metadata, sa.Column("k", sa.Text(collation=collation)), sa.Column(value, sa.Text), quote=True)
    metadata.drop_all(engine)
    metadata.create_all(engine)
    try:
        with engine.begin() as connection:
            connection.execute(table.insert(), [{"k": k, value: f"A{n}"} for n, k in enumerate(ODD)])
        source = make_source({
            "name": "x", "kind": kind, "host": url.host, "port": url.port, "database": url.database, "user": url.username,
            "table": name,
        })  # fmt: skip
        assert _found(source, value, *ODD) == [f"A{n}" for n in range(len(ODD))]
        assert _found(source, value, "case", "É", "fi", "blank  ", "A", "ss") == [None] * 6
        assert sorted(source.rows(("k",), (value,))) == sorted(((k,), (f"A{n}",)) for n, k in enumerate(ODD))
    finally:
        metadata.drop_all(engine)
        engine.dispose()
