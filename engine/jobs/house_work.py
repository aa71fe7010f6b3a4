"""What keeps the house in order: history sealed and compacted, retentions ended, crosswalks synced,
certificates that end warned of.

None of it is needed for delivery.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time

from engine.errors import Retry
from engine.history.compaction import compact, retire
from engine.history.sealing import seal
from engine.jobs.certificate_work import watch_certificates
from engine.jobs.context import Context
from engine.jobs.crosswalk_work import keep_crosswalks
from engine.store.mirror import mirror_audit

__all__ = ["keep_house"]

log = logging.getLogger(__name__)

RUN_SECONDS = 60.0
SEAL_EVERY = 1.0
REMEMBERED_SECONDS = 30 * 86_400.0
"""So long what comes after a gathering's end is marked late, and what comes again is known."""


def keep_house(context: Context) -> None:
    """Seal every second for a minute, do the slower things once; then the supervisor wakes us anew."""
    settings = context.settings
    begun = time.monotonic()
    slow = False
    over = threading.Event()
    crosswalks = threading.Thread(target=keep_crosswalks, args=(context, over), name="crosswalks", daemon=True)
    crosswalks.start()
    while not context.stopping.exists():
        if time.monotonic() - begun >= RUN_SECONDS:
            over.set()
            if not crosswalks.is_alive():  # a table that is being copied is copied to its end
                break
        _mirror(context)
        seal(settings.history)
        if not slow and time.monotonic() - begun > 5.0:
            slow = True
            compact(settings.history)
            retire(settings.history, days=settings.keep_history_days)
            _retire_batches(context)
            _certificates(context)
        time.sleep(SEAL_EVERY)
    over.set()
    if context.stopping.exists():
        _mirror(context)
        seal(settings.history)


def _mirror(context: Context) -> None:
    """The store's audit into the history. A store that is away is asked again in a second."""
    try:
        mirror_audit(context.store.audit, context.recorder, context.settings.history / "audit-mirrored")
    except Retry as e:
        log.warning("the audit is not mirrored into the history yet: %s", e)


def _certificates(context: Context) -> None:
    try:
        watch_certificates(context)
    except Retry as e:
        log.warning("the ends of certificates are not looked at: %s", e)


def _retire_batches(context: Context) -> None:
    settings, spool = context.settings, context.spool
    spool.retire("kept", settings.keep_delivered_hours * 3600)
    spool.retire("unmatched", settings.keep_unmatched_days * 86_400)
    spool.gatherings.forget_before(REMEMBERED_SECONDS)
    spool.seen.forget(REMEMBERED_SECONDS)
    # Delivered batches are only kept for convenience: they make room, oldest first, well above the watermark.
    while shutil.disk_usage(spool.root).free < 2 * settings.min_free_bytes:
        if not spool.retire("kept", 0, at_most=50):
            break
