"""A table in MySQL or MariaDB.

Guarantee: the server refuses to write (SET SESSION TRANSACTION READ ONLY); a lookup that takes too long is ended by the server.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from engine.crosswalk._sql import SqlSource, plain
from engine.model import Tick

__all__ = ["MySQL"]


class MySQL(SqlSource):
    """A table or view in MySQL or MariaDB."""

    label: ClassVar[str] = "MySQL or MariaDB"
    kind: Literal["mysql"] = "mysql"
    open_quote: ClassVar[str] = "`"
    close_quote: ClassVar[str] = "`"
    largest: ClassVar[int] = 2**64 - 1
    port: int = Field(default=3306, ge=1, le=65535)
    """The server's port."""
    ca_file: str = ""
    """For `verify`: the certificates that are trusted (PEM); empty: the system's."""

    def _namespace(self) -> str:
        return self.database

    def _open(self, secret: str, seconds: float) -> Any:
        import pymysql

        connection = pymysql.connect(
            host=self.host, port=self.port, user=self.user, password=secret, database=self.database, charset="utf8mb4",
            connect_timeout=int(self.connect_seconds), read_timeout=int(seconds + self.connect_seconds),
            write_timeout=int(seconds + self.connect_seconds), ssl=self._ssl(), ssl_disabled=self.tls == "off",
            autocommit=False, local_infile=False,
        )  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
            if "MariaDB" in connection.get_server_info():
                cursor.execute("SET SESSION max_statement_time = %s", (seconds,))
            else:
                cursor.execute("SET SESSION max_execution_time = %s", (int(seconds * 1000),))
        return connection

    def _ssl(self) -> ssl.SSLContext | None:
        if self.tls == "off":
            return None
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.tls == "require":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _errors(self) -> tuple[type[Exception], type[Exception] | tuple[type[Exception], ...]]:
        from pymysql import err

        return err.Error, (err.ProgrammingError, err.DataError, err.NotSupportedError)

    def _places(self, connection: Any, match: Sequence[str]) -> list[str]:
        # A column in another character set cannot be compared with a text that this does not hold (error 1267), and one such
        # text would fail the question for the whole batch: converted first, it is like no row, or like one that it is not.
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT column_name, character_set_name, collation_name FROM information_schema.columns "
                "WHERE table_schema = %s AND table_name = %s",
                (self._namespace(), self.table),
            )
            known = {plain(row[0]): (plain(row[1]), plain(row[2])) for row in cursor.fetchall()}
        sets = {name: said for name, said in known.items() if said[0] not in ("None", "utf8mb4")}
        return [f"CONVERT(%s USING {sets[c][0]}) COLLATE {sets[c][1]}" if c in sets else "%s" for c in match]

    def _stream(self, connection: Any) -> Any:
        import pymysql.cursors

        return connection.cursor(pymysql.cursors.SSCursor)

    def _read_only(self, connection: Any) -> Tick:
        name = "tx_read_only" if "MariaDB" in connection.get_server_info() else "transaction_read_only"
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT @@session.{name}")
            said = bool(cursor.fetchone()[0])
        return Tick("read-only", said, "the server refuses to write" if said else "the server would write")
