"""The facts that alerts look at, gathered from the node's spool and from what its processes say of themselves."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import orjson

from engine.alerts.base import CertificateFact, DestinationFact, Facts, ListenerFact, SourceFact
from engine.configuration import Configuration
from engine.jobs.listeners import status_of, wanted_sources
from engine.settings import Settings
from engine.spool.spool import Spool
from engine.spool.totals import Totals

__all__ = ["gather_facts"]

FRESH_SECONDS = 10.0


def gather_facts(
    settings: Settings, spool: Spool, configuration: Configuration, totals: Totals, since: float, now: datetime
) -> Facts:
    """The node as it is now. Raises OSError when its spool cannot be read."""
    disk = os.statvfs(spool.root)
    here = [s for s in configuration.sources if s.enabled and (not s.instances or settings.instance_id in s.instances)]
    return Facts(
        now=now,
        since=_moment(since),
        destinations=[
            _destination(spool, totals, d.name, now, enabled=d.enabled) for d in configuration.destinations
        ],
        sources=[
            SourceFact(s.name, _moment(totals.received_at[s.name]) if s.name in totals.received_at else None) for s in here
        ],
        listeners=list(_listeners(settings, configuration)),
        certificates=list(_certificates(settings)),
        schedules={s.name: s for s in configuration.schedules},
        held=sum(name.endswith(".dcm") for folder in spool.batches("held") for name in _names(os.fspath(folder))),
        free_bytes=disk.f_bavail * disk.f_frsize,
        total_bytes=disk.f_blocks * disk.f_frsize,
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _destination(spool: Spool, totals: Totals, name: str, now: datetime, *, enabled: bool) -> DestinationFact:
    entries = spool.outbox.entries(name)
    began = min((delivery for _, delivery in entries), default="")
    oldest = (now - _began(began, now)).total_seconds() if began else 0.0
    failing = totals.failing.get(name)
    return DestinationFact(
        name, enabled, len(entries), max(0.0, oldest), None if failing is None else _moment(failing),
        totals.codes.get(name, ""),
    )  # fmt: skip


def _began(delivery: str, now: datetime) -> datetime:
    """A batch's name begins with its time."""
    try:
        return datetime.strptime(delivery[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return now


def _listeners(settings: Settings, configuration: Configuration) -> Iterator[ListenerFact]:
    """What each listener's process says; the newest generation speaks."""
    folder = settings.run_dir / "listeners"
    said = {}
    for file in sorted(folder.glob("*.json"), key=lambda f: f.stat().st_mtime) if folder.is_dir() else ():
        words = status_of(file)
        said[str(words.get("name", ""))] = words
    for name in wanted_sources(configuration, settings.instance_id):
        words = said.get(name, {})
        fresh = time.time() - float(str(words.get("beat", 0))) < FRESH_SECONDS
        error = str(words.get("error") or "") if words.get("state") == "failed" else ""
        yield ListenerFact(name, fresh and words.get("state") == "listening", error)


def _certificates(settings: Settings) -> Iterator[CertificateFact]:
    """As the engine wrote them down, where it does; what cannot be read says so elsewhere."""
    try:
        found = orjson.loads((settings.run_dir / "certificates.json").read_bytes())["certificates"]
    except (OSError, ValueError, KeyError):
        return
    for one in found:
        if one.get("valid_until"):
            until = datetime.fromisoformat(str(one["valid_until"]))
            yield CertificateFact(str(one.get("where", "")), str(one.get("subject", "")), until)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  (names are enough; a box may hold very many)
    except FileNotFoundError:
        return []  # released in this moment
