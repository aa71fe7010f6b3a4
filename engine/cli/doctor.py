"""`axiom doctor`: what is well and what is not, in words."""

from __future__ import annotations

import shutil
import time
import urllib.error
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from engine.cli.own import ask_own
from engine.cli.show import AsJson, emit, example, settings
from engine.errors import AxiomError

if TYPE_CHECKING:
    from engine.operations import Operations
    from engine.settings import Settings

__all__ = ["Finding", "add", "examine"]

CHECK_SECONDS = 20.0


class Finding(NamedTuple):
    """One line: what was looked at, whether it is well (None: does not apply), and in words."""

    what: str
    ok: bool | None
    words: str


def add(app: typer.Typer) -> None:
    app.command(epilog=example("axiom doctor", "axiom doctor --json"))(doctor)


def doctor(as_json: AsJson = False) -> None:
    """Say what is well and what is not: home, disk, store, Redis, engine, listeners, API, workbench, destinations, clock.

    Exit 1 if anything is not well.
    """
    findings = []
    for finding in examine(settings()):
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        emit([f._asdict() for f in findings])
    bad = sum(f.ok is False for f in findings)
    if not as_json:
        typer.echo("All is well." if not bad else f"{bad} of {len(findings)} need a look.")
    if bad:
        raise typer.Exit(1)


def _show(finding: Finding) -> None:
    sign, colour = {True: ("✓", "green"), False: ("✗", "red"), None: ("-", "bright_black")}[finding.ok]
    typer.echo(f"{typer.style(sign, fg=colour)} {finding.what}: {finding.words}")


def examine(now: Settings) -> Iterator[Finding]:
    """Look at everything, one after the other; what cannot be looked at is a finding too. Changes nothing."""
    home = _home(now)
    yield home
    if not home.ok:
        return
    yield _disk(now)
    yield _redis(now)
    from engine.operations import Operations

    ops = Operations(now)
    store = _tried("store", lambda: _store(ops))
    yield store
    if store.ok:
        yield from _engine(ops)
    yield _web("API", f"{now.api}/health/ready")
    yield _web("workbench", f"{now.scheme}://{now.api.partition('://')[2].rpartition(':')[0]}:{now.app_port}/_stcore/health")
    if store.ok:
        yield from _certificates(ops)
        yield from _destinations(ops)
    yield _clock(now)


def _tried(what: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except (AxiomError, OSError) as e:
        return Finding(what, False, str(e))


def _home(now: Settings) -> Finding:
    from engine.cli.preflight import make_home

    if not now.home.exists():
        return Finding("home", False, f"{now.home.resolve()} does not exist yet: `axiom up` makes it.")

    def look() -> Finding:
        make_home(now.home)
        return Finding("home", True, f"{now.home.resolve()} can be written")

    return _tried("home", look)


def _disk(now: Settings) -> Finding:
    usage = shutil.disk_usage(now.home)
    free, least = usage.free >> 20, now.min_free_bytes >> 20
    words = f"{free:,} MB free of {usage.total >> 20:,}"
    if free < least:
        return Finding("disk", False, f"{words}: below {least} MB (AXIOM_MIN_FREE_MB), so nothing is received")
    return Finding("disk", True, f"{words}; receiving stops below {least}")


def _store(ops: Operations) -> Finding:
    revision = ops.store.live().revision
    return Finding("store", True, f"{ops.store.database.place}, up to date, revision {revision}")


def _redis(now: Settings) -> Finding:
    from engine.cli.preflight import redis_answers, without_password

    def look() -> Finding:
        words = redis_answers(now.redis, ours=not now.redis_url)
        return Finding("Redis", True, f"{words} at {without_password(now.redis)}")

    return _tried("Redis", look)


def _engine(ops: Operations) -> Iterator[Finding]:
    try:
        status = ops.status()
    except AxiomError as e:
        yield Finding("engine", False, str(e))
        return
    workers = status["engine"]["workers"]
    if not status["engine"]["running"]:
        yield Finding("engine", False, "does not run: start `axiom up` (or `axiom engine`)")
    else:
        down = [w for w in workers if w["state"] != "running"]
        words = ", ".join(f"{w['name']} {w['ended'] or w['state']}" for w in down) or f"runs with {len(workers)} workers"
        yield Finding("engine", not down, words)
        for listener in status["listeners"]:
            yield _listener(listener)
    yield _waiting_for_people(status)


def _listener(listener: dict[str, Any]) -> Finding:
    what = f"listener {listener['name']}"
    if listener["state"] == "stopped":  # while the engine runs: switched off, or of another node
        return Finding(what, None, "not of this node" if listener["enabled"] else "switched off")
    words = " at ".join(filter(None, (listener["state"], listener["address"])))
    return Finding(what, listener["state"] == "listening", words + (f": {listener['error']}" if listener["error"] else ""))


def _waiting_for_people(status: dict[str, Any]) -> Finding:
    held, dead = status["held"], status["dead"]
    words = f"{held} held, {dead} dead letters"
    return Finding("for a person", None if held or dead else True, words if held or dead else "nothing is held or dead")


def _web(what: str, url: str) -> Finding:
    try:
        with ask_own(url, 5) as response:
            return Finding(what, response.status == 200, f"answers at {url}")
    except urllib.error.HTTPError as e:
        return Finding(what, False, f"answers {e.code} at {url}")
    except (urllib.error.URLError, OSError, ValueError) as e:
        return Finding(what, False, f"does not answer at {url}: {getattr(e, 'reason', e)}")


def _certificates(ops: Operations) -> Iterator[Finding]:
    """The certificates of sources and destinations, read here and now: those that end soon one by one, the others at once."""
    from engine.connection.expiry import look, users_of

    live = ops.store.live().configuration
    parts = ((family, getattr(live, family)) for family in ("sources", "destinations", "channels"))
    found = look(users_of(parts, ops.settings), ops.settings.tls_warn_days)
    for one in found:
        if one.words:
            yield Finding(f"certificate of {one.where}", False, " ".join(filter(None, (one.subject, one.words))))
    if found and not any(one.words for one in found):
        yield Finding("certificates", True, f"{len(found)}, the first ends on {found[0].valid_until[:10]}: {found[0].where}")


def _destinations(ops: Operations) -> Iterator[Finding]:
    """Each one's own `check()`, at the same time: a peer that is away costs its time-out once."""
    destinations = [d for d in ops.store.live().configuration.destinations if d.enabled]
    pool = ThreadPoolExecutor(max_workers=8)
    checks = [(d, pool.submit(d.check)) for d in destinations]
    deadline = time.monotonic() + CHECK_SECONDS
    for destination, check in checks:
        what = f"destination {destination.name}"
        try:
            ticks = check.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            yield Finding(what, False, f"no answer within {CHECK_SECONDS:.0f} s")
            continue
        bad = [t for t in ticks if t.ok is False]
        yield Finding(what, not bad, "; ".join(f"{t.name}: {t.words}" for t in (bad or ticks)))
    pool.shutdown(wait=False, cancel_futures=True)


def _clock(now: Settings) -> Finding:
    """Against the API's clock, which matters when it is on another machine; and whether the year can be right."""
    here = datetime.now().astimezone()
    if here.year < 2025:
        return Finding("clock", False, f"it says {here:%Y-%m-%d %H:%M}: set it, or start NTP")
    try:
        with ask_own(f"{now.api}/health/live", 5) as response:
            apart = abs((parsedate_to_datetime(response.headers["Date"]) - here).total_seconds())
    except (urllib.error.URLError, OSError, ValueError, TypeError):
        return Finding("clock", True, f"{here:%Y-%m-%d %H:%M:%S %Z}")
    if apart > 30:
        return Finding("clock", False, f"{apart:.0f} s apart from the API's machine: start NTP on both")
    return Finding("clock", True, f"{here:%Y-%m-%d %H:%M:%S %Z}")
