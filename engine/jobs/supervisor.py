"""`axiom engine`: owns the spool, starts and watches the workers, keeps listeners as configured, sweeps, wakes."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import time
from types import FrameType

import orjson

from engine.durable import replace_file
from engine.errors import AxiomError
from engine.jobs.context import Context, current
from engine.jobs.listeners import Listeners, wanted_sources
from engine.jobs.poll_times import pollable
from engine.jobs.polling import due_sources
from engine.log import setup_logging
from engine.process import Child, OwnerLock, die_with_parent, stop_all
from engine.settings import Settings

__all__ = ["Supervisor", "run"]

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
POLL_LOOK_SECONDS = 1.0
SWEEP_SECONDS = 5.0
FULL_SWEEP_SECONDS = 600.0
STOP_SECONDS = 25.0


def run(settings: Settings) -> int:
    """Run this node's engine until SIGTERM or SIGINT. Raises AxiomError when another engine owns the spool."""
    die_with_parent(signal.SIGTERM)
    setup_logging(settings.log_format, settings.log_level, process="engine")
    context = current()
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    context.spool.make()
    with OwnerLock(settings.spool / "owner.lock"):
        supervisor = Supervisor(context)
        for sig in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sig, supervisor.request_stop)
        supervisor.run()
    return 0


class Supervisor:
    """The loop. One thread; everything it starts ends with it."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.settings = context.settings
        self._stop = False
        self._verified: set[str] = set()
        self._next_sweep = self._next_full = self._next_look = 0.0
        context.stopping.unlink(missing_ok=True)
        self.listeners = Listeners(self.settings)
        self.workers = [
            self._worker(stage, n)
            for stage, count in (
                ("route", self.settings.route_workers),
                ("deliver", self.settings.deliver_workers),
                ("house", 1),
            )
            for n in range(1, count + 1)
        ]
        self.workers.append(
            Child(
                "watch", [sys.executable, "-m", "engine.jobs.watch"], log=self.settings.log_dir / "watch.log",
                on_parent_death=signal.SIGKILL,
            )
        )  # fmt: skip

    def _worker(self, stage: str, n: int) -> Child:
        return Child(
            f"{stage} worker {n}",
            [sys.executable, "-m", "engine.jobs.worker", stage],
            log=self.settings.log_dir / f"{stage}-{n}.log",
            on_parent_death=signal.SIGKILL,
        )

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        self._stop = True

    def run(self) -> None:
        for worker in self.workers:
            worker.start()
        try:
            while not self._stop:
                begun = time.monotonic()
                try:
                    self._tick()
                except (AxiomError, OSError) as e:
                    log.error("the supervisor could not do its round: %s", e)  # noqa: TRY400
                except Exception:
                    # The store may be away: what runs goes on running, and the next round tries again.
                    log.exception("the supervisor's round went wrong")
                time.sleep(max(0.0, TICK_SECONDS - (time.monotonic() - begun)))
        finally:
            self._end()

    def _tick(self) -> None:
        for worker in self.workers:
            worker.poll()
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + SWEEP_SECONDS
            self.sweep()
        self._wake()
        self.context.store.activations.do_due()
        self.listeners.tick(wanted_sources(self.context.configuration(), self.settings.instance_id))
        self._say()

    def sweep(self) -> None:
        """Find what a crash left behind. Everything here may be done twice."""
        spool = self.context.spool
        spool.adopt_orphans()
        spool.clear_removing()
        if time.monotonic() >= self._next_full:
            self._next_full = time.monotonic() + FULL_SWEEP_SECONDS
            self._verified.clear()
        routed = {folder.name: folder for folder in spool.batches("routed")}
        self._verified &= routed.keys()
        for name in routed.keys() - self._verified:
            if spool.repair_routed(routed[name]):
                self._verified.add(name)

    def _wake(self) -> None:
        spool, now = self.context.spool, time.time()
        if spool.has_ready() or spool.gatherings.has_work():
            self.context.wake("route")
        # What waits for a paused destination, or for one that is gone, wakes nobody.
        open_ones = [d.name for d in self.context.configuration().destinations if d.enabled]
        if any(entries and entries[0][0] <= now for entries in map(spool.outbox.entries, open_ones)):
            self.context.wake("deliver")
        self.context.wake("house")
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + POLL_LOOK_SECONDS
            self._wake_pollers()

    def _wake_pollers(self) -> None:
        """Their worker is started with the first source that can be polled: most nodes have none."""
        if not pollable(self.context.configuration(), self.settings.instance_id):
            return
        if not any(worker.name.startswith("poll ") for worker in self.workers):
            self.workers.append(self._worker("poll", 1))
            self.workers[-1].start()
        if due_sources(self.context):
            self.context.wake("poll")

    def _say(self) -> None:
        """Our own heartbeat, for the status page and `axiom doctor`."""
        workers = [{"name": w.name, "pid": w.pid, "state": w.state, "ended": w.ended} for w in self.workers]
        replace_file(self.settings.run_dir / "engine.json", orjson.dumps({"beat": time.time(), "workers": workers}))

    def _end(self) -> None:
        """Listeners stop accepting, drains end between two instances; what does not end in time is killed: nothing is lost."""
        self.context.stopping.touch()
        self.listeners.stop_all()
        stop_all(self.workers, STOP_SECONDS)
        stop_all(self.listeners.children(), 5.0)
        with contextlib.suppress(FileNotFoundError):
            (self.settings.run_dir / "engine.json").unlink()
