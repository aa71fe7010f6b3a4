"""The jobs, as RQ runs them: each a few lines that call a drain or a source."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from pathlib import Path

import orjson

from engine.durable import replace_file
from engine.errors import AxiomError
from engine.jobs import drains, house_work, polling
from engine.jobs.context import current
from engine.process import die_with_parent
from engine.sources.base import Source, SourceStatus

__all__ = ["deliver", "house", "listen", "poll", "route"]

log = logging.getLogger(__name__)


def route() -> int:
    """Drain the batches that are ready."""
    die_with_parent(signal.SIGKILL)
    return drains.drain_ready(current())


def deliver() -> int:
    """Drain the deliveries that are due."""
    die_with_parent(signal.SIGKILL)
    return drains.drain_deliveries(current())


def poll() -> int:
    """Give the pollers that have work their turns."""
    die_with_parent(signal.SIGKILL)
    return polling.drain_polls(current())


def house() -> None:
    """Seal and compact history, end retentions."""
    die_with_parent(signal.SIGKILL)
    house_work.keep_house(current())


def listen(name: str, status_file: str, stop_file: str) -> None:
    """Run a listening source until its stop file stands; keep its status file up to date."""
    die_with_parent(signal.SIGKILL)
    context = current()
    source = context.configuration().source(name)
    status = SourceStatus(
        name=name, kind=getattr(source, "kind", ""), state="starting", pid=os.getpid(), since=time.time()
    )
    stop, ended = threading.Event(), threading.Event()
    reporter = threading.Thread(
        target=_report, args=(status, Path(status_file), Path(stop_file), context.stopping, stop, ended), daemon=True
    )
    reporter.start()
    try:
        if isinstance(source, Source):
            source.run(context.intake(), stop, status)
        status["state"] = "stopped"
    except AxiomError as e:
        status.update(state="failed", error=str(e))
        log.error("listener %s: %s", name, e)  # noqa: TRY400  (a sentence for a person; no trace belongs to it)
    except Exception as e:
        status.update(state="failed", error=f"{type(e).__name__}: {e}")
        log.exception("listener %s failed", name)
    finally:
        ended.set()
        reporter.join()


def _report(
    status: SourceStatus, file: Path, stop_file: Path, stopping: Path, stop: threading.Event, ended: threading.Event
) -> None:
    """Write the status twice a second while the listener runs, and once when it has ended; pass the stop on."""
    while True:
        over = ended.wait(0.25)
        if stop_file.exists() or stopping.exists():
            stop.set()
        try:
            replace_file(file, orjson.dumps(dict(status) | {"beat": time.time()}, default=str))
        except OSError:
            log.warning("the status of the listener %s cannot be written", status.get("name"), exc_info=True)
        if over:
            return
