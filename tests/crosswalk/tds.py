"""A double of SQL Server for its real driver: TDS 7.4 on a socket, SQLite behind it. It knows logins, batches and errors.

What it shows: that what we send through the driver is what it should be, and that answers and errors come back as they
should. It is not SQL Server: what only that does (collations, plans, locks) is not tested here.
"""

from __future__ import annotations

import re
import socket
import socketserver
import sqlite3
import struct
import threading
from collections.abc import Sequence
from typing import Any

__all__ = ["TdsServer"]

PACKET = 4096


class TdsServer:
    """Listens on the loopback until closed. `asked` holds the SQL of every batch."""

    def __init__(self, password: str = "geheim") -> None:
        self.password = password
        self.asked: list[str] = []
        self.fail = ""
        """When set, every SELECT of a table ends with this error."""
        self._lock = threading.Lock()
        self._db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        for schema in ("dbo", "information_schema"):
            self._db.execute(f"ATTACH ':memory:' AS {schema}")
        self.run("CREATE TABLE information_schema.columns (table_schema, table_name, column_name, data_type)")
        double = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                _Session(double, self.request).serve()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> TdsServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def run(self, sql: str, values: Sequence[Any] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        with self._lock:
            cursor = self._db.execute(sql, values)
            return [d[0] for d in cursor.description or ()], cursor.fetchall()

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        with self._lock:
            self._db.executemany(sql, rows)

    def describe(self, schema: str, table: str, columns: dict[str, str]) -> None:
        """What the catalogue says of a table."""
        rows = [(schema, table, c, t) for c, t in columns.items()]
        self.many("INSERT INTO information_schema.columns VALUES (?, ?, ?, ?)", rows)


class _Session:
    def __init__(self, double: TdsServer, connection: socket.socket) -> None:
        self.double = double
        self.connection = connection

    def serve(self) -> None:
        while True:
            kind, data = self._read()
            if kind == 0x12:  # PRELOGIN: version, and that we do not encrypt
                options = struct.pack(">BHHBHHB", 0, 11, 6, 1, 17, 1, 0xFF)
                self._write(options + b"\x0f\x00\x07\xd0\x00\x00" + b"\x02")
            elif kind == 0x10:
                if not self._login(data):
                    return
            elif kind == 0x01:
                self._batch(data)
            else:
                return

    def _read(self) -> tuple[int, bytes]:
        data, kind = b"", 0
        while True:
            head = self._exactly(8)
            if not head:
                return 0, b""
            kind, status, length = head[0], head[1], int.from_bytes(head[2:4], "big")
            data += self._exactly(length - 8)
            if status & 1:
                return kind, data

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                more = self.connection.recv(count - len(data))
            except ConnectionError:
                return b""
            if not more:
                return b""
            data += more
        return data

    def _write(self, data: bytes) -> None:
        size = PACKET - 8
        parts = [data[i : i + size] for i in range(0, len(data), size)] or [b""]
        for n, part in enumerate(parts, 1):
            self.connection.sendall(struct.pack(">BBHHBB", 4, int(n == len(parts)), len(part) + 8, 0, n % 256, 0) + part)

    def _login(self, data: bytes) -> bool:
        offset, length = struct.unpack_from("<HH", data, 44)
        hidden = data[offset : offset + 2 * length]
        given = bytes(((b ^ 0xA5) >> 4 | (b ^ 0xA5) << 4) & 0xFF for b in hidden).decode("utf-16-le")
        if given != self.double.password:
            self._write(_error(18456, 14, "Login failed for user.") + _done(2))
            return False
        name = "Double".encode("utf-16-le")
        ack = b"\x01" + b"\x74\x00\x00\x04" + bytes([len(name) // 2]) + name + b"\x0f\x00\x07\xd0"
        packet = str(PACKET).encode("utf-16-le")
        change = b"\x04" + bytes([len(packet) // 2]) + packet + b"\x00"
        self._write(b"\xad" + struct.pack("<H", len(ack)) + ack + b"\xe3" + struct.pack("<H", len(change)) + change + _done())
        return True

    def _batch(self, data: bytes) -> None:
        skip = int.from_bytes(data[:4], "little")
        sql = data[skip:].decode("utf-16-le").strip()
        self.double.asked.append(sql)
        if not sql.upper().startswith("SELECT"):
            self._write(_done())  # SET, USE, BEGIN TRAN, ROLLBACK
            return
        if self.double.fail and "information_schema" not in sql:
            self._write(_error(1222, 16, self.double.fail) + _done(2))
            return
        try:
            names, rows = self.double.run(_sqlite(sql))
        except sqlite3.Error as e:
            self._write(_error(208, 16, f"Invalid object or syntax: {e}") + _done(2))
            return
        columns = b"".join(_column(name) for name in names)
        self._write(
            b"\x81" + struct.pack("<H", len(names)) + columns + b"".join(map(_row, rows)) + _done(0x10, len(rows))
        )


def _sqlite(sql: str) -> str:
    """T-SQL's N'...' are SQLite's '...'; outside of literals nothing is changed."""
    return re.sub(r"\[(?:[^\]]|\]\])*\]|N?'((?:[^']|'')*)'", lambda m: m[0] if m[0][0] == "[" else f"'{m[1]}'", sql)


def _column(name: str) -> bytes:
    """NVARCHAR(4000), nullable."""
    return struct.pack("<IHBH", 0, 9, 0xE7, 8000) + b"\x09\x04\xd0\x00\x34" + bytes([len(name)]) + name.encode("utf-16-le")


def _row(row: Sequence[Any]) -> bytes:
    out = b"\xd1"
    for value in row:
        text = None if value is None else str(value).encode("utf-16-le")
        out += b"\xff\xff" if text is None else struct.pack("<H", len(text)) + text
    return out


def _error(number: int, level: int, words: str) -> bytes:
    text = words.encode("utf-16-le")
    body = struct.pack("<IBB", number, 1, level) + struct.pack("<H", len(text) // 2) + text + b"\x00\x00" + struct.pack("<I", 1)
    return b"\xaa" + struct.pack("<H", len(body)) + body


def _done(status: int = 0, count: int = 0) -> bytes:
    return b"\xfd" + struct.pack("<HHQ", status, 0, count)
