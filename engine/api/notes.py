"""What the audit says of those who looked at patients: that they did, of what, and never whom they sought in plain words."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from engine.api.access import Caller
from engine.api.parts import Parts

__all__ = ["note", "veil"]


def note(
    parts: Parts, caller: Caller, action: str, family: str, detail: dict[str, Any], *, name: str = ""
) -> None:
    """Who looked at patients, written before they see anything."""
    parts.store.audit.write(
        who=caller.signature, action=action, family=family, name=name, detail=detail, address=caller.address
    )


def veil(parts: Parts, text: str) -> str:
    """A text that may name a patient, so that it can be compared but not read: equal texts, equal veils."""
    key = hashlib.sha256(b"audit veil\0" + parts.settings.key.encode()).digest()
    return hmac.new(key, text.strip().lower().encode(), hashlib.sha256).hexdigest()[:32] if text.strip() else ""
