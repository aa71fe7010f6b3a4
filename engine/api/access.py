"""Who asks, and may they: the one table of what each route needs, and the door that reads it.

A route that the table does not name does not start (`check_table`), and one that slipped through would let nobody in.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from engine.api.parts import Parts, parts_of
from engine.errors import Denied
from engine.security.roles import Permission, allow
from engine.store.people import User

__all__ = ["ACCESS", "Caller", "Door", "GuardedRoute", "Who", "check_table", "lets_in", "routes_of", "still_admitted"]


class Door(Enum):
    """What some routes ask instead of a permission."""

    OPEN = "anybody, without signing in"
    SIGNED_IN = "anybody who is signed in"
    METRICS = "who may view, or sends AXIOM_METRICS_TOKEN"
    ANY_STATE = "anybody who is signed in, also when the password must be changed first"


V, E, O, B, A = Permission.VIEW, Permission.EDIT, Permission.OPERATE, Permission.BROWSE, Permission.ADMINISTER  # noqa: E741

ACCESS: dict[str, Permission | Door] = {
    # the ways in
    "health_live": Door.OPEN, "health_ready": Door.OPEN,
    "docs": Door.OPEN, "redoc": Door.OPEN, "asset": Door.OPEN, "openapi": Door.OPEN,
    "login": Door.OPEN, "google": Door.OPEN, "ways_in": Door.OPEN, "refresh": Door.OPEN,
    "logout": Door.ANY_STATE, "change_password": Door.ANY_STATE, "me": Door.ANY_STATE,
    # the configuration
    "families": V, "tags": V,
    "list_items": V, "get_item": V, "used_by": V, "validate_item": V,
    "create_item": E, "replace_item": E, "change_item": E, "delete_item": E,
    "check_item": E,  # it opens connections to where the item says
    "get_configuration": V, "diff_configuration": V, "validate_configuration": V, "apply_configuration": E,
    "list_revisions": V, "get_revision": V, "diff_revision": V, "rollback_revision": E, "label_revision": E,
    "move_rule": E, "list_activations": V, "create_activation": E, "cancel_activation": E,
    "list_secrets": E, "create_secret": E, "delete_secret": E,
    # what flows
    "status": V, "flow": V, "held": V, "unmatched": V, "deliveries": V, "gatherings": V,
    "retry_held": O, "discard_held": O, "replay_unmatched": O, "retry_deliveries": O, "discard_deliveries": O,
    "send_gatherings": O,
    "pollers": V, "poll_now": O, "poll_troubles": V, "retry_polled": O,
    "list_backfills": V, "get_backfill": V, "create_backfill": O, "change_backfill": O,
    "metrics": Door.METRICS, "events": V,
    "crosswalk_status": V, "crosswalk_lookup": Permission.SEE_PATIENT_DATA, "crosswalk_sync": O,
    "instances": B, "instance": B, "query_history": B, "test_rules": B,
    "what_if": Permission.SEE_PATIENT_DATA,  # its counts answer questions about patients
    "rules_analysis": V, "schedule_next_on": V, "draft_next_on": V,
    # the data browser
    "browse_sources": B, "browse": B, "route_selected": B, "selected_routes": B, "selected_route": B,
    # the way in of images
    "store_instances": Permission.STORE, "no_archive": Door.SIGNED_IN,
    # people
    "list_users": A, "create_user": A, "get_user": A, "change_user": A, "reset_password": A, "sign_out_user": A,
    "list_roles": A, "create_role": A, "get_role": A, "change_role": A, "delete_role": A,
    "list_keys": Door.SIGNED_IN, "create_key": Door.SIGNED_IN, "revoke_key": Door.SIGNED_IN,
    "audit": A, "verify_audit": A, "list_settings": A,
}  # fmt: skip
"""By the name of the route (its function): the permission that it needs, or the door that it stands behind."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as far as a route needs to know."""

    username: str
    role: str
    permissions: frozenset[Permission]
    address: str
    session: str = ""
    """The session of the access token; empty for an API key."""
    key: str = ""
    """The prefix of the API key; empty for a session."""
    key_name: str = ""
    """What its owner calls the key."""
    must_change_password: bool = False

    @property
    def masked(self) -> bool:
        """Whether identifiers of patients are hidden from them."""
        return Permission.SEE_PATIENT_DATA not in self.permissions

    @property
    def sender(self) -> str:
        """How they stand in an association, for rules: `name`, or `name/key name`."""
        return f"{self.username}/{self.key_name}" if self.key else self.username

    @property
    def signature(self) -> str:
        """How they stand in the audit and in revisions."""
        return f"{self.username} (key {self.key})" if self.key else self.username


class GuardedRoute(APIRoute):
    """A route that is not entered, and whose body is not read, before the door has let the caller in."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in (self.methods or ()):
            request = Request(scope, receive)
            needed = ACCESS.get(self.name)
            if needed is not Door.OPEN:
                request.state.caller = await run_in_threadpool(_admit, request, needed)
        await super().handle(scope, receive, send)


def _admit(request: Request, needed: Permission | Door | None) -> Caller:
    if needed is None:
        raise Denied("Nobody may use this route.", known=True)
    if needed is Door.METRICS:
        if _is_scraper(request):
            return Caller("metrics", "", frozenset({Permission.VIEW}), address_of(request))
        needed = Permission.VIEW
    caller = _identify(parts_of(request), request)
    if caller.must_change_password and needed is not Door.ANY_STATE:
        raise Denied("Change your password first (POST /api/v1/auth/password).", known=True)
    if isinstance(needed, Permission):
        allow(caller.permissions, needed)
    return caller


def lets_in(needed: Permission | Door, held: Collection[Permission]) -> bool:
    """Whether somebody who is signed in with these permissions may use a route that needs this."""
    if needed is Door.METRICS:
        needed = Permission.VIEW
    return isinstance(needed, Door) or needed in held


def _is_scraper(request: Request) -> bool:
    """Whether the request carries the token of AXIOM_METRICS_TOKEN; compared in constant time."""
    wanted = parts_of(request).settings.metrics_token.get_secret_value().encode()
    given = request.headers.get("authorization", "").encode("latin-1")
    return bool(wanted) and hmac.compare_digest(given, b"Bearer " + wanted)


def still_admitted(request: Request, route: str) -> bool:
    """Whether the caller may go on using a route that answers for long. Raises Retry when the store is away."""
    try:
        _admit(request, ACCESS[route])
    except Denied:
        return False
    return True


def _identify(parts: Parts, request: Request) -> Caller:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Denied("Sign in first: send an access token (Authorization: Bearer ...).")
    token, address = token.strip(), address_of(request)
    if token.startswith("axm_"):
        user, key = parts.store.keys.verify(token, address=address)
        permissions = key.permissions_within(user)
        return Caller(user.username, user.role, permissions, address, key=key.prefix, key_name=key.name)
    claims = parts.signer.check(token)
    user = parts.store.people.signed_in(claims.session, claims.username, claims.generation)
    return _caller(user, address, claims.session)


def _caller(user: User, address: str, session: str) -> Caller:
    return Caller(
        user.username, user.role, user.permissions, address, session=session,
        must_change_password=user.must_change_password,
    )


def address_of(request: Request) -> str:
    """Where the request comes from: the peer, or who a trusted proxy says it is."""
    return request.client.host if request.client else ""


def _caller_of(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


Who = Annotated[Caller, Depends(_caller_of)]
"""The caller, for routes that write down who did it, or mask."""


def routes_of(app: FastAPI) -> Iterable[GuardedRoute]:
    """Every route of the application. Raises TypeError for one that is not guarded."""
    for route in app.routes:
        if not isinstance(route, GuardedRoute):
            raise TypeError(f"the route {getattr(route, 'path', route)} is not guarded")
        yield route


def check_table(app: FastAPI) -> None:
    """Raises LookupError when the table and the routes do not name the same."""
    named = {route.name for route in routes_of(app)}
    if named != ACCESS.keys():
        raise LookupError(f"routes and table of access differ: {sorted(named ^ ACCESS.keys())}")
