"""What the house does for crosswalks: releases what waited for a database, and copies the tables that are due.

In a thread of its own beside the sealing of history: a database may be slow, or away.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime

from engine.crosswalk.base import CrosswalkSource
from engine.crosswalk.sync import is_due, sync
from engine.errors import AxiomError, Conflict, Hold, Missing
from engine.jobs.context import Context

__all__ = ["keep_crosswalks", "release_waiting", "sync_due"]

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0
FIRST_SECONDS = 1.0
LONGEST_SECONDS = 600.0


def keep_crosswalks(context: Context, over: threading.Event) -> None:
    """Look every two seconds, until told that it is over. A sync that runs is ended first."""
    while not over.wait(EVERY_SECONDS):
        for work in (release_waiting, sync_due):
            try:
                work(context)
            except Exception:
                log.exception("%s went wrong: it is tried again", work.__name__)


def release_waiting(context: Context, now: float | None = None) -> list[str]:
    """Send the held batches through the rules again whose database is back (or not configured any more).

    One that had to be held again and again is tried less and less often. Returns their new names.
    """
    waiting = _waiting(context, time.time() if now is None else now)
    if not waiting:
        return []
    sources = {f"crosswalk_sources/{s.name}": s for s in context.configuration().crosswalk_sources}
    back = {what: _is_back(sources.get(what)) for what in {w for whats in waiting.values() for w in whats}}
    released = []
    for batch_id, whats in waiting.items():
        if not all(back[w] for w in whats):
            continue
        try:
            released.append(context.spool.release("held", batch_id))
        except (Missing, Conflict):
            continue  # a person was quicker
        log.info("%s is back: %s goes through the rules again", ", ".join(sorted(whats)), batch_id)
    if released:
        context.wake("route")
    return released


def _waiting(context: Context, now: float) -> dict[str, set[str]]:
    """Held batches that wait for something, and whose time to be looked at has come."""
    out = {}
    for folder in context.spool.batches("held"):
        try:
            data = context.spool.box_reasons("held", folder.name)
        except (Missing, FileNotFoundError):
            continue  # gone in this moment
        waits: dict[str, str] = data.get("waits", {})  # type: ignore[assignment]
        tries = int(folder.name.partition("-r")[2] or 0)
        rest = min(FIRST_SECONDS * 2.0 ** min(tries, 20), LONGEST_SECONDS)
        if waits and now - datetime.fromisoformat(str(data["at"])).timestamp() >= rest:
            out[folder.name] = set(waits.values())
    return out


def _is_back(source: CrosswalkSource | None) -> bool:
    if source is None:
        return True  # not configured any more: the rules of today decide
    try:
        source.columns()
    except Hold as e:
        return not e.waits_for  # it answers; what it says is then the reason
    return True


def sync_due(context: Context) -> list[str]:
    """Copy the tables that are due, one after the other. Returns the names of the maps."""
    configuration = context.configuration()
    done = []
    for one in configuration.crosswalk_maps:
        source = next(s for s in configuration.crosswalk_sources if s.name == one.source)
        try:
            if is_due(context.cache, one, source):
                status = sync(context.cache, one, source)
                log.info("the crosswalk map %s is synced: %d rows", one.name, status["rows"])
                done.append(one.name)
        except Conflict:
            return done  # another node syncs
        except AxiomError as e:
            log.warning("the crosswalk map %s is not synced: %s", one.name, e)
    return done
