"""How tests make morphs: from their configuration, as a person writes it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import engine.morphs
from engine.component import kinds
from engine.morphs.apply import Changed
from engine.morphs.base import AnyMorph

assert engine.morphs
AT = datetime(2026, 11, 24, 12, 30, 15, 250, UTC)


def morph(config: dict[str, Any]) -> AnyMorph:
    """One morph of its kind. Raises pydantic's ValidationError as a save would."""
    made = kinds("morph")[config["kind"]].model_validate(config)
    assert isinstance(made, AnyMorph)
    return made


def outcome(made: Changed | str) -> Any:
    """All that a change gives, to compare; `made` may be the words with which the instance was held."""
    if isinstance(made, str):
        return made
    head = made.header
    where = head.sop_class_uid, head.sop_instance_uid, head.transfer_syntax_uid, head.head, head.data_set.pieces
    return made.changes, made.warnings, where, head.as_json()
