"""Lookups: what a batch has asked so far, then the synced copy or the cache, then the database; one question a batch and map."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.crosswalk.base import CrosswalkSource, Key, Row
from engine.crosswalk.cache import MANY, MISS, Answer, Cache
from engine.crosswalk.map import CrosswalkMap
from engine.errors import Hold

__all__ = ["Crosswalks", "Lookups", "answers_of"]


class Crosswalks:
    """The maps of one revision with their sources. May be used by several threads."""

    def __init__(
        self, maps: Sequence[CrosswalkMap], sources: Sequence[CrosswalkSource], cache: Cache | None = None
    ) -> None:
        self._sources = {s.name: s for s in sources}
        self._maps = {m.name: m for m in maps}
        self._digests = {m.name: m.digest(self._sources[m.source]) for m in maps}
        self._cache = cache

    def has(self, name: str) -> bool:
        return name in self._maps

    def map(self, name: str) -> CrosswalkMap:
        """Raises Hold for one that is not there."""
        if name not in self._maps:
            raise Hold(f"There is no crosswalk map called {name}.")
        return self._maps[name]

    def ask(self, name: str, keys: Sequence[Key]) -> dict[Key, Answer]:
        """An answer for each key. Raises Hold when the table cannot be asked and the cache does not know."""
        one = self.map(name)
        width = len(one.replace_columns)
        answers: dict[Key, Answer] = {}
        if self._cache is not None and one.sync_seconds:
            copy = self._cache.table(name, self._digests[name], keys, width)
            if copy is not None and one.on_miss != "query":
                return {key: copy.get(key, MISS) for key in keys}
            answers.update(copy or {})
        if self._cache is not None:
            left = [k for k in keys if k not in answers]
            answers.update(self._cache.get(name, self._digests[name], left, width))
        left = [k for k in keys if k not in answers]
        if left:
            rows = self._sources[one.source].find(one.match_columns, one.replace_columns, left)
            fresh = answers_of(rows, left)
            if self._cache is not None:
                self._cache.put(name, self._digests[name], fresh, one.cache_seconds, one.miss_seconds)
            answers.update(fresh)
        return answers


def answers_of(rows: Iterable[Row], keys: Iterable[Key]) -> dict[Key, Answer]:
    """What rows say of keys, compared as text whatever the table's collation. A row with a NULL among them says nothing."""
    answers = dict.fromkeys(keys, MISS)
    for key, values in rows:
        if key not in answers or any(v is None for v in values):
            continue
        answer = Answer(tuple(v for v in values if v is not None))
        answers[key] = answer if answers[key] in (MISS, answer) else MANY
    return answers


class Lookups:
    """What one batch looks up. A database that is away is asked once a batch, not once an image."""

    def __init__(self, crosswalks: Crosswalks) -> None:
        self._crosswalks = crosswalks
        self._known: dict[str, dict[Key, Answer]] = {}
        self._away: dict[str, Hold] = {}

    def has(self, name: str) -> bool:
        return self._crosswalks.has(name)

    def map(self, name: str) -> CrosswalkMap:
        """Raises Hold for one that is not there."""
        return self._crosswalks.map(name)

    def find(self, name: str, keys: Iterable[Key]) -> dict[Key, Answer]:
        """An answer for each key. Raises Hold, with `waits_for` when the database is away."""
        known = self._known.setdefault(name, {})
        wanted = list(dict.fromkeys(keys))
        new = [k for k in wanted if k not in known]
        if new:
            source = self.map(name).source
            if source in self._away:
                raise self._away[source]
            try:
                known.update(self._crosswalks.ask(name, new))
            except Hold as e:
                if e.waits_for:
                    self._away[source] = e
                raise
        return {k: known[k] for k in wanted}
