"""The due-loop of the pollers: which sources have work on this node now, and a turn for each of them.

Any node may poll a source, one at a time does (`Polls.claim`); what is left when it ends or dies, the next turn goes on with.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from engine.jobs.context import Context
from engine.jobs.poll_times import next_poll, on_schedule, pollable
from engine.jobs.poll_turn import Turn
from engine.sources._query import QuerySource
from engine.store.backfills import Backfill
from engine.store.polls import Poller

__all__ = ["drain_polls", "due_sources"]

log = logging.getLogger(__name__)

LINGER_SECONDS = 2.0
LAUNCH_SECONDS = 300.0
"""After so long a drain ends as soon as no source has a turn, so that memory and code are fresh."""
LOOK_SECONDS = 0.5


def due_sources(context: Context, now: datetime | None = None) -> list[str]:
    """The names of this node's sources that have work now and that nobody holds."""
    now = now or datetime.now(UTC)
    configuration, node = context.configuration(), context.settings.instance_id
    here = pollable(configuration, node)
    if not here:
        return []
    states, waiting, back = context.store.polls.pollers(), context.store.polls.next_due(), context.store.backfills.open()
    due = []
    for name, source in here.items():
        state = states.get(name, Poller(name))
        if state.held(now, node) or not on_schedule(configuration, source, now):
            continue
        begins = _work_at(source, state, waiting, [b for b in back if b.source == name])
        if begins is not None and max(begins, state.not_before or begins) <= now:
            due.append(name)
    return due


def _work_at(
    source: QuerySource, state: Poller, waiting: dict[tuple[str, str], datetime], back: Iterable[Backfill]
) -> datetime | None:
    paused = {b.id for b in back if b.state == "paused"}
    times = [at for (name, found_by), at in waiting.items() if name == source.name and found_by not in paused]
    times += [datetime.min.replace(tzinfo=UTC) for b in back if b.state == "running" and b.can_go_on]
    times += filter(None, [next_poll(source, state)])
    return min(times, default=None)


def drain_polls(context: Context) -> int:
    """Give every source with work a turn, in threads of their own; ends when none has any for a while. Returns the turns."""
    stop = threading.Event()
    running: dict[str, threading.Thread] = {}
    turns, begun = 0, time.monotonic()
    last = begun
    while True:
        running = {name: thread for name, thread in running.items() if thread.is_alive()}
        if context.stopping.exists():
            stop.set()
        over = time.monotonic() - begun >= LAUNCH_SECONDS
        if not stop.is_set() and (running or not over):
            for name in due_sources(context):
                if name not in running:
                    turn = Turn(context, name, stop)
                    running[name] = threading.Thread(target=_take, args=(turn,), name=f"poll-{name}", daemon=True)
                    running[name].start()
                    turns += 1
        if running:
            last = time.monotonic()
        elif stop.is_set() or over or time.monotonic() - last >= LINGER_SECONDS:
            break  # not without a look after the last turn's end, however long that took to be seen
        time.sleep(LOOK_SECONDS)
    return turns


def _take(turn: Turn) -> None:
    try:
        turn.run()
    except Exception:
        # The store away, say: what was fetched is marked or will be fetched again; the next turn goes on.
        log.exception("polling %s went wrong: it is tried again", turn.name)
        time.sleep(1.0)
