"""What a secret key makes of a text: the same key and text give the same on every node and at every time."""

from __future__ import annotations

import base64
import hashlib
import hmac

from engine.security.secret_references import resolve

__all__ = ["Keyed"]

VERSION_8 = 0x00000000000080008000000000000000
KEEP = 0xFFFFFFFFFFFF0FFF3FFFFFFFFFFFFFFF


class Keyed:
    """A secret key at work, for one instance. The secret is read at the first use; each use raises Retry when it cannot be.

    Nobody finds the way back without the key. Morphs of other rules that use the same key make the same of the same.
    """

    def __init__(self, key: str) -> None:
        """`key` is a secret reference."""
        self._reference = key
        self._secret = b""
        self._uids: dict[str, str] = {}

    def _digest(self, purpose: str, text: str) -> bytes:
        """128 bits of HMAC-SHA256. `purpose` keeps the uses of one key apart."""
        if not self._secret:
            self._secret = resolve(self._reference).get_secret_value().encode()
        return hmac.new(self._secret, f"{purpose}\0{text}".encode(), hashlib.sha256).digest()[:16]

    def uid(self, uid: str) -> str:
        """Another UID: a UUID of version 8 (RFC 9562), as PS3.5 B.2 writes it behind 2.25."""
        found = self._uids.get(uid)
        if found is None:
            number = (int.from_bytes(self._digest("uid", uid), "big") & KEEP) | VERSION_8
            found = self._uids[uid] = f"2.25.{number}"
        return found

    def days(self, text: str, far: int) -> int:
        """From 1 up to `far` days; with a negative `far` from -1 down to it."""
        days = int.from_bytes(self._digest("days", text), "big") % abs(far) + 1
        return days if far > 0 else -days

    def pseudonym(self, text: str) -> str:
        """16 capital letters and digits (80 bits): goes into an ID and into a name."""
        return base64.b32encode(self._digest("patient", text)[:10]).decode()
