"""Which findings there are, since when, and what was told of them: kept on disk, so that nothing is told anew after a restart.

A finding is noted first and told at the next look at the earliest. So the id of each message follows from what is on disk,
and a crash between telling and noting tells the same message, not another one.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from engine.alerts.base import Alert, Facts, Finding
from engine.channels.base import Message
from engine.durable import write_durably

__all__ = ["AlertState", "Noted", "load_state"]

log = logging.getLogger(__name__)

Tell = Callable[[str, Message], None]
"""Keeps a message for a channel."""


@dataclass
class Noted:
    """A finding, and what was told of it."""

    alert: str
    kind: str
    subject: str
    words: str
    todo: str
    page: str
    channels: list[str]
    since: float
    """When it was first found, in seconds since the epoch."""
    told: int = 0
    """How many times; 0: it does not last long enough yet."""
    told_at: float = 0.0

    @property
    def firing(self) -> bool:
        return self.told > 0


@dataclass
class AlertState:
    """All findings of a node, by alert and subject."""

    since: float
    """Since when the node is watched."""
    noted: dict[str, Noted] = field(default_factory=dict)

    def look(self, alerts: Iterable[Alert], facts: Facts, node: str, tell: Tell) -> None:
        """Compare what is found now with what is noted; tell what begins, lasts and is over."""
        now = facts.now.timestamp()
        by_name = {alert.name: alert for alert in alerts if alert.enabled}
        found: dict[str, tuple[Alert, Finding]] = {}
        broken: set[str] = set()
        for alert in by_name.values():
            try:
                found |= {f"{alert.name}\n{finding.subject}": (alert, finding) for finding in alert.look(facts)}
            except Exception:
                # A site's own kind may fail in its own way: what it found is not over by that, and the others are looked for.
                log.exception("the alert %s could not look", alert.name)
                broken.add(alert.name)
        for key in list(self.noted):
            if key not in found and self.noted[key].alert not in broken:
                self._over(self.noted.pop(key), facts.now, node, tell)
        for key, (alert, finding) in found.items():
            noted = self.noted.get(key)
            if noted is None:
                self.noted[key] = _note(alert, finding, now)
                continue
            noted.words, noted.todo, noted.channels = finding.words, finding.todo, list(alert.channels)
            due = noted.since + alert.patience
            if noted.told:
                due = noted.told_at + alert.again_minutes * 60 if alert.again_minutes else float("inf")
            if now >= due:
                noted.told += 1
                noted.told_at = now
                _tell(noted, "firing", facts.now, node, tell)

    @staticmethod
    def _over(noted: Noted, now: datetime, node: str, tell: Tell) -> None:
        if noted.firing:
            noted.told += 1
            _tell(noted, "resolved", now, node, tell)

    def save(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(file, self.as_bytes())

    def as_bytes(self) -> bytes:
        return orjson.dumps(asdict(self))


def load_state(file: Path, now: float) -> AlertState:
    """What `save` wrote; nothing yet: the watch begins `now`."""
    try:
        data: dict[str, Any] = orjson.loads(file.read_bytes())
    except FileNotFoundError:
        return AlertState(since=now)
    return AlertState(data["since"], {key: Noted(**one) for key, one in data["noted"].items()})


def _note(alert: Alert, finding: Finding, now: float) -> Noted:
    return Noted(
        alert.name, alert.kind, finding.subject, finding.words, finding.todo, finding.page, list(alert.channels), now
    )


def _tell(noted: Noted, state: str, now: datetime, node: str, tell: Tell) -> None:
    told = f"{node}\n{noted.alert}\n{noted.subject}\n{noted.since}\n{noted.told}"
    message: Message = {
        "id": hashlib.sha256(told.encode()).hexdigest()[:32], "at": now.isoformat(), "node": node, "alert": noted.alert,
        "kind": noted.kind, "state": state, "subject": noted.subject,
        "words": noted.words if state == "firing" else f"Over: {noted.words}",
        "todo": noted.todo if state == "firing" else "",
        "since": datetime.fromtimestamp(noted.since, UTC).isoformat(), "details": {"times_told": noted.told},
    }  # fmt: skip
    for channel in noted.channels:
        tell(channel, message)
