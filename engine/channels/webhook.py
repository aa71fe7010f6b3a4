"""Posts each message as JSON to a URL, signed.

Guarantee: at least once, in order: kept on disk until the URL answers 2xx, tried again for three days, also over restarts (of
single events 10,000 at most).
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import ClassVar, Literal

import httpx
import orjson
from pydantic import Field

from engine.channels.base import Channel, Message
from engine.connection.tls import TlsClient
from engine.errors import Permanent, Retry
from engine.security.outward import Outward, OutwardTransport
from engine.security.secret_references import SecretReference, resolve
from engine.tls_words import tls_words

__all__ = ["Webhook"]

TRANSIENT = {408, 425, 429}


class Webhook(Channel):
    """A POST to a URL for each message, with an HMAC-SHA256 signature. Redirects are not followed."""

    label: ClassVar[str] = "Webhook"
    tried_by: ClassVar[str] = "POST"
    kind: Literal["webhook"] = "webhook"
    url: str = Field(pattern=r"^https?://[^\s]+$", max_length=2000, examples=["https://hooks.hospital.example/axiom"])
    """Where it is posted to. Loopback and link-local addresses are refused, unless AXIOM_ALLOWED_HOSTS names them."""
    secret: SecretReference | None = None
    """The key of the signature in `X-Axiom-Signature: t=SECONDS,v1=HEX`: HMAC-SHA256 over `SECONDS.BODY`. Without it, none."""
    tls: TlsClient = TlsClient()
    """For https: whose certificates count (a CA of the hospital's own), and our own certificate where one is asked for."""
    timeout: float = Field(default=10.0, ge=1, le=60)
    """Seconds that an answer may take."""

    def tell(self, message: Message, guard: Outward) -> None:
        body = orjson.dumps(message)
        headers = {"Content-Type": "application/json", "User-Agent": "Axiom-Flow", "X-Axiom-Id": str(message["id"])}
        if self.secret is not None:
            headers["X-Axiom-Signature"] = _signature(resolve(self.secret).get_secret_value(), int(time.time()), body)
        extensions = {"sni_hostname": self.tls.server_name} if self.tls.server_name else {}
        try:
            with httpx.Client(transport=self._way(guard), timeout=self.timeout, trust_env=False) as client:
                answer = client.post(self.url, content=body, headers=headers, extensions=extensions)
        except httpx.HTTPError as e:
            if words := tls_words(e):
                raise Retry(f"TLS with the webhook {self.name} failed: {words}.") from e
            raise Retry(f"The webhook {self.name} cannot be reached: {type(e).__name__}.") from e
        if answer.is_success:
            return
        words = f"The webhook {self.name} answered {answer.status_code}."
        if answer.status_code >= 500 or answer.status_code in TRANSIENT:
            raise Retry(words, str(answer.status_code))
        raise Permanent(words, str(answer.status_code))

    def _way(self, guard: Outward) -> OutwardTransport:
        secure = self.url.lower().startswith("https:")
        return OutwardTransport(guard, httpx.HTTPTransport(verify=self.tls.context() if secure else False))


def _signature(key: str, seconds: int, body: bytes) -> str:
    digest = hmac.new(key.encode(), b"%d." % seconds + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"
