"""`python -m engine.jobs.watch`: adds up the counters, looks for what alerts ask, and tells it. Started by the supervisor.

A process of its own, which needs neither Redis nor a worker: it has to speak when those are away.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from types import FrameType

from engine.channels.base import Message
from engine.errors import AxiomError
from engine.jobs.alert_state import load_state
from engine.jobs.context import Context, current
from engine.jobs.facts import gather_facts
from engine.jobs.outbox import MessageOutbox
from engine.log import setup_logging
from engine.process import die_with_parent
from engine.security.outward import Outward
from engine.spool.totals import Totals

__all__ = ["Watch", "main"]

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0
FORGET_SECONDS = 60.0


class Watch:
    """One node's watch. `look` is one round."""

    def __init__(self, context: Context) -> None:
        self.context = context
        folder = context.settings.monitor
        self._totals_file, self._state_file = folder / "totals.json", folder / "alerts.json"
        self.totals = Totals.load(self._totals_file)
        self.state = load_state(self._state_file, time.time())
        self.outbox = MessageOutbox(folder / "outbox", Outward(context.settings.allowed_hosts))
        self._saved = b""
        self._next_forget = 0.0

    def look(self, now: datetime | None = None) -> None:
        """Read the journal, note and tell what is to be told, send what is due. Raises AxiomError, OSError: it is tried
        again, and nothing that was not told is forgotten."""
        now = now or datetime.now(UTC)
        configuration = self.context.configuration()
        self._hear(now)
        facts = gather_facts(
            self.context.settings, self.context.spool, configuration, self.totals, self.state.since, now
        )
        self.state.look(configuration.alerts, facts, self.context.settings.instance_id, self.outbox.add)
        if (said := self.state.as_bytes()) != self._saved:
            self.state.save(self._state_file)
            self._saved = said
        self.outbox.send_due({c.name: c for c in configuration.channels})

    def _hear(self, now: datetime) -> None:
        """What happened since the last look: told first, then counted as read."""
        journal = self.context.spool.journal
        lines, cursor = journal.read(self.totals.cursor)
        alerts = [a for a in self.context.configuration().alerts if a.enabled]
        for line in lines:
            for alert in alerts:
                happening = alert.hear(line)
                if happening is None:
                    continue
                message: Message = {
                    "id": f"{line['id']}/{alert.name}", "at": datetime.fromtimestamp(line["at"], UTC).isoformat(),
                    "node": self.context.settings.instance_id, "alert": alert.name, "kind": alert.kind, "state": "event",
                    "subject": happening.subject, "words": happening.words, "todo": "", "since": "",
                    "details": dict(happening.details),
                }  # fmt: skip
                for channel in alert.channels:
                    self.outbox.add(channel, message)
        if cursor != self.totals.cursor:
            self.totals.cursor = cursor
            self.totals.add(lines)
            self.totals.save(self._totals_file)
        if now.timestamp() >= self._next_forget:
            self._next_forget = now.timestamp() + FORGET_SECONDS
            journal.forget(self.totals.cursor, now)


def main() -> int:
    """Look every two seconds until told to end."""
    die_with_parent(signal.SIGKILL)
    context = current()
    setup_logging(context.settings.log_format, context.settings.log_level, process="watch")
    over = threading.Event()

    def end(_signum: int, _frame: FrameType | None) -> None:
        over.set()

    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, end)
    watch = Watch(context)
    while not over.wait(EVERY_SECONDS):
        try:
            watch.look()
        except (AxiomError, OSError) as e:
            log.warning("the watch could not do its round: %s", e)
        except Exception:
            log.exception("the watch's round went wrong: it is tried again")
    watch.outbox.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
