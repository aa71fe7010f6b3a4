"""Which sources are polled on a node, and when."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from engine.configuration import Configuration
from engine.sources._query import QuerySource
from engine.store.polls import Poller

__all__ = ["next_poll", "on_schedule", "pollable", "today"]


def pollable(configuration: Configuration, node: str) -> dict[str, QuerySource]:
    """The sources that may be polled on this node."""
    return {
        s.name: s
        for s in configuration.sources
        if isinstance(s, QuerySource) and s.enabled and (not s.instances or node in s.instances)
    }


def on_schedule(configuration: Configuration, source: QuerySource, now: datetime) -> bool:
    """Whether the source may be asked and fetched from now."""
    schedule = next((s for s in configuration.schedules if s.name == source.schedule), None)
    return source.schedule is None or (schedule is not None and schedule.active(now))


def next_poll(source: QuerySource, state: Poller) -> datetime | None:
    """When the source is to be asked by itself; None: not before a person asks. An interval made shorter counts at once."""
    if not source.poll_seconds:
        return state.next_at
    if state.asked_at is None or state.next_at is None:
        return state.next_at or datetime.min.replace(tzinfo=UTC)
    return min(state.next_at, state.asked_at + timedelta(seconds=source.poll_seconds))


def today() -> date:
    """This machine's own date: what a person here means by yesterday."""
    return datetime.now(UTC).astimezone().date()
