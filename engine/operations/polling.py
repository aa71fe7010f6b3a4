"""Pollers, looked at and steered by people: what each has seen and fetched, what it could not, back-fills."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from engine.configuration import Configuration
from engine.errors import Conflict, Missing
from engine.jobs.poll_times import next_poll, on_schedule, pollable
from engine.sources._query import QuerySource
from engine.store.polls import Poller

if TYPE_CHECKING:
    from engine.operations import Operations

__all__ = ["Polling"]

_NOTHING = {"waiting": 0, "fetched": 0, "failed": 0, "retrying": 0, "unmatched": 0}


class Polling:
    """What people do with pollers. Every change is in the audit."""

    def __init__(self, ops: Operations) -> None:
        self._ops = ops

    def pollers(self) -> list[dict[str, Any]]:
        """Each source that can be asked: state, when it is asked next, what became of what was seen."""
        configuration = self._ops.store.live().configuration
        sources = [s for s in configuration.sources if isinstance(s, QuerySource)]
        if not sources:
            return []
        states, counts = self._ops.store.polls.pollers(), self._ops.store.polls.counts()
        now = datetime.now(UTC)
        return [
            self._told(configuration, s, states.get(s.name, Poller(s.name)), now) | _NOTHING | counts.get(s.name, {})
            for s in sources
        ]

    def _told(self, configuration: Configuration, source: QuerySource, state: Poller, now: datetime) -> dict[str, Any]:
        held = state.held(now, self._ops.settings.instance_id)
        activity = dict(state.activity or {}) if held else {}
        next_at = next_poll(source, state)
        if state.not_before is not None and next_at is not None:
            next_at = max(next_at, state.not_before)
        return {
            "name": source.name, "kind": source.kind, "level": source.level, "enabled": source.enabled,
            "state": self._state(configuration, source, state, now, activity, held=held),
            "node": state.holder.partition("/")[0] if held else "",
            "next_at": max(next_at, now).isoformat() if next_at is not None and source.enabled else "",
            "asked_at": state.asked_at.isoformat() if state.asked_at is not None else "",
            "found": state.found, "queued": state.queued, "error": state.error,
            "asking": activity.get("found"), "fetching": activity.get("fetching", []),
        }  # fmt: skip

    def _state(
        self, configuration: Configuration, source: QuerySource, state: Poller, now: datetime, activity: dict[str, Any],
        *, held: bool,
    ) -> str:
        """`off asking fetching away off-peak waiting on-demand`: the first that is true."""
        if not source.enabled:
            return "off"
        if held and activity.get("found") is not None:
            return "asking"
        if held and activity.get("fetching"):
            return "fetching"
        if state.not_before is not None and state.not_before > now:
            return "away"
        if not on_schedule(configuration, source, now):
            return "off-peak"
        return "waiting" if source.poll_seconds else "on-demand"

    def poll_now(self, name: str, who: str) -> dict[str, Any]:
        """Ask a source soon, whatever its interval. Raises Missing, Conflict."""
        self._running(name)
        self._ops.store.polls.poll_now(name, datetime.now(UTC))
        self._say(who, "poll", "sources", name)
        self._ops.wake("poll")
        return {"name": name, "asked_for": True}

    def troubled(self, name: str, limit: int = 200, *, mask: bool = False) -> list[dict[str, Any]]:
        """What could not be fetched: given up, or tried again. Raises Missing."""
        self._source(name)
        rows = self._ops.store.polls.troubled(name, limit)
        return [row | {"attributes": {}} for row in rows] if mask else rows

    def retry(self, name: str, studies: Sequence[str], who: str) -> dict[str, Any]:
        """Try again now what could not be fetched: these studies, or all. Raises Missing, Conflict."""
        self._running(name)
        done = self._ops.store.polls.retry(name, studies, datetime.now(UTC))
        self._say(who, "retry", "sources", name, studies=len(studies) or "all", again=done)
        self._ops.wake("poll")
        return {"name": name, "again": done}

    # --- back-fills

    def backfills(self, source: str = "", limit: int = 100) -> list[dict[str, Any]]:
        """The newest first."""
        return [one.as_json() for one in self._ops.store.backfills.listing(source, limit)]

    def backfill(self, backfill: str) -> dict[str, Any]:
        """One, as far as it is. Raises Missing."""
        return self._ops.store.backfills.get(backfill).as_json()

    def create_backfill(self, source: str, first: date, last: date, who: str, *, again: bool = False) -> dict[str, Any]:
        """Have everything of these study dates fetched, day by day; `again`: also what was fetched before.

        Raises Missing, Invalid for a range that is none, Conflict while the source has a back-fill already.
        """
        self._running(source)
        one = self._ops.store.backfills.create(source, first, last, who=who, now=datetime.now(UTC), again=again)
        self._say(who, "create", "backfills", one.id, source=source, first=str(first), last=str(last), again=again)
        self._ops.wake("poll")
        return one.as_json()

    def change_backfill(self, backfill: str, action: str, who: str) -> dict[str, Any]:
        """`pause`, `resume` or `cancel`: what is being fetched just now is fetched to its end. Raises Missing, Conflict."""
        one = self._ops.store.backfills.change(backfill, action, datetime.now(UTC))
        self._say(who, action, "backfills", backfill, source=one.source)
        self._ops.wake("poll")
        return one.as_json()

    # --- within

    def _source(self, name: str) -> QuerySource:
        configuration = self._ops.store.live().configuration
        known = {s.name: s for s in configuration.sources if isinstance(s, QuerySource)}
        if name not in known:
            there = ", ".join(sorted(known)) or "none yet"
            raise Missing(f"There is no source called {name} that can be asked; there are: {there}.")
        return known[name]

    def _running(self, name: str) -> None:
        """Raises Conflict for one that is switched off: what is asked of it would never happen."""
        source = self._source(name)
        nodes = source.instances or [self._ops.settings.instance_id]
        if not any(name in pollable(self._ops.store.live().configuration, node) for node in nodes):
            raise Conflict(f"The source {name} is paused: resume it first.")

    def _say(self, who: str, action: str, family: str, name: str, **detail: Any) -> None:
        self._ops.store.audit.write(who=who, action=action, family=family, name=name, detail=detail)
