"""What the databases have in common: identifiers checked against the catalogue and quoted, values bound, only SELECT."""

from __future__ import annotations

import datetime as dt
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, ClassVar, Literal

from pydantic import Field

from engine.component import HostName
from engine.crosswalk.base import CrosswalkSource, Key, Row, away, need_columns
from engine.errors import Hold, Retry
from engine.model import Tick
from engine.security.secret_references import SecretReference, resolve

__all__ = ["SqlSource", "as_text", "plain"]

TEXT = {"varchar", "nvarchar", "character varying", "text", "tinytext", "mediumtext", "longtext", "citext"}
PADDED = {"char", "character", "nchar", "bpchar"}
WHOLE = {"int", "integer", "bigint", "smallint", "tinyint", "mediumint"}
CHUNK = 5000
"""Keys in one question, well below what the servers bind at once; a batch holds fewer."""
QUESTION = 1 << 20
"""Bytes of keys in one question: a server takes a limited packet (MySQL 5.7: 4 MB), and quotes in it may be doubled."""
ROWS = 1000
SYNC_SECONDS = 3600.0
_INTEGER = re.compile(r"-?[1-9][0-9]{0,19}|0")


class SqlSource(CrosswalkSource):
    """A table of a database server. Nothing but SELECT is ever sent, in transactions that the server holds to be read-only
    where it can."""

    open_quote: ClassVar[str] = '"'
    close_quote: ClassVar[str] = '"'
    largest: ClassVar[int] = 2**63 - 1
    """The largest whole number that a column holds."""

    host: HostName = Field(pattern=r"^[A-Za-z0-9:._-]+$", examples=["db.example.org"])
    """The server's name or address."""
    database: str = Field(min_length=1, max_length=128, examples=["research"])
    """The database on it."""
    user: str = Field(min_length=1, max_length=128, examples=["axiom_reader"])
    """Who signs in: one that may read this table and nothing else."""
    password: SecretReference | None = Field(default=None, examples=["env:CROSSWALK_PASSWORD"])
    """Where the password is: `env:NAME` or `file:PATH`; nothing: signs in without one."""
    table: str = Field(min_length=1, max_length=128, examples=["patients"])
    """The table or view that is read."""
    tls: Literal["off", "require", "verify"] = "off"
    """`require` encrypts; `verify` also checks that the server is who it says."""
    connect_seconds: float = Field(default=5.0, ge=1, le=60)
    """How long connecting may take."""
    statement_seconds: float = Field(default=10.0, ge=1, le=600)
    """How long the answer to one lookup may take."""

    def _open(self, secret: str, seconds: float) -> Any:
        """A DB-API connection whose statements may take `seconds`."""
        raise NotImplementedError

    def _errors(self) -> tuple[type[Exception], type[Exception] | tuple[type[Exception], ...]]:
        """The driver's base error, and those of its errors that say that what was asked is wrong."""
        raise NotImplementedError

    def _namespace(self) -> str:
        """The schema as `information_schema` calls it."""
        raise NotImplementedError

    def _stream(self, connection: Any) -> Any:
        """A cursor that does not hold the whole table in memory."""
        return connection.cursor()

    def _read_only(self, connection: Any) -> Tick:
        raise NotImplementedError

    def _codec(self, connection: Any) -> str:
        """Python's name of the encoding that the database keeps text in: what it does not hold, no row is like."""
        return "utf-8"

    def _places(self, connection: Any, match: Sequence[str]) -> list[str]:
        """How a value that is bound to be compared with each of these columns is written."""
        return ["%s"] * len(match)

    @contextmanager
    def _session(self, seconds: float | None = None) -> Iterator[Any]:
        base, wrong = self._errors()
        connection = None
        try:
            secret = resolve(self.password).get_secret_value() if self.password else ""
            connection = self._open(secret, seconds or self.statement_seconds)
            yield connection
        except Hold:
            raise
        except wrong as e:
            raise Hold(f"The crosswalk source {self.name} cannot be asked so: {e}") from e
        except (base, OSError, Retry) as e:
            raise away(self, e) from e
        finally:
            if connection is not None:
                _close(connection, base)

    def _columns(self, connection: Any) -> dict[str, str]:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
            (self._namespace(), self.table),
        )
        found = {plain(name): plain(kind).lower() for name, kind in cursor.fetchall()}
        if not found:
            raise Hold(
                f"The crosswalk source {self.name} has no table {self.table} in {self._namespace()}, or its user may not read it."
            )
        return found

    def columns(self) -> dict[str, str]:
        with self._session() as connection:
            return self._columns(connection)

    def find(self, match: Sequence[str], replace: Sequence[str], keys: Sequence[Key]) -> list[Row]:
        out: list[Row] = []
        with self._session() as connection:
            types = self._columns(connection)
            need_columns(self, types, [*match, *replace])
            codec, places = self._codec(connection), self._places(connection, match)
            bound = [values for key in keys if (values := self._bound(key, match, types, codec)) is not None]
            for some in _questions(bound):
                where = self._where(match, places, len(some))
                cursor = connection.cursor()
                select = self._escaped(self._select(match, replace))
                cursor.execute(f"{select} WHERE {where}", tuple(v for values in some for v in values))
                out += [self._row(row, match, types) for row in cursor.fetchall()]
        return out

    def rows(self, match: Sequence[str], replace: Sequence[str]) -> Iterator[Row]:
        with self._session(SYNC_SECONDS) as connection:
            types = self._columns(connection)
            need_columns(self, types, [*match, *replace])
            self._check_types(match, types)
            cursor = self._stream(connection)
            cursor.execute(self._select(match, replace))
            while some := cursor.fetchmany(ROWS):
                for row in some:
                    if all(value is not None for value in row[: len(match)]):
                        yield self._row(row, match, types)

    def count(self) -> int:
        with self._session(SYNC_SECONDS) as connection:
            self._columns(connection)
            cursor = connection.cursor()
            cursor.execute(f"SELECT COUNT(*) FROM {self._table()}")  # noqa: S608  (quoted, and known to the catalogue)
            return int(cursor.fetchone()[0])

    def _quoted(self, name: str) -> str:
        return f"{self.open_quote}{name.replace(self.close_quote, self.close_quote * 2)}{self.close_quote}"

    def _escaped(self, sql: str) -> str:
        """SQL without values, as the driver wants it beside places for values."""
        return sql.replace("%", "%%")

    def _table(self) -> str:
        return f"{self._quoted(self._namespace())}.{self._quoted(self.table)}"

    def _select(self, match: Sequence[str], replace: Sequence[str]) -> str:
        names = ", ".join(map(self._quoted, [*match, *replace]))
        return f"SELECT {names} FROM {self._table()}"  # noqa: S608  (quoted, and known to the catalogue)

    def _where(self, match: Sequence[str], places: Sequence[str], count: int) -> str:
        """The condition, with places for bound values; percent signs in names are doubled, as the drivers want it."""
        names = [self._escaped(self._quoted(c)) for c in match]
        if len(names) == 1:
            return f"{names[0]} IN ({', '.join([*places] * count)})"
        one = " AND ".join(f"{name} = {place}" for name, place in zip(names, places, strict=True))
        return " OR ".join([f"({one})"] * count)

    def _check_types(self, match: Sequence[str], types: dict[str, str]) -> None:
        for column in match:
            if types[column] not in TEXT | PADDED | WHOLE:
                raise Hold(
                    f"The column {column} of the crosswalk source {self.name} is of type {types[column]}: "
                    "what is matched must be text or whole numbers."
                )

    def _bound(
        self, key: Key, match: Sequence[str], types: dict[str, str], codec: str
    ) -> tuple[str | int, ...] | None:
        """A key as values to bind; None when no row can be like it."""
        self._check_types(match, types)
        out: list[str | int] = []
        for value, column in zip(key, match, strict=True):
            if types[column] in WHOLE:
                if not _INTEGER.fullmatch(value) or not -(2**63) <= int(value) <= self.largest:
                    return None
                out.append(int(value))
            elif "\0" in value or not _encodes(value, codec):
                return None
            else:
                out.append(value)
        return tuple(out)

    def _row(self, row: Sequence[Any], match: Sequence[str], types: dict[str, str]) -> Row:
        key = tuple(
            (as_text(v) or "").rstrip(" ") if types[c] in PADDED else (as_text(v) or "")
            for v, c in zip(row, match, strict=False)
        )
        return key, tuple(as_text(v) for v in row[len(match) :])

    def check(self) -> list[Tick]:
        ticks = []
        try:
            addresses = {info[4][0] for info in socket.getaddrinfo(self.host, None)}
            ticks.append(Tick("resolves", True, ", ".join(sorted(map(str, addresses)))))
        except OSError as e:
            return [Tick("resolves", False, f"{self.host} is not known: {e.strerror or e}")]
        try:
            with self._session() as connection:
                ticks.append(Tick("connects", True, f"as {self.user}"))
                try:
                    columns = self._columns(connection)
                except Hold as e:
                    return [*ticks, Tick("table", False, str(e))]
                ticks.append(Tick("table", True, f"{self.table} is there"))
                ticks.append(Tick("columns", True, ", ".join(sorted(columns))))
                ticks.append(self._read_only(connection))
        except Hold as e:
            ticks.append(Tick("connects" if len(ticks) == 1 else "asks", False, str(e)))
        return ticks


def _questions(bound: Sequence[tuple[str | int, ...]]) -> Iterator[list[tuple[str | int, ...]]]:
    """The keys parted as they go into one question each: nearly always a single one."""
    some: list[tuple[str | int, ...]] = []
    size = 0
    for values in bound:
        more = sum(len(str(value).encode()) for value in values)
        if some and (len(some) >= CHUNK or size + more > QUESTION):
            yield some
            some, size = [], 0
        some.append(values)
        size += more
    if some:
        yield some


def _close(connection: Any, base: type[Exception]) -> None:
    try:
        connection.close()
    except (base, OSError):
        return  # it was lost already


def plain(value: Any) -> str:
    """What a catalogue says, as text: some drivers give it as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _encodes(value: str, codec: str) -> bool:
    try:
        value.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def as_text(value: Any) -> str | None:
    """A database's value as a tag's text: dates and times as DICOM writes them (PS3.5 6.2). Raises Hold for bytes."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, dt.datetime):
        return value.strftime("%Y%m%d%H%M%S")
    if isinstance(value, dt.date):
        return value.strftime("%Y%m%d")
    if isinstance(value, dt.timedelta) and not value.days:  # how MySQL's driver gives a TIME
        minutes, second = divmod(value.seconds, 60)
        return f"{minutes // 60:02d}{minutes % 60:02d}{second:02d}"
    if isinstance(value, dt.time):
        return value.strftime("%H%M%S")
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes | bytearray | memoryview):
        raise Hold("A column of the crosswalk's table holds bytes, which cannot replace a tag's text.")
    return str(value)
