"""Numbers made from a text by a secret key: the same key and text give the same number on every node and at every time."""

from __future__ import annotations

import hashlib
import hmac

from engine.security.secret_references import resolve

__all__ = ["keyed_number"]


def keyed_number(key: str, purpose: str, text: str) -> int:
    """128 bits of HMAC-SHA256 as a number. `key` is a secret reference; `purpose` keeps the uses of one key apart.

    Raises Retry when the secret cannot be had.
    """
    secret = resolve(key).get_secret_value().encode()
    digest = hmac.new(secret, f"{purpose}\0{text}".encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:16], "big")
