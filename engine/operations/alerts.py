"""What alerts found on this node, and what became of their messages."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from engine.jobs.alert_state import load_state
from engine.jobs.outbox import said, waiting

if TYPE_CHECKING:
    from engine.operations import Operations

__all__ = ["alerts"]


def alerts(ops: Operations) -> dict[str, Any]:
    """`firing`: what is amiss, the oldest first; `by_alert`: how much, by alert; `messages`: how many wait, by channel;
    `channels`: why each takes nothing, "" when it does."""
    configuration = ops.store.live().configuration
    folder = ops.settings.monitor
    state = load_state(folder / "alerts.json", 0.0)
    firing = sorted((n for n in state.noted.values() if n.firing), key=lambda n: (n.since, n.alert, n.subject))
    counts = Counter(n.alert for n in firing)
    return {
        "firing": [
            {
                "alert": n.alert, "kind": n.kind, "subject": n.subject, "words": n.words, "todo": n.todo, "page": n.page,
                "since": datetime.fromtimestamp(n.since, UTC).isoformat(), "channels": n.channels,
            }
            for n in firing
        ],
        "by_alert": {a.name: counts[a.name] for a in configuration.alerts},
        "messages": waiting(folder / "outbox"),
        "channels": {c.name: said(folder / "outbox", c.name) for c in configuration.channels},
    }  # fmt: skip
