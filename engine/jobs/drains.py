"""Working off what is ready: batches to be routed, deliveries that are due. A drain ends when it finds nothing for a while."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from engine import flow
from engine.destinations.base import Destination
from engine.jobs.context import Context
from engine.log import bound

__all__ = ["drain_deliveries", "drain_ready"]

log = logging.getLogger(__name__)

LINGER_SECONDS = 2.0
"""A drain looks on for so long after its last work: under steady traffic no job is forked for each batch."""
LAUNCH_SECONDS = 300.0
"""After so long a drain starts nothing new and ends, so that memory and code are fresh; another takes over at once."""
GRACE_SECONDS = 10.0
"""So long it waits for what it has started. What takes longer must not hold up the rest: it goes on starting then."""
POLL_SECONDS = 0.05


def drain_ready(context: Context) -> int:
    """Route the ready batches, oldest first. Returns how many."""
    routed = 0
    begun = last = time.monotonic()
    failed: Counter[str] = Counter()
    while time.monotonic() - last < LINGER_SECONDS and time.monotonic() - begun < LAUNCH_SECONDS:
        if context.stopping.exists():
            break
        if context.spool.gatherings.has_work() and flow.deliver_gathered(context.spool, context.recorder):
            context.wake("deliver")
            last = time.monotonic()
        found = [f for f in context.spool.batches("ready") if failed[f.name] < 3]
        for folder in found:
            if context.stopping.exists():
                break
            try:
                with bound(batch=folder.name), context.spool.claim(folder) as batch:
                    if batch is None:
                        continue
                    plan = flow.route(context.spool, batch, context.decider, context.recorder)
                    log.info(
                        "routed by revision %d: %d deliveries, %d held, %d unmatched",
                        plan.revision, len(plan.deliveries), len(plan.held), len(plan.unmatched),
                    )  # fmt: skip
            except Exception:
                # A disk that is full, a store that is away: the batch stays in ready/, the sweep wakes us again.
                failed[folder.name] += 1
                log.exception("routing batch %s went wrong: it stays in the spool and is tried again", folder.name)
                continue
            routed += 1
            last = time.monotonic()
            if plan.deliveries:
                context.wake("deliver")
        if not found:
            time.sleep(POLL_SECONDS)
        elif all(failed[f.name] for f in found):
            time.sleep(0.5)
    return routed


def drain_deliveries(context: Context) -> int:
    """Deliver what is due: each destination in threads of its own, so that a slow one delays no other. Returns attempts."""
    return _Deliverer(context).run()


class _Deliverer:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.stop = threading.Event()
        self.running: dict[Future[None], tuple[str, str]] = {}
        self.attempts = 0

    def run(self) -> int:
        begun = last = time.monotonic()
        with ThreadPoolExecutor(max_workers=256, thread_name_prefix="deliver") as pool:
            while True:
                if self.context.stopping.exists():
                    self.stop.set()
                age = time.monotonic() - begun
                launching = not self.stop.is_set() and not LAUNCH_SECONDS <= age < LAUNCH_SECONDS + GRACE_SECONDS
                if age >= LAUNCH_SECONDS + GRACE_SECONDS:
                    begun = time.monotonic()
                if launching and self._launch(pool):
                    last = time.monotonic()
                if self.running:
                    last = time.monotonic()
                    self._reap(wait(self.running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED).done)
                elif not launching or time.monotonic() - last > LINGER_SECONDS:
                    return self.attempts
                else:
                    time.sleep(POLL_SECONDS)

    def _reap(self, done: set[Future[None]]) -> None:
        for future in done:
            destination, delivery = self.running.pop(future)
            self.attempts += 1
            error = future.exception()
            if error is not None:
                # The ledger could not be written, say: the outbox entry stays, so it is tried again; not at once.
                log.error("delivery %s to %s went wrong", delivery, destination, exc_info=error)
                self.context.spool.outbox.add(destination, delivery, time.time() + 30)

    def _launch(self, pool: ThreadPoolExecutor) -> bool:
        launched = False
        outbox = self.context.spool.outbox
        configuration = None
        for name in outbox.destinations():
            entries = outbox.entries(name)
            if not entries or entries[0][0] > time.time():
                continue
            configuration = configuration or self.context.configuration()
            destination = configuration.destination(name)
            if destination is None or not destination.enabled:
                continue  # paused, or not configured any more: it waits, and the page says so
            mine = {d for n, d in self.running.values() if n == name}
            free = destination.parallel - len(mine)
            for due, delivery in entries:
                if free <= 0 or due > time.time():
                    break
                if delivery not in mine:
                    future = pool.submit(self._deliver, destination, delivery)
                    self.running[future] = (name, delivery)
                    free -= 1
                    launched = True
        return launched

    def _deliver(self, destination: Destination, delivery: str) -> None:
        with (
            bound(batch=delivery.rpartition(".")[0], delivery=delivery),
            self.context.spool.slot(destination.name, destination.parallel) as free,
        ):
            if free:
                state = flow.deliver(self.context.spool, delivery, destination, self.context.recorder, self.stop)
                if state is not None:
                    log.info(
                        "attempt %d at %s: %d confirmed, %d refused",
                        len(state.attempts), destination.name, len(state.confirmed), len(state.refused),
                    )  # fmt: skip
            else:
                self.stop.wait(0.2)  # another worker process uses this destination's places
