"""Signing in and out: a password is changed for a short-lived access token and a refresh token that is used once."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, StringConstraints

from engine.api.access import Caller, GuardedRoute, Who, address_of
from engine.api.parts import Here, Parts
from engine.errors import Denied, Invalid, Missing
from engine.security.google_sign_in import RefusedToken
from engine.security.tokens import ACCESS_SECONDS
from engine.store.people import User
from engine.store.sessions import Opened

__all__ = ["router"]

_log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/v1/auth", tags=["Signing in"], route_class=GuardedRoute)

Text = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class Login(BaseModel):
    username: Text = Field(examples=["admin"])
    password: Text = Field(examples=["correct horse battery staple"])


class GoogleToken(BaseModel):
    id_token: str = Field(min_length=1, max_length=16_384)
    """An ID token that Google issued for this installation's client; it is good for one sign-in."""
    nonce: str = Field("", max_length=512)
    """What the client gave to Google when it asked, if it did: the token must hold the same."""


class WaysIn(BaseModel):
    """How one may sign in here."""

    password: bool = True
    google_client_id: str = ""
    """Empty: not with Google."""


class RefreshToken(BaseModel):
    refresh_token: Text


class SignOut(BaseModel):
    refresh_token: str = ""
    """Not needed: the session of the access token ends, and with it all its tokens."""


class NewPassword(BaseModel):
    old_password: Text
    new_password: Text = Field(description="12 characters or more, 72 bytes at most.")


class Me(BaseModel):
    """Who is signed in."""

    username: str
    name: str = ""
    role: str
    permissions: list[str]
    must_change_password: bool


class Tokens(BaseModel):
    """What signing in gives: send the access token with each request (`Authorization: Bearer ...`)."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105
    expires_in: int
    """Seconds that the access token is good for."""
    refresh_token: str
    """Good for one refresh."""
    must_change_password: bool
    """Nothing but changing the password works before it is changed."""
    user: Me


def _tokens(parts: Parts, user: User, opened: Opened) -> Tokens:
    seconds = min(ACCESS_SECONDS, int(parts.settings.idle_minutes * 60))  # an idle sign-in is over when the setting says so
    access = parts.signer.sign(user.username, user.role, user.generation, opened.session, seconds)
    return Tokens(
        access_token=access, expires_in=seconds, refresh_token=opened.refresh_token,
        must_change_password=user.must_change_password, user=_me(user, user.permissions),
    )  # fmt: skip


def _me(user: User, permissions: frozenset[Any]) -> Me:
    return Me(
        username=user.username, name=user.name, role=user.role, permissions=sorted(permissions),
        must_change_password=user.must_change_password,
    )  # fmt: skip


@router.post("/login", summary="Sign in with name and password")
def login(body: Login, request: Request, parts: Here) -> Tokens:
    """401 for any wrong pair, 429 after too many; ten wrong passwords lock a user for 15 minutes."""
    address = address_of(request)
    parts.throttle.refuse_too_many(body.username, address)
    try:
        user = parts.store.people.verify(body.username, body.password, address=address)
    except Denied:
        parts.throttle.failed(body.username, address)
        raise
    return _tokens(parts, user, parts.store.people.sessions.open(user.username, user.generation, address=address))


@router.get("/ways", summary="How may one sign in here?")
def ways_in(parts: Here) -> WaysIn:
    return WaysIn(google_client_id=parts.google.client_id if parts.google else "")


@router.post("/google", summary="Sign in with an ID token of Google")
def google(body: GoogleToken, request: Request, parts: Here) -> Tokens:
    """401 for any token that is not good here (the log says why); 403 for who is known but waits for an admin to let them
    in: somebody new is noted as that. 404 where signing in with Google is not set up."""
    address = address_of(request)
    if parts.google is None:
        raise Missing("Signing in with Google is not set up here (AXIOM_GOOGLE_CLIENT_ID).")
    parts.throttle.refuse_too_many("google", address)
    try:
        identity = parts.google.check(body.id_token, body.nonce)
        user = parts.store.identities.sign_in(identity, address=address)
    except RefusedToken as e:
        _log.warning("a Google sign-in was refused: %s", e.why)
        parts.store.identities.refused(e.why, address=address)
        parts.throttle.failed("google", address)
        raise
    return _tokens(parts, user, parts.store.people.sessions.open(user.username, user.generation, address=address))


@router.post("/refresh", summary="Change a refresh token for new tokens")
def refresh(body: RefreshToken, request: Request, parts: Here) -> Tokens:
    """A refresh token that comes a second time ends its session: it was copied."""
    opened = parts.store.people.sessions.refresh(body.refresh_token, address=address_of(request))
    return _tokens(parts, parts.store.people.get(opened.username), opened)


@router.post("/logout", summary="Sign out", status_code=204)
def logout(parts: Here, caller: Who, _: SignOut | None = None) -> Response:
    """The session's access and refresh tokens are worth nothing from now on."""
    if caller.session:
        parts.store.people.sessions.close(caller.session, caller.username, address=caller.address)
    return Response(status_code=204)


@router.post("/password", summary="Change one's own password")
def change_password(body: NewPassword, parts: Here, caller: Who) -> Tokens:
    """Ends every session of the person; the answer begins a new one."""
    _refuse_key(caller)
    parts.throttle.refuse_too_many(caller.username, caller.address)
    people = parts.store.people
    try:
        people.set_password(
            caller.username, body.new_password, who=caller.signature, old=body.old_password, address=caller.address
        )
    except Invalid as e:
        if any(p.loc == ("old_password",) for p in e.problems):
            parts.throttle.failed(caller.username, caller.address)
        raise
    user = people.get(caller.username)
    return _tokens(parts, user, people.sessions.open(user.username, user.generation, address=caller.address))


@router.get("/me", summary="Who am I, and what may I do?")
def me(parts: Here, caller: Who) -> Me:
    return _me(parts.store.people.get(caller.username), caller.permissions)


def _refuse_key(caller: Caller) -> None:
    if caller.key:
        raise Denied("This needs a person who is signed in, not an API key.", known=True)
