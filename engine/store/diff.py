"""What differs between two configurations: which items, which fields, and in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Diff", "Difference", "FieldChange", "diff_documents"]

_GONE = object()
LONGEST = 80


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field before and after (None with `action` "added" or "removed": it was not there, or is not any more)."""

    path: tuple[str | int, ...]
    """Within the item, items of lists by name: `("rules", "ct", "priority")`."""
    action: Literal["added", "removed", "changed"]
    before: Any
    after: Any

    def words(self) -> str:
        where = ".".join(map(str, self.path))
        if self.action == "added":
            return f"{where}: {_short(self.after)} (new)"
        if self.action == "removed":
            return f"{where}: {_short(self.before)} (gone)"
        return f"{where}: {_short(self.before)} -> {_short(self.after)}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One item that was added, removed or changed."""

    action: Literal["added", "removed", "changed"]
    family: str
    name: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    changes: tuple[FieldChange, ...] = ()

    def words(self) -> list[str]:
        sign = {"added": "+", "removed": "-", "changed": "~"}[self.action]
        return [f"{sign} {self.family}/{self.name}", *(f"    {c.words()}" for c in self.changes)]


@dataclass(frozen=True, slots=True)
class Diff:
    """All differences, in the order of families and names. False when there are none."""

    differences: tuple[Difference, ...]

    def __bool__(self) -> bool:
        return bool(self.differences)

    def words(self) -> list[str]:
        """Lines for people, such as `~ destinations/pacs` and `    port: 104 -> 11112`."""
        return [line for d in self.differences for line in d.words()]

    def summary(self) -> list[str]:
        """One line an item, without values: for the audit."""
        return [f"{d.action} {d.family}/{d.name}" for d in self.differences]

    def as_json(self) -> dict[str, Any]:
        return {
            "equal": not self.differences,
            "differences": [
                {
                    "action": d.action, "family": d.family, "name": d.name, "before": d.before, "after": d.after,
                    "changes": [
                        {"path": list(c.path), "action": c.action, "before": c.before, "after": c.after}
                        for c in d.changes
                    ],
                }
                for d in self.differences
            ],
            "words": self.words(),
        }


def diff_documents(before: Mapping[str, Any], after: Mapping[str, Any]) -> Diff:
    """Compare two documents as `Configuration.document()` makes them."""
    families = [*after, *(f for f in before if f not in after)]
    return Diff(tuple(d for f in families for d in _family(f, before.get(f, []), after.get(f, []))))


def _family(family: str, before: list[Any], after: list[Any]) -> Iterator[Difference]:
    old, new = {i["name"]: i for i in before}, {i["name"]: i for i in after}
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        if was is None:
            yield Difference("added", family, name, None, now)
        elif now is None:
            yield Difference("removed", family, name, was, None)
        elif not _same(was, now):
            yield Difference("changed", family, name, was, now, tuple(_fields((), was, now)))


def _fields(path: tuple[str | int, ...], was: Any, now: Any) -> Iterator[FieldChange]:
    if _same(was, now):
        return
    if isinstance(was, dict) and isinstance(now, dict):
        yield from _entries(path, was, now)
    elif _named(was, now):
        yield from _entries(path, {i["name"]: i for i in was}, {i["name"]: i for i in now})
    elif isinstance(was, list) and isinstance(now, list) and any(isinstance(i, dict) for i in [*was, *now]):
        yield from _entries(path, dict(enumerate(was)), dict(enumerate(now)))
    elif was is _GONE:
        yield FieldChange(path, "added", None, now)
    elif now is _GONE:
        yield FieldChange(path, "removed", was, None)
    else:
        yield FieldChange(path, "changed", was, now)


def _entries(path: tuple[str | int, ...], was: dict[Any, Any], now: dict[Any, Any]) -> Iterator[FieldChange]:
    for key in [*now, *(k for k in was if k not in now)]:
        yield from _fields((*path, key), was.get(key, _GONE), now.get(key, _GONE))


def _same(was: Any, now: Any) -> bool:
    """Equal, and not as 1 and True are."""
    return was is now or (was == now and json.dumps(was, sort_keys=True) == json.dumps(now, sort_keys=True))


def _named(was: Any, now: Any) -> bool:
    if not (isinstance(was, list) and isinstance(now, list)) or not (was or now):
        return False
    return all(isinstance(i, dict) and "name" in i for i in [*was, *now])


def _short(value: Any) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
