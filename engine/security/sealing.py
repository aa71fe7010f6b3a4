"""Sealing: text that is kept encrypted under AXIOM_SECRET_KEY (AES-256-GCM, NIST SP 800-38D), bound to where it stands."""

from __future__ import annotations

import base64
import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.errors import Retry

__all__ = ["Sealer"]

NONCE = 12
VERSION = "1"


class Sealer:
    """Seals and opens with a key made from the installation's secret key."""

    def __init__(self, key: str) -> None:
        self._aead = AESGCM(hashlib.sha256(b"stored secrets\0" + key.encode()).digest())  # one key a purpose

    def seal(self, text: str, place: str) -> str:
        """The sealed text; it opens at the same `place` alone, so that rows cannot change places."""
        nonce = os.urandom(NONCE)
        sealed = nonce + self._aead.encrypt(nonce, text.encode(), place.encode())
        return f"{VERSION}.{base64.urlsafe_b64encode(sealed).decode()}"

    def open(self, sealed: str, place: str) -> str:
        """Raises Retry when it was sealed under another key, or is not as it was."""
        try:
            version, _, data = sealed.partition(".")
            if version != VERSION:
                raise ValueError(version)
            raw = base64.urlsafe_b64decode(data)
            return self._aead.decrypt(raw[:NONCE], raw[NONCE:], place.encode()).decode()
        except (ValueError, InvalidTag) as e:
            words = "cannot be opened: was AXIOM_SECRET_KEY changed? Type it in again"
            raise Retry(f"The secret stored:{place} {words}.") from e
