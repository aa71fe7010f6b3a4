"""What every request passes: an id, bounds, and headers that keep browsers from harm."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.api.problems import problem
from engine.log import bind, clear

__all__ = ["Bounds", "Hygiene", "Rates"]

_log = logging.getLogger(__name__)

_ID = re.compile(r"[A-Za-z0-9_.-]{8,64}")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
HSTS = "max-age=31536000"


class Hygiene:
    """Gives each request an id (or takes over a plain one), writes one log line, and sets the security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else secrets.token_hex(8)
        scope["axiom_request_id"] = request_id
        status, answering, began = 500, False, time.monotonic()

        async def with_headers(message: Message) -> None:
            nonlocal status, answering
            if message["type"] == "http.response.start":
                status, answering = message["status"], True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["scheme"] == "https":
                    headers.setdefault("Strict-Transport-Security", HSTS)
                headers["X-Request-ID"] = request_id
            await send(message)

        bind(request_id=request_id)
        try:
            await self._app(scope, receive, with_headers)
        except Exception as e:
            _log.error("request %s failed: %s", request_id, type(e).__name__, exc_info=e)
            if answering:
                raise
            words = f"Something went wrong inside. The log says more under {request_id}."
            await problem(Request(scope), 500, words)(scope, receive, with_headers)
        finally:
            route = getattr(scope.get("route"), "path", "(no route)")  # the pattern: an address may name a patient
            milliseconds = (time.monotonic() - began) * 1000
            _log.info("%s %s -> %d in %.0f ms", scope["method"], route, status, milliseconds)
            stays_open = route == "/api/v1/events"
            scope["app"].state.parts.metrics.count(
                scope["method"], route, status, None if stays_open else milliseconds / 1000
            )
            clear("request_id")


class Rates:
    """Bounds how often one may ask: each credential from its address, and each address in all. Health is always answered."""

    def __init__(self, app: ASGIApp, *, each_minute: int) -> None:
        self._app = app
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._each = RateLimitItemPerMinute(each_minute, namespace="credential")
        self._address = RateLimitItemPerMinute(each_minute * 10, namespace="address")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].endswith(("/health/live", "/health/ready")):
            address = (scope.get("client") or ("",))[0]
            credential = hashlib.sha256(Headers(scope=scope).get("authorization", "").encode()).hexdigest()[:16]
            for item, key in ((self._each, (address, credential)), (self._address, (address,))):
                if not self._limiter.hit(item, *key):
                    await self._refuse(item, key, scope, receive, send)
                    return
        await self._app(scope, receive, send)

    async def _refuse(
        self, item: RateLimitItemPerMinute, key: tuple[str, ...], scope: Scope, receive: Receive, send: Send
    ) -> None:
        again = max(1.0, self._limiter.get_window_stats(item, *key).reset_time - time.time())
        words = f"Too many requests: wait {again:.0f} seconds, or ask less often."
        headers = {"Retry-After": f"{again:.0f}"}
        answer = problem(Request(scope), 429, words, slug="too-many-requests", headers=headers)
        await answer(scope, receive, send)


class Bounds:
    """Refuses bodies that are too large, by what they say of themselves and by what really comes.

    What goes to an address that begins with `streamed` is let through: its routes read as it comes, and bound it themselves.
    """

    def __init__(self, app: ASGIApp, *, largest: int, larger: dict[str, int], streamed: str) -> None:
        self._app = app
        self._largest = largest
        self._larger = larger
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(self._streamed):
            await self._app(scope, receive, send)
            return
        limit = self._larger.get(scope["path"], self._largest)
        said = Headers(scope=scope).get("content-length", "0")
        too_large = not said.isdigit() or int(said) > limit
        came = 0

        async def bounded() -> Message:
            nonlocal came
            if too_large:
                raise HTTPException(413)
            message = await receive()
            came += len(message.get("body", b""))
            if came > limit:
                raise HTTPException(413)
            return message

        await self._app(scope, bounded, send)
