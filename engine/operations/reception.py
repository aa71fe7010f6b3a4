"""Instances that come in through the API: which source takes them, and whether this node can keep them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import orjson

from engine.dicom.store_response import StoreResponse
from engine.errors import Denied, Missing, Retry
from engine.model import Association
from engine.sources._addresses import plain_address
from engine.sources.stow_rs import StowRs
from engine.spool.intake import SpoolIntake

if TYPE_CHECKING:
    from engine.operations import Operations

__all__ = ["StoreDoor"]

FRESH_SECONDS = 30.0
"""How old the engine's last word may be: what is stored while it is being started again is found by its sweep."""


class StoreDoor:
    """The source that takes one sender's store request, opened for it."""

    def __init__(self, ops: Operations, user: str, address: str) -> None:
        """`user`: as rules see it, `name` or `name/key name`. Raises Missing, Denied or Retry, before anything is read.

        The same when there is no room: OutOfSpace.
        """
        address = plain_address(address)
        self._ops = ops
        self.source = _choose(ops, user, address)
        _need_engine(ops)
        self._association = Association(
            source=self.source.name, source_kind=self.source.kind, source_ip=address, user=user
        )
        self._intake: SpoolIntake = ops.intake()
        self._intake.require_space()

    def receive(self, chunks: Iterable[bytes], content_type: str, study: str) -> StoreResponse:
        """See `StowRs.receive`."""
        scratch = self._ops.settings.run_dir / "uploads"
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self.source.receive(chunks, content_type, study, self._association, self._intake, scratch)


def _choose(ops: Operations, user: str, address: str) -> StowRs:
    """The first source, by name, that stands on this node and lets the sender in."""
    found = [s for s in ops.store.live().configuration.sources if isinstance(s, StowRs)]
    if not found:
        raise Missing("STOW-RS is not set up here: add a source of kind stow_rs (workbench: Sources; POST /api/v1/sources).")
    node = ops.settings.instance_id
    here = [s for s in found if s.enabled and (not s.instances or node in s.instances)]
    if not here:
        raise Retry(f"The source {found[0].name} is switched off, or stands on other nodes than {node}.", after=60)
    for source in sorted(here, key=lambda s: s.name):
        if source.lets_in(user, address):
            return source
    raise Denied(f"No source of kind stow_rs takes images from you at {address}.", known=True)


def _need_engine(ops: Operations) -> None:
    """Raises Retry when no engine stands beside this API: what it took would lie in a spool that nobody empties."""
    try:
        beat = orjson.loads((ops.settings.run_dir / "engine.json").read_bytes()).get("beat", 0)
    except (OSError, orjson.JSONDecodeError):
        beat = 0
    if time.time() - beat > FRESH_SECONDS or (ops.settings.run_dir / "stopping").exists():
        raise Retry("No engine runs beside this API, so it cannot take images: send to a node with an engine, or start it.")
