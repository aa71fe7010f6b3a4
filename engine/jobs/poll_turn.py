"""One turn of one poller: ask what is due, fetch what is due, walk its back-fills; until nothing is left, or told to stop.

The order is always the same: into the spool first, then marked as fetched. So whatever is killed when, a study that was
being fetched is fetched again, and nothing else is.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.dicom.paths import TagPath
from engine.errors import AxiomError, OutOfSpace, Permanent, Retry
from engine.jobs.context import Context
from engine.jobs.look_first import unwanted
from engine.jobs.poll_times import next_poll, on_schedule, pollable, today
from engine.process import process_token
from engine.sources._query import Match, Query, QuerySource, Retrieved, resolve_filters
from engine.store.backfills import Backfill
from engine.store.polls import LEASE, Poller, Seen, Target

__all__ = ["Turn"]

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0
NOTED_AT_ONCE = 200
LONGEST_PAUSE = 300.0
LONGEST_REST = 3600.0
FIRST_PAUSE = 2.0
FIRST_REST = 10.0
SPACE_PAUSE = 30.0
ALONE = 36
"""While nothing goes well with a source, each 36th failure in a row (with pauses of five minutes: one in three hours) counts
against its study. So one that nothing else is fetched beside comes to its end, and a peer's night costs nearly none."""
GONE = ("404", "410")
"""The peer's codes for a study that it does not have: trying again cannot help, and it says nothing of others."""


@dataclass
class _Running:
    """A retrieve at work."""

    target: Target
    stop: threading.Event = field(default_factory=threading.Event)
    begun: float = field(default_factory=time.monotonic)
    received: int = 0
    expected: int | None = None
    late: bool = False
    unwanted: str = ""
    """Why it was not fetched: no rule wants it."""

    def progress(self, received: int, expected: int | None) -> None:
        self.received, self.expected = received, expected


class Turn:
    """Polls one source while it has work. `run` returns at once when another one holds it."""

    def __init__(self, context: Context, name: str, stop: threading.Event) -> None:
        self.name = name
        self._context = context
        self._polls, self._backfills = context.store.polls, context.store.backfills
        self._stop = stop
        self._lost = threading.Event()
        self._over = threading.Event()
        self._holder = f"{context.settings.instance_id}/{process_token()}"
        self._running: dict[Future[Retrieved], _Running] = {}
        self._ask_job: Future[None] | None = None
        self._next_begin = 0.0
        self._asking: int | None = None
        self._processed = self._failed = 0
        self._last_words = ""

    def run(self) -> None:
        if not self._polls.claim(self.name, self._holder, datetime.now(UTC)):
            return
        heart = threading.Thread(target=self._beat, name=f"poll-{self.name}-beat", daemon=True)
        heart.start()
        try:
            with ThreadPoolExecutor(17, thread_name_prefix=f"fetch-{self.name}") as pool:
                try:
                    self._work(pool)
                finally:
                    for one in self._running.values():
                        one.stop.set()
            self._reap(0.0)
        finally:
            self._over.set()
            heart.join()
            self._record_fetched()
            self._polls.release(self.name, self._holder)

    # --- the loop

    def _work(self, pool: ThreadPoolExecutor) -> None:
        while not self._stop.is_set() and not self._lost.is_set():
            now, source = datetime.now(UTC), self._source()
            state = self._polls.poller(self.name)
            working = source is not None and (state.not_before is None or state.not_before <= now)
            did = False
            if working and source is not None:
                at = next_poll(source, state)
                if at is not None and at <= now and self._ask_job is None:  # beside the fetching: a query may take long
                    self._ask_job = pool.submit(self._ask, source, state)
                did = self._launch(pool, source)
                did = did or (self._ask_job is None and self._walk_backfills(source, state))
            if self._running or self._ask_job is not None:
                self._reap(0.2)
            elif not did:
                return

    def _source(self) -> QuerySource | None:
        """The source as it is configured now; None: it is to be left alone."""
        configuration = self._context.configuration()
        source = pollable(configuration, self._context.settings.instance_id).get(self.name)
        return source if source is not None and on_schedule(configuration, source, datetime.now(UTC)) else None

    def _beat(self) -> None:
        """Say that we live; stop when another one has taken over, or when nobody could hear us for too long."""
        last = time.monotonic()
        while not self._over.wait(BEAT_SECONDS):
            try:
                held = self._polls.beat(self.name, self._holder, datetime.now(UTC), self._activity())
                last = time.monotonic()
            except Retry as e:
                log.warning("poller %s: no heartbeat: %s", self.name, e)
                held = time.monotonic() - last < LEASE.total_seconds() / 2
            if not held:
                log.warning("poller %s: another process has taken over", self.name)
                self._lost.set()
                return

    def _activity(self) -> dict[str, Any]:
        fetching = [
            {"study_instance_uid": r.target.key.study, "received": r.received, "expected": r.expected}
            for r in list(self._running.values())
        ]
        return {"found": self._asking, "fetching": fetching, "processed": self._processed, "failed": self._failed}

    def _stopping(self) -> threading.Event:
        return self._lost if self._lost.is_set() else self._stop

    # --- asking

    def _ask(self, source: QuerySource, state: Poller) -> None:
        """The poll's own query."""
        begun = datetime.now(UTC)
        quiet = timedelta(seconds=source.quiet_seconds)
        seen, error = Seen(0, 0, 0, 0), ""
        self._asking = 0
        try:
            query = Query(source.level, resolve_filters(source.filters, today()))
            chunk: list[Match] = []
            for match in source.query(query, self._stop):
                chunk.append(match)
                self._asking += 1
                if len(chunk) >= NOTED_AT_ONCE:
                    seen, chunk = _sum(seen, self._polls.see(self.name, chunk, begun, quiet=quiet)), []
                if self._asking >= source.most_matches:
                    error = f"More than {source.most_matches} matches: narrow the filters, or raise most_matches."
                    break
            seen = _sum(seen, self._polls.see(self.name, chunk, begun, quiet=quiet))
        except Exception as e:  # noqa: BLE001  (a site's own kind may raise anything: its page has to say so)
            self._record(source, found=self._asking, words=self._away(state, e))
            return
        finally:
            self._asking = None
        if self._stopping().is_set():
            return
        if seen.unusable:
            error = error or f"{seen.unusable} matches have no UID that can be asked for: they are left out."
        ended, interval = datetime.now(UTC), timedelta(seconds=source.poll_seconds)
        # A query that takes longer than the interval is followed by a pause as long as itself.
        next_at = max(begun + interval, ended + min(interval, ended - begun)) if interval else None
        self._polls.asked(self.name, seen, ended, next_at, error)
        self._record(source, found=seen.found, queued=seen.queued, words=error)

    def _walk_backfills(self, source: QuerySource, state: Poller) -> bool:
        """The next step of a running back-fill, when what it found so far is fetched. True: there was one."""
        for one in self._backfills.open():
            if one.source != self.name or one.state != "running" or not one.can_go_on or self._running:
                continue
            if one.asked:
                self._backfills.finish(one.id, datetime.now(UTC))
                return True
            return self._ask_day(source, state, one)
        return False

    def _ask_day(self, source: QuerySource, state: Poller, one: Backfill) -> bool:
        day = one.next_day
        own = {path: text for path, text in source.filters.items() if TagPath.parse(path).flat != 0x00080020}
        query = Query(source.level, resolve_filters(own, today()) | {"StudyDate": f"{day:%Y%m%d}"})
        try:
            matches = list(source.query(query, self._stop))
        except Exception as e:  # noqa: BLE001  (as above)
            self._backfills.say(one.id, self._away(state, e))
            return False
        if self._stopping().is_set():
            return False
        seen = self._backfills.day_asked(one, day, matches, datetime.now(UTC))
        self._polls.peer_well(self.name)
        if seen.found:
            self._record(source, found=seen.found, queued=seen.queued, words=f"back-fill, {day}")
        return True

    def _away(self, state: Poller, error: Exception) -> str:
        """A pause for the whole source: as long as the peer asks for, else one that grows. Gives the words."""
        words, after = str(error), getattr(error, "after", None)
        if not isinstance(error, AxiomError):
            words = f"It went wrong here: {type(error).__name__}: {error}"
            log.error("poller %s: a query went wrong", self.name, exc_info=error)
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(state.failures, 10)) * _jitter()
        pause = pause if after is None else max(float(after), FIRST_PAUSE)
        log.warning("poller %s: %s; again in %.0f s", self.name, words, pause)
        self._polls.peer_away(self.name, words, datetime.now(UTC) + timedelta(seconds=pause))
        return words

    # --- fetching

    def _launch(self, pool: ThreadPoolExecutor, source: QuerySource) -> bool:
        """Begin as many retrieves as may run now. True: at least one was begun, or has to wait for its minute."""
        free = source.parallel - len(self._running)
        if free <= 0:
            return False
        paused = [b.id for b in self._backfills.open() if b.state == "paused"]
        busy = {one.target.key for one in self._running.values()}
        limit = source.parallel + len(busy)
        targets = [t for t in self._polls.due(self.name, datetime.now(UTC), limit, paused=paused) if t.key not in busy]
        for target in targets[:free]:
            rest = self._next_begin - time.monotonic()
            if rest > 0:
                self._stop.wait(min(rest, 0.2))
                return True
            if source.per_minute:
                self._next_begin = max(self._next_begin, time.monotonic()) + 60.0 / source.per_minute
            one = _Running(target)
            self._running[pool.submit(_fetch(source, one, self._context))] = one
        return bool(targets)

    def _reap(self, seconds: float) -> None:
        futures: list[Future[Any]] = [*self._running, *filter(None, [self._ask_job])]
        for future in wait(futures, timeout=seconds, return_when=FIRST_COMPLETED).done:
            if future is self._ask_job:
                self._ask_job = None
                future.result()
            else:
                self._settle(self._running.pop(future), future)
        for one in self._running.values():
            source = self._source()
            if source is None or self._stopping().is_set():
                one.stop.set()
            elif time.monotonic() - one.begun > source.retrieve_seconds:
                one.late = True
                one.stop.set()

    def _settle(self, one: _Running, future: Future[Retrieved]) -> None:
        """What became of a retrieve."""
        if self._lost.is_set():
            return  # another one has taken over: it decides
        now, error = datetime.now(UTC), future.exception()
        if error is None:
            result = future.result()
            if one.unwanted:
                self._polls.unwanted(self.name, one.target, one.unwanted)
            elif result.whole:
                self._polls.fetched(self.name, one.target, result.received, now)
                self._polls.peer_well(self.name)
                self._processed += 1
            elif one.late:
                self._try_again(one.target, f"It took longer than retrieve_seconds allows: {result.received} came.", True)
            elif not one.stop.is_set():
                words = result.words or f"{result.received} of {result.expected} instances came."
                self._try_again(one.target, words, True)
            return
        state = self._polls.poller(self.name)
        if isinstance(error, OutOfSpace):
            self._polls.peer_away(self.name, str(error), now + timedelta(seconds=SPACE_PAUSE))
        elif isinstance(error, Permanent) and error.code in GONE:
            self._give_up(one.target, str(error))
        elif isinstance(error, AxiomError):
            # While the peer is away every study fails: that is no word about this one. For ever it is none either.
            self._try_again(one.target, str(error), state.failures % ALONE == 0)
            self._away(state, error)
        else:
            log.error("poller %s: a retrieve went wrong", self.name, exc_info=error)
            self._try_again(one.target, f"It went wrong here: {type(error).__name__}: {error}", True)

    def _try_again(self, target: Target, words: str, counts: bool) -> None:
        source = self._source()
        most = source.attempts if source is not None else 10
        if target.attempts + counts >= most:
            self._give_up(target, words)
            return
        self._last_words = words
        rest = min(LONGEST_REST, FIRST_REST * 2.0 ** min(target.attempts, 12)) * _jitter()
        next_at = datetime.now(UTC) + timedelta(seconds=rest if counts else 1.0)
        self._polls.not_fetched(self.name, target, words, counts=counts, next_at=next_at)

    def _give_up(self, target: Target, words: str) -> None:
        self._failed += 1
        self._last_words = words
        log.warning("poller %s: a study is not fetched and waits for a person: %s", self.name, words)
        self._polls.not_fetched(self.name, target, words, counts=True, next_at=None)

    # --- history

    def _record_fetched(self) -> None:
        source = self._source()
        if source is not None and (self._processed or self._failed):
            self._record(source, processed=self._processed, failed=self._failed, words=self._last_words)

    def _record(
        self, source: QuerySource, *, found: int = 0, queued: int = 0, processed: int = 0, failed: int = 0, words: str = ""
    ) -> None:
        row = {
            "id": f"{self.name}/{self._holder}/{time.time_ns()}", "node": self._context.settings.instance_id,
            "source": self.name, "level": source.level, "found": found, "queued": queued, "processed": processed,
            "failed": failed, "words": words,
        }  # fmt: skip
        try:
            self._context.recorder.write("queries", [row])
        except OSError as e:
            log.warning("a query of %s is not in the history: %s", self.name, e)


def _fetch(source: QuerySource, one: _Running, context: Context) -> Callable[[], Retrieved]:
    def work() -> Retrieved:
        if source.looks_first:
            one.unwanted = unwanted(context, source, one.target.match, one.stop)
            if one.unwanted:
                return Retrieved(0)
        return source.retrieve(one.target.match, context.intake(), one.stop, one.progress)

    return work


def _sum(a: Seen, b: Seen) -> Seen:
    return Seen(*(x + y for x, y in zip(a, b, strict=True)))


def _jitter() -> float:
    return random.uniform(0.9, 1.1)  # noqa: S311


