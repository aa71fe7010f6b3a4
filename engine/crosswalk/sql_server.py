"""A table in Microsoft SQL Server.

Guarantee: only SELECT is sent, with read-only intent; the server itself does not enforce it, so give it a login that may
only read. A lookup that takes too long is ended by the driver.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import Field

from engine.crosswalk._sql import SqlSource
from engine.errors import Hold
from engine.model import Tick

__all__ = ["SqlServer"]


class SqlServer(SqlSource):
    """A table or view in Microsoft SQL Server (TDS 7.4)."""

    label: ClassVar[str] = "SQL Server"
    kind: Literal["sql_server"] = "sql_server"
    open_quote: ClassVar[str] = "["
    close_quote: ClassVar[str] = "]"
    tls: Literal["off", "require"] = "off"
    """`require` encrypts; the driver does not check who the server is."""
    port: int = Field(default=1433, ge=1, le=65535)
    """The server's port."""
    schema_name: str = Field(default="dbo", min_length=1, max_length=128)
    """The schema that the table is in."""

    def _namespace(self) -> str:
        return self.schema_name

    def _open(self, secret: str, seconds: float) -> Any:
        import pymssql

        return pymssql.connect(
            server=self.host, port=str(self.port), user=self.user, password=secret, database=self.database,
            timeout=int(seconds), login_timeout=int(self.connect_seconds), charset="UTF-8", appname="axiom-flow",
            tds_version="7.4", read_only=True, encryption="require" if self.tls == "require" else "off",
        )  # fmt: skip

    def _errors(self) -> tuple[type[Exception], type[Exception] | tuple[type[Exception], ...]]:
        import pymssql

        return pymssql.Error, (pymssql.ProgrammingError, pymssql.DataError, pymssql.NotSupportedError)

    def _escaped(self, sql: str) -> str:
        if re.search(r"%[sd(]", sql):  # the driver would take it for the place of a value, and knows no escape
            raise Hold(f"The crosswalk source {self.name} has a name that its driver cannot take (%s, %d, %(): use a view.")
        return sql

    def _read_only(self, connection: Any) -> Tick:
        return Tick("read-only", None, "only SELECT is sent, but the server does not enforce it: use a login that may only read")
