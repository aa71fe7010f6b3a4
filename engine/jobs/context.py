"""What every job needs, made once in the worker process and kept up to date in it, so that each forked job starts warm."""

from __future__ import annotations

import functools
from pathlib import Path

from engine.component import import_site_kinds
from engine.configuration import Configuration
from engine.crosswalk.cache import Cache
from engine.flow import Decider
from engine.history.recorder import Recorder
from engine.jobs.queues import Wake
from engine.settings import Settings
from engine.spool.intake import SpoolIntake
from engine.spool.spool import Spool
from engine.store import Store

__all__ = ["Context", "current", "open_intake"]


class Context:
    """The parts of the engine as this process uses them."""

    def __init__(self, settings: Settings) -> None:
        import_site_kinds(filter(None, settings.components.split(",")))
        self.settings = settings
        self.spool = Spool(settings.spool, node=settings.instance_id)
        self.store = Store(settings)
        self.wake = Wake(settings)
        self._decider: Decider | None = None

    @functools.cached_property
    def recorder(self) -> Recorder:
        """Made at the first need: each process has its own segments."""
        return Recorder(self.settings.history)

    @functools.cached_property
    def cache(self) -> Cache:
        """What the crosswalks have answered."""
        return Cache(self.settings.redis)

    def configuration(self) -> Configuration:
        """The live configuration. Cheap while nothing changes."""
        return self.store.live().configuration

    def decider(self) -> Decider:
        """The live revision's rules, compiled once a revision."""
        live = self.store.live()
        if self._decider is None or self._decider.revision != live.revision:
            self._decider = Decider.of(
                live.revision,
                live.configuration,
                original_attributes=self.settings.log_original_attributes,
                history_headers=self.settings.history_headers,
                cache=self.cache,
            )
        return self._decider

    def intake(self) -> SpoolIntake:
        return open_intake(self.spool, self.settings, self.wake)

    @property
    def stopping(self) -> Path:
        """Stands while the engine is being stopped: drains and listeners look for it."""
        return self.settings.run_dir / "stopping"


def open_intake(spool: Spool, settings: Settings, wake: Wake) -> SpoolIntake:
    """The spool's front door as the settings have it: what is ready wakes routing."""

    def ready() -> None:
        wake("route")

    return spool.intake(
        max_instances=settings.batch_instances, min_free_bytes=settings.min_free_bytes, on_ready=ready
    )


@functools.cache
def current() -> Context:
    """This process's context, from its environment."""
    return Context(Settings())
