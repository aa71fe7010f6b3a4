"""Watches the ends of certificates: written down for the status page once a minute, logged once a day."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict

import orjson

from engine.connection.expiry import look, users_of
from engine.durable import replace_file
from engine.jobs.context import Context

__all__ = ["watch_certificates"]

log = logging.getLogger(__name__)

SAY_EVERY = 86_400.0


def watch_certificates(context: Context) -> None:
    """Look at the certificates of what is switched on; `run/certificates.json` holds what was found and when it was said."""
    configuration = context.configuration()
    families = ("sources", "destinations", "channels")
    parts = ((family, getattr(configuration, family)) for family in families)
    users = users_of(parts, context.settings)
    file = context.settings.run_dir / "certificates.json"
    try:
        said: dict[str, float] = orjson.loads(file.read_bytes())["said"]
    except (OSError, ValueError, KeyError):
        said = {}
    now, found = time.time(), look(users, context.settings.tls_warn_days)
    keep: dict[str, float] = {}
    for one in found:
        if not one.words:
            continue
        text = (
            f"{one.where}: {one.subject} ({one.reference}) {one.words}"
            if one.reference
            else f"{one.where}: {one.words}"
        )
        keep[text] = said.get(text, 0.0)
        if now - keep[text] >= SAY_EVERY:
            log.warning("certificate of %s", text)
            keep[text] = now
    replace_file(file, orjson.dumps({"certificates": [asdict(one) for one in found], "said": keep}))
