"""What every kind of crosswalk source is: a table that is only ever read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from engine.component import Component, Name
from engine.errors import Hold
from engine.model import Tick

__all__ = ["CrosswalkSource", "Key", "Row", "away", "need_columns"]

Key = tuple[str, ...]
"""The values looked up, one a match column, as text."""
Row = tuple[Key, tuple[str | None, ...]]
"""A row of the table: its match columns as a key, its replacement columns as text (None: NULL)."""


class CrosswalkSource(Component, family="crosswalk_source"):
    """A table that says what values are to be replaced by."""

    name: Name
    description: str = ""
    """For people: what the table holds, and who keeps it."""

    def find(self, match: Sequence[str], replace: Sequence[str], keys: Sequence[Key]) -> list[Row]:
        """The rows whose `match` columns are one of `keys`, exactly as text; in one question.

        Raises Hold: with `waits_for` when the table cannot be reached, else when it cannot be asked so.
        """
        raise NotImplementedError

    def rows(self, match: Sequence[str], replace: Sequence[str]) -> Iterator[Row]:
        """The whole table, row by row. Raises Hold."""
        raise NotImplementedError

    def count(self) -> int:
        """How many rows it has. Raises Hold."""
        raise NotImplementedError

    def columns(self) -> dict[str, str]:
        """The table's columns with their types: it is there and can be read. Raises Hold."""
        raise NotImplementedError

    def check(self) -> list[Tick]:
        """Try what can be tried before saving. Never raises: each failure is a tick with its reason."""
        return []


def away(source: CrosswalkSource, error: object) -> Hold:
    """The hold of what has to wait until the source answers again: it is then released by itself."""
    return Hold(
        f"The crosswalk source {source.name} is away, the images wait for it and go on by themselves: {_words(error)}",
        f"crosswalk_sources/{source.name}",
    )


def need_columns(source: CrosswalkSource, there: Iterable[str], wanted: Iterable[str]) -> None:
    """Raises Hold when a wanted column is not one of the table's own: only names that are there ever get into SQL."""
    known = set(there)
    for column in wanted:
        if column not in known:
            names = ", ".join(sorted(known)[:50])
            raise Hold(f"The table of the crosswalk source {source.name} has no column {column}; it has {names}.")


def _words(error: object) -> str:
    args = getattr(error, "args", ())
    said = " ".join(str(a.decode("utf-8", "replace") if isinstance(a, bytes) else a) for a in args) or str(error)
    return " ".join(said.split())[:300]
