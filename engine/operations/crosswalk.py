"""Crosswalks, looked at and made to work by a person: what a map says of a value, how far its copy is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from engine.crosswalk import sync as syncing
from engine.crosswalk.base import CrosswalkSource
from engine.crosswalk.lookup import Crosswalks
from engine.crosswalk.map import CrosswalkMap
from engine.errors import Invalid, Missing, Problem, Retry

if TYPE_CHECKING:
    from engine.operations import Operations

__all__ = ["ask_for_sync", "lookup", "status", "sync_now"]


def _named(ops: Operations, name: str) -> tuple[CrosswalkMap, CrosswalkSource]:
    configuration = ops.store.live().configuration
    one = next((m for m in configuration.crosswalk_maps if m.name == name), None)
    if one is None:
        known = ", ".join(sorted(m.name for m in configuration.crosswalk_maps)) or "none yet"
        raise Missing(f"There is no crosswalk map called {name}; there are: {known}.")
    return one, next(s for s in configuration.crosswalk_sources if s.name == one.source)


def status(ops: Operations) -> dict[str, Any]:
    maps, away = [], ""
    waiting = _waiting(ops)
    for one in ops.store.live().configuration.crosswalk_maps:
        said: dict[str, Any] = {"state": "unknown"}
        if not away:
            try:
                said = syncing.status_of(ops.cache, one)
            except Retry as e:
                away = str(e)
        told = {"name": one.name, "source": one.source, "sync_seconds": one.sync_seconds}
        maps.append(told | said | {"batches_waiting": waiting.get(f"crosswalk_sources/{one.source}", 0)})
    return {"maps": maps, "redis": away}


def _waiting(ops: Operations) -> dict[str, int]:
    """How many held batches wait for each source."""
    out: dict[str, int] = {}
    for folder in ops.spool.batches("held"):
        try:
            waits: dict[str, str] = ops.spool.box_reasons("held", folder.name).get("waits", {})  # type: ignore[assignment]
        except (Missing, FileNotFoundError):
            continue  # released in this moment
        for what in set(waits.values()):
            out[what] = out.get(what, 0) + 1
    return out


def lookup(ops: Operations, name: str, values: Sequence[str]) -> dict[str, Any]:
    one, source = _named(ops, name)
    if len(values) != len(one.match) or not all(v.strip() for v in values):
        raise Invalid([Problem(("values",), f"Give a value for each of {', '.join(one.match)}, in this order.")])
    key = tuple(v.strip(" ") for v in values)
    answer = Crosswalks([one], [source], ops.cache).ask(name, [key])[key]
    found = None
    if answer.values is not None:
        columns = dict(zip(one.replace_columns, answer.values, strict=True))
        found = {tag: columns[column] for tag, column in one.replace.items()}
    return {
        "map": name, "match": dict(zip(one.match, key, strict=True)), "found": found is not None,
        "several": answer.many, "replace": found, "on_miss": one.on_miss,
    }  # fmt: skip


def sync_now(ops: Operations, name: str, who: str, progress: Callable[[int, int], None]) -> dict[str, Any]:
    one, source = _named(ops, name)
    ops.store.audit.write(who=who, action="sync", family="crosswalk_maps", name=name, detail={})
    return {"name": name} | syncing.sync(ops.cache, one, source, progress)


def ask_for_sync(ops: Operations, name: str, who: str) -> dict[str, Any]:
    one, _ = _named(ops, name)
    syncing.ask_for_sync(ops.cache, name)
    ops.store.audit.write(who=who, action="sync", family="crosswalk_maps", name=name, detail={})
    return {"name": name} | syncing.status_of(ops.cache, one)
