"""A CSV file, with the columns' names in its first line.

Guarantee: it is only read, anew for each batch; replace it by a rename, so that none sees half of it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from engine.crosswalk.base import CrosswalkSource, Key, Row, away, need_columns
from engine.errors import Hold
from engine.model import Tick

__all__ = ["CsvFile"]


class CsvFile(CrosswalkSource):
    """A CSV file: UTF-8, one line a row, the names of the columns in the first."""

    label: ClassVar[str] = "CSV file"
    kind: Literal["csv"] = "csv"
    path: str = Field(min_length=1, max_length=4096, examples=["/srv/crosswalk/patients.csv"])
    """Where the file is, on each node."""
    delimiter: str = Field(default=",", min_length=1, max_length=1, pattern=r'^[^"\r\n]$')
    """What parts the columns."""
    encoding: Literal["utf-8", "latin-1", "cp1252"] = "utf-8"
    """How its text is encoded."""

    def _lines(self) -> Iterator[list[str]]:
        encoding = "utf-8-sig" if self.encoding == "utf-8" else self.encoding
        try:
            with Path(self.path).open(encoding=encoding, newline="") as file:
                for number, line in enumerate(csv.reader(file, delimiter=self.delimiter, strict=True), 1):
                    if line:
                        yield line
                    elif number == 1:
                        return
        except OSError as e:
            raise away(self, f"{self.path}: {e.strerror}") from e
        except (UnicodeDecodeError, csv.Error) as e:
            raise Hold(f"The file of the crosswalk source {self.name} cannot be read: {type(e).__name__}: {e}.") from e

    def rows(self, match: Sequence[str], replace: Sequence[str]) -> Iterator[Row]:
        lines = self._lines()
        head = self._head(next(lines, []))
        need_columns(self, head, [*match, *replace])
        places = [head.index(c) for c in [*match, *replace]]
        for line in lines:
            if len(line) != len(head):
                raise Hold(
                    f"The file of the crosswalk source {self.name} has a line of {len(line)} columns, its first has {len(head)}."
                )
            values = tuple(line[p] for p in places)
            yield values[: len(match)], values[len(match) :]

    def find(self, match: Sequence[str], replace: Sequence[str], keys: Sequence[Key]) -> list[Row]:
        wanted = set(keys)
        return [row for row in self.rows(match, replace) if row[0] in wanted]

    def count(self) -> int:
        return max(0, sum(1 for _ in self._lines()) - 1)

    def _head(self, line: list[str]) -> list[str]:
        if not line:
            raise Hold(f"The file of the crosswalk source {self.name} is empty: its first line must name the columns.")
        if len(set(line)) != len(line):
            raise Hold(f"The file of the crosswalk source {self.name} names a column twice.")
        return line

    def columns(self) -> dict[str, str]:
        return dict.fromkeys(self._head(next(self._lines(), [])), "text")

    def check(self) -> list[Tick]:
        try:
            columns = self.columns()
            count = self.count()
        except Hold as e:
            return [Tick("file", False, str(e))]
        return [
            Tick("file", True, f"{self.path}: {count} rows"), Tick("columns", True, ", ".join(sorted(columns))),
            Tick("read-only", True, "it is only read"),
        ]  # fmt: skip
