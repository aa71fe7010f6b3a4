"""What the routes work with: one set a process, opened at the first need, handed to routes as `Here`."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from engine.api.events import Events
from engine.api.metrics import ApiMetrics, node_metrics
from engine.security.google_sign_in import Google
from engine.security.throttle import Throttle
from engine.security.tokens import Signer
from engine.settings import Settings
from engine.store import Store

if TYPE_CHECKING:
    from engine.operations import Operations

__all__ = ["Here", "Parts", "parts_of"]


class Parts:
    """The store, the signer of tokens, the throttle, and the operations of the engine."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.throttle = Throttle()

    @cached_property
    def store(self) -> Store:
        return Store(self.settings)

    @cached_property
    def signer(self) -> Signer:
        return Signer(self.settings.key)

    @cached_property
    def google(self) -> Google | None:
        """Who checks ID tokens; None where signing in with Google is not set up."""
        s = self.settings
        if not s.google_client_id:
            return None
        return Google(s.google_client_id, s.google_issuer, s.google_jwks_url, s.google_hosted_domain)

    @cached_property
    def operations(self) -> Operations:
        from engine.operations import Operations

        return Operations(self.settings, self.store)

    @cached_property
    def metrics(self) -> ApiMetrics:
        return ApiMetrics(lambda: node_metrics(self.operations))

    @cached_property
    def events(self) -> Events:
        return Events(lambda: self.operations)

    def open(self) -> None:
        """Open what every request needs, so that a start that cannot work says so at once."""
        _ = self.store, self.signer

    def close(self) -> None:
        if "operations" in self.__dict__:
            self.operations.close()
        if "store" in self.__dict__:
            self.store.close()


def parts_of(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


Here = Annotated[Parts, Depends(parts_of)]
