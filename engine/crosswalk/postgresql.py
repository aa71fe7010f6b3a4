"""A table in PostgreSQL.

Guarantee: the server refuses to write (default_transaction_read_only); a lookup that takes too long is ended by the server.
"""

from __future__ import annotations

import codecs
from typing import Any, ClassVar, Literal

from pydantic import Field

from engine.crosswalk._sql import SqlSource
from engine.model import Tick

__all__ = ["PostgreSQL"]

MODES = {"off": "disable", "require": "require", "verify": "verify-full"}


class PostgreSQL(SqlSource):
    """A table or view in PostgreSQL."""

    label: ClassVar[str] = "PostgreSQL"
    kind: Literal["postgresql"] = "postgresql"
    port: int = Field(default=5432, ge=1, le=65535)
    """The server's port."""
    schema_name: str = Field(default="public", min_length=1, max_length=128)
    """The schema that the table is in."""
    ca_file: str = ""
    """For `verify`: the certificates that are trusted (PEM); empty: the system's."""

    def _namespace(self) -> str:
        return self.schema_name

    def _open(self, secret: str, seconds: float) -> Any:
        import psycopg

        return psycopg.connect(
            host=self.host, port=self.port, dbname=self.database, user=self.user, password=secret or None,
            connect_timeout=int(self.connect_seconds), sslmode=MODES[self.tls],
            sslrootcert=(self.ca_file or "system") if self.tls == "verify" else None,
            options=f"-c statement_timeout={int(seconds * 1000)} -c default_transaction_read_only=on",
            tcp_user_timeout=int((seconds + self.connect_seconds) * 1000), keepalives_idle=5, keepalives_interval=5,
            keepalives_count=3, client_encoding="utf8", application_name="axiom-flow", prepare_threshold=None,
        )  # fmt: skip

    def _errors(self) -> tuple[type[Exception], type[Exception] | tuple[type[Exception], ...]]:
        import psycopg

        return psycopg.Error, (psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError)

    def _codec(self, connection: Any) -> str:
        name = str(connection.info.parameter_status("server_encoding"))
        try:
            return codecs.lookup(name.replace("WIN", "cp").replace("KOI8", "koi8_")).name
        except LookupError:  # SQL_ASCII, which takes all bytes, and rare ones
            return "utf-8"

    def _stream(self, connection: Any) -> Any:
        return connection.cursor(name="axiom_crosswalk")

    def _read_only(self, connection: Any) -> Tick:
        said = connection.execute("SHOW transaction_read_only").fetchone()[0]
        return Tick("read-only", said == "on", "the server refuses to write" if said == "on" else "the server would write")
