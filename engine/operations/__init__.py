"""What people and the API do with a running engine beyond its configuration: look, retry, discard, replay, try a rule.

One call each; the API, the command and the pages only parse and show.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.component import import_site_kinds
from engine.configuration import Configuration
from engine.crosswalk.cache import Cache
from engine.history.apart import Apart
from engine.history.reader import Reader
from engine.history.recorder import Recorder
from engine.jobs.context import open_intake
from engine.jobs.queues import Wake
from engine.model import Association
from engine.operations import boxes, browser, crosswalk, deliveries, gatherings, inquiry, status, story, trial
from engine.operations.polling import Polling
from engine.operations.reception import StoreDoor
from engine.settings import Settings
from engine.spool.intake import SpoolIntake
from engine.spool.spool import Spool
from engine.store import Store

__all__ = ["Operations"]


class Operations:
    """The facade over one node's engine. Thread-safe; parts are opened at their first need."""

    def __init__(self, settings: Settings, store: Store | None = None) -> None:
        import_site_kinds(filter(None, settings.components.split(",")))
        self.settings = settings
        self.spool = Spool(settings.spool, node=settings.instance_id)
        self.wake = Wake(settings)
        self.asking = browser.Asking()
        self._store = store

    @functools.cached_property
    def store(self) -> Store:
        return self._store or Store(self.settings)

    @functools.cached_property
    def history(self) -> Reader:
        return Reader(self.settings.history)

    @functools.cached_property
    def apart(self) -> Apart:
        """The history for SQL that people write."""
        return Apart(self.settings.history)

    @functools.cached_property
    def recorder(self) -> Recorder:
        return Recorder(self.settings.history, self.settings.instance_id)

    @functools.cached_property
    def cache(self) -> Cache:
        return Cache(self.settings.redis)

    @functools.cached_property
    def polling(self) -> Polling:
        """Pollers and back-fills."""
        return Polling(self)

    def close(self) -> None:
        """End what was begun for questions. What is asked after that begins anew."""
        if "apart" in self.__dict__:
            self.apart.close()

    # --- receiving

    def intake(self) -> SpoolIntake:
        """The spool's front door, for what comes in through the API."""
        return open_intake(self.spool, self.settings, self.wake)

    def store_door(self, user: str, address: str) -> StoreDoor:
        """The source that takes a sender's store request. Raises Missing, Denied, Retry, OutOfSpace."""
        return StoreDoor(self, user, address)

    # --- looking

    def status(self) -> dict[str, Any]:
        """The node as it is now: listeners, queues, workers, spool, destinations."""
        return status.status(self)

    def flow_picture(self, minutes: int = 60) -> dict[str, Any]:
        """Sources, rules and destinations with what went between them in the last `minutes`, from history and spool."""
        return story.flow_picture(self, minutes)

    def instances(self, text: str = "", limit: int = 100, *, mask: bool = False) -> list[dict[str, Any]]:
        """Received instances, newest first, whose patient, accession number, UIDs or names hold `text`."""
        return story.instances(self, text, limit, mask=mask)

    def instance(self, sop_instance_uid: str, *, mask: bool = False) -> dict[str, Any]:
        """One image's whole story: each reception with its decisions, changes and delivery attempts. Raises Missing."""
        return story.instance(self, sop_instance_uid, mask=mask)

    def query(
        self, sql: str, *, limit: int = 10_000, timeout: float = 30.0, mask: bool = False
    ) -> Any:
        """A person's SELECT over the history's views, as an Arrow table with `truncated` beside it. Raises Invalid."""
        return self.apart.query(sql, limit=limit, timeout_s=timeout, mask=mask)

    # --- the data browser

    def browse_sources(self) -> list[dict[str, Any]]:
        """The sources that can be asked."""
        return browser.sources(self)

    def browse(
        self, source: str, level: str, filters: Mapping[str, str], fields: Sequence[str] = (), *, limit: int = 100,
        offset: int = 0, seconds: float = 30.0, mask: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """What a source has: `{matches: [...], more, words, ...}`. Raises Missing, Invalid, Denied, Retry, Permanent."""
        return browser.query(
            self, source, level, filters, fields, limit=limit, offset=offset, seconds=seconds, mask=mask
        )

    def route_selected(self, source: str, items: Sequence[Mapping[str, Any]], who: str) -> dict[str, Any]:
        """Have matches fetched and sent through the rules. Raises Missing, Invalid, Conflict, Retry, Permanent."""
        return browser.route(self, source, items, who)

    def selected_routes(self, limit: int = 50) -> list[dict[str, Any]]:
        """The latest of them, newest first, with counts."""
        return self.store.browser_routes.listing(limit)

    def selected_route(self, route: str) -> dict[str, Any]:
        """One with the state of each of its items. Raises Missing."""
        return self.store.browser_routes.one(route)

    # --- held and unmatched

    def held(self, limit: int = 200, *, mask: bool = False) -> list[dict[str, Any]]:
        return boxes.listing(self, "held", limit, mask=mask)

    def unmatched(self, limit: int = 200, *, mask: bool = False) -> list[dict[str, Any]]:
        return boxes.listing(self, "unmatched", limit, mask=mask)

    def retry_held(self, ids: Iterable[str], who: str) -> dict[str, Any]:
        """Send held batches through the rules again, as they are now live."""
        return boxes.release(self, "held", ids, who)

    def replay_unmatched(self, ids: Iterable[str], who: str) -> dict[str, Any]:
        """Send batches that no rule matched through the rules again."""
        return boxes.release(self, "unmatched", ids, who)

    def discard_held(self, ids: Iterable[str], reason: str, who: str) -> dict[str, Any]:
        """Throw held batches away for good, on a person's word, which history keeps."""
        return boxes.discard(self, "held", ids, reason, who)

    # --- deliveries

    def deliveries(
        self, state: str | None = None, destination: str | None = None, limit: int = 200
    ) -> list[dict[str, Any]]:
        """Unfinished deliveries (`waiting`, `sending`, `dead`), dead ones first."""
        return deliveries.listing(self, state, destination, limit)

    def unfinished_deliveries(self, destination: str) -> int:
        """How many deliveries to a destination wait, are being sent or need a person, on this node."""
        return deliveries.unfinished(self, destination)

    def retry_deliveries(self, ids: Iterable[str], who: str) -> dict[str, Any]:
        """Try deliveries again now, with their refused instances; the same bytes are sent."""
        return deliveries.retry(self, ids, who)

    def discard_deliveries(self, ids: Iterable[str], reason: str, who: str) -> dict[str, Any]:
        """Give up what is left of deliveries, on a person's word, which ledger and history keep."""
        return deliveries.discard(self, ids, reason, who)

    def gatherings(self, limit: int = 200) -> list[dict[str, Any]]:
        """Series and studies that are being gathered before they go, first to end first."""
        return gatherings.listing(self, limit)

    def send_gatherings(self, ids: Iterable[str], who: str) -> dict[str, Any]:
        """Deliver them now, with what has come so far."""
        return gatherings.send_now(self, ids, who)

    # --- crosswalks

    def crosswalk_status(self) -> dict[str, Any]:
        """`{"maps": [{name, source, synced, state, rows, total, ...}], "redis": ""}`."""
        return crosswalk.status(self)

    def crosswalk_lookup(self, name: str, values: Sequence[str]) -> dict[str, Any]:
        """What a map says of one key, its values in the order of the map's matched tags. Raises Missing, Invalid, Hold."""
        return crosswalk.lookup(self, name, values)

    def crosswalk_sync(self, name: str, who: str, progress: Callable[[int, int], None] = lambda *_: None) -> dict[str, Any]:
        """Copy a map's whole table into the cache, now. Raises Missing, Conflict, Retry, Hold."""
        return crosswalk.sync_now(self, name, who, progress)

    def crosswalk_ask_for_sync(self, name: str, who: str) -> dict[str, Any]:
        """Have the engine copy it within seconds; the status says how far it is. Raises Missing, Retry."""
        return crosswalk.ask_for_sync(self, name, who)

    # --- trying

    def test_rules(
        self, path: Path, association: Association, configuration: Configuration | Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """What the rules (live, or a draft) say of a file, with each branch's changes. Nothing is sent. Raises Hold, Invalid."""
        return trial.test_rules(self, path, association, configuration)

    def what_if(
        self,
        draft: Configuration | Mapping[str, Any],
        *,
        days: float = 30,
        samples: int = 5,
        timeout: float = 120.0,
    ) -> dict[str, Any]:
        """What the draft's rules would have matched and sent of what came in the last `days`, against the live rules.

        Raises Invalid for a draft that does not hold, or a history too long to be asked within `timeout` seconds.
        """
        return inquiry.what_if(self, draft, days, samples, timeout)

    def analysis(self, *, days: int = 30, timeout: float = 60.0) -> dict[str, Any]:
        """Rules that can never match, are never reached, equal or contradict others, or matched nothing in `days`."""
        return inquiry.analysis(self, days, timeout)
