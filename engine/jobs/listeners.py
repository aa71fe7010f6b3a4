"""Makes what listens equal to what is configured: each listening source is one long job in a worker process of its own.

A changed source gets a new generation at once; the old one stops accepting, lets its open associations end, and goes.
"""

from __future__ import annotations

import hashlib
import logging
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import redis

from engine.configuration import Configuration
from engine.jobs.queues import connect, enqueue, open_queue
from engine.process import Child
from engine.settings import Settings
from engine.sources.base import Source

__all__ = ["Listeners", "wanted_sources"]

log = logging.getLogger(__name__)


def wanted_sources(configuration: Configuration, node: str) -> dict[str, Source]:
    """The sources that must be listening on this node."""
    return {
        s.name: s
        for s in configuration.sources
        if s.runs and s.enabled and (not s.instances or node in s.instances)
    }


@dataclass
class _Generation:
    """One life of a listener: the worker process, the queue with its one job, its files."""

    name: str
    digest: str
    child: Child
    status_file: Path
    stop_file: Path
    stage: str
    enqueued: bool = False
    started: float = field(default_factory=time.monotonic)

    def stop(self) -> None:
        self.stop_file.touch()


class Listeners:
    """Reconciles; call `tick` about once a second from the main thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.run_dir / "listeners"
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.iterdir():
            left.unlink()  # of an earlier run
        self._connection = connect(settings)
        self._current: dict[str, _Generation] = {}
        self._old: list[_Generation] = []
        self._failures: dict[str, tuple[int, float]] = {}
        self._ended: dict[str, _Generation] = {}
        self._count = 0

    def tick(self, wanted: dict[str, Source]) -> None:
        for name in list(self._current):
            generation = self._current[name]
            source = wanted.get(name)
            if source is None or _digest(source) != generation.digest:
                log.info("listener %s: %s", name, "stopped" if source is None else "changed, taken over by a new one")
                generation.stop()
                self._old.append(self._current.pop(name))
                self._failures.pop(name, None)
            elif generation.child.state != "running":
                self._bury(self._current.pop(name))
        for name in self._ended.keys() - wanted.keys():
            self._forget(self._ended.pop(name))
        for name, source in wanted.items():
            if name not in self._current and time.monotonic() >= self._failures.get(name, (0, 0.0))[1]:
                self._current[name] = self._start(name, source)
        for generation in self._current.values():
            if not generation.enqueued:
                generation.enqueued = self._enqueue(generation)
        self._sweep_old()

    def _start(self, name: str, source: Source) -> _Generation:
        self._count += 1
        stage = f"listen.{name}.{self._count}"
        generation = _Generation(
            name=name,
            digest=_digest(source),
            child=Child(
                f"listener {name}",
                [sys.executable, "-m", "engine.jobs.worker", stage, "--burst"],
                log=self._settings.log_dir / f"listener-{name}.log",
                restart=False,
                on_parent_death=signal.SIGKILL,
            ),
            status_file=self._folder / f"{name}.{self._count}.json",
            stop_file=self._folder / f"{name}.{self._count}.stop",
            stage=stage,
        )
        generation.enqueued = self._enqueue(generation)
        generation.child.start()
        ended = self._ended.pop(name, None)
        if ended is not None:
            self._forget(ended)
        return generation

    def _enqueue(self, generation: _Generation) -> bool:
        """The job first, then its worker, which ends when its queue is empty. False: Redis is away; tried again."""
        try:
            queue = open_queue(self._settings, generation.stage, self._connection)
            queue.empty()  # what an earlier run left under this name
            enqueue(queue, "listen", generation.name, str(generation.status_file), str(generation.stop_file))
        except redis.exceptions.RedisError as e:
            log.warning("listener %s waits for Redis: %s", generation.name, e)
            return False
        return True

    def _bury(self, generation: _Generation) -> None:
        """It ended by itself: say why, start it again after a while that grows."""
        generation.child.poll()
        error = status_of(generation.status_file).get("error", "")
        lived = time.monotonic() - generation.started
        failures = 0 if lived > 60 else self._failures.get(generation.name, (0, 0.0))[0] + 1
        pause = min(10.0, 0.5 * 2.0 ** min(failures, 6)) if generation.enqueued else 1.0
        self._failures[generation.name] = (failures, time.monotonic() + pause)
        log.warning("listener %s ended (%s); again in %.1f s", generation.name, error or "no word of why", pause)
        self._ended[generation.name] = generation  # its status says why, until the next one says something

    def _sweep_old(self) -> None:
        for generation in list(self._old):
            if generation.child.state != "running":
                generation.child.poll()
                self._forget(generation)
                self._old.remove(generation)

    @staticmethod
    def _forget(generation: _Generation) -> None:
        generation.status_file.unlink(missing_ok=True)
        generation.stop_file.unlink(missing_ok=True)

    def children(self) -> list[Child]:
        return [g.child for g in (*self._current.values(), *self._old)]

    def stop_all(self) -> None:
        """Ask all to stop accepting and to end; `children` says who is left."""
        for generation in (*self._current.values(), *self._old):
            generation.stop()


def status_of(file: Path) -> dict[str, object]:
    """A listener's own words; {} while it has said nothing."""
    try:
        data: dict[str, object] = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return data


def _digest(source: Source) -> str:
    return hashlib.sha256(orjson.dumps(source.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)).hexdigest()
