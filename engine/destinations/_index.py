"""An index of what was written, in each folder: a line a file, appended after the file is on disk, durable before it is
confirmed. It has no say in what is written: without it, or with a torn line of a crash, the files are the same.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

__all__ = ["Index", "IndexForm", "Row", "index_name"]

IndexForm = Literal["none", "json_lines", "csv"]

_NAMES: Final = {"json_lines": "_index.jsonl", "csv": "_index.csv"}
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is a formula to a spreadsheet: it gets an apostrophe in front."""

Row = Mapping[str, str | int]
"""`file` and what else is told of it."""


def index_name(form: IndexForm) -> str:
    """The index file's name, "" for none."""
    return _NAMES.get(form, "")


class Index:
    """Appends to the index files of one delivery. `columns` after `at` and `file`."""

    def __init__(self, form: IndexForm, columns: Sequence[str]) -> None:
        self.name = index_name(form)
        self._csv = form == "csv"
        self._columns = ("at", "file", *columns)

    def append(self, folder: int, rows: Sequence[Row], repeated: Sequence[Row] = ()) -> None:
        """Append rows to the index of an open folder, and make them durable. Rows of files that were there before
        (`repeated`) only if the index does not have them: a crash may have come between file and line.

        Raises OSError as the file system says.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self.name, flags, 0o640, dir_fd=folder)
        with os.fdopen(fd, "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # several workers may deliver into one folder
            new = [*rows, *self._missing(file, repeated)] if repeated else list(rows)
            size = file.seek(0, os.SEEK_END)
            text = "" if size else self._head()
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                text = "\n"  # what a crash tore off stays a line of its own
            text += "".join(self._line(row) for row in new)
            data = memoryview(text.encode())
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())
        os.fsync(folder)

    def _missing(self, file: io.FileIO, rows: Sequence[Row]) -> list[Row]:
        file.seek(0)
        known = set()
        for raw in file.readall().decode("utf-8", "replace").splitlines():
            try:
                known.add(next(csv.reader([raw]))[1] if self._csv else json.loads(raw)["file"])
            except (ValueError, KeyError, IndexError, TypeError, StopIteration, csv.Error):
                continue  # torn
        return [row for row in rows if self._cell(row["file"]) not in known]

    def _head(self) -> str:
        return self._csv_line(self._columns) if self._csv else ""

    def _line(self, row: Row) -> str:
        row = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **row}
        if self._csv:
            return self._csv_line([self._cell(row.get(column, "")) for column in self._columns])
        return json.dumps({column: row.get(column, "") for column in self._columns}, ensure_ascii=False) + "\n"

    def _cell(self, value: str | int) -> str:
        text = " ".join(str(value).splitlines()) if self._csv else str(value)
        return f"'{text}" if self._csv and text.startswith(_FORMULA) else text

    @staticmethod
    def _csv_line(cells: Sequence[str]) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow(cells)
        return out.getvalue()
