"""People, their API keys, and the audit of what they did."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field, StrictBool

from engine.api.access import GuardedRoute, Who
from engine.api.bodies import Whole
from engine.api.parts import Here
from engine.component import Moment
from engine.errors import Denied
from engine.security.roles import Permission, allow

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["People"], route_class=GuardedRoute)


class NewUser(BaseModel):
    username: str = Field(max_length=64, examples=["ada"])
    role: str = Field("User", max_length=64, examples=["User", "Admin"])
    name: str = Field("", max_length=128)
    email: str = Field("", max_length=254)
    password: str | None = Field(None, max_length=1024)
    """Without one, a one-time password is made and shown in the answer. Either must be changed at the first sign-in."""


class UserChange(BaseModel):
    role: str | None = Field(None, max_length=64)
    active: StrictBool | None = None
    name: str | None = Field(None, max_length=128)
    email: str | None = Field(None, max_length=254)
    unlock: StrictBool = False


class UserOut(BaseModel):
    username: str
    name: str
    email: str
    role: str
    must_change_password: bool
    active: bool
    pending: bool
    """Came by Google, and waits until an admin lets them in (`active: true`)."""
    locked_until: str | None
    created_at: str
    signed_in_at: str | None


class UserMade(UserOut):
    one_time_password: str | None
    """Shown this once."""


class OneTime(BaseModel):
    one_time_password: str
    """Shown this once; it must be changed at the next sign-in."""


class NewRole(BaseModel):
    name: str = Field(min_length=1, max_length=64, examples=["Night shift"])
    description: str = Field("", max_length=500)
    permissions: list[str] = Field(max_length=20, examples=[["view", "operate"]])


class RoleChange(BaseModel):
    description: str | None = Field(None, max_length=500)
    permissions: list[str] | None = Field(None, max_length=20)


class RoleOut(BaseModel):
    name: str
    description: str
    permissions: list[str]
    seeded: bool
    """Part of every installation: it cannot be changed or deleted."""
    users: int
    """How many have it."""


class NewKey(BaseModel):
    username: str | None = Field(None, max_length=64)
    """Whose key it is; only who administers makes one for somebody else. Without: one's own."""
    name: str = Field(min_length=1, max_length=128, examples=["nightly report"])
    permissions: list[str] = Field([], max_length=20, examples=[["view", "browse"]])
    """What it may at most; empty: what you may."""
    networks: list[str] = Field([], max_length=100, examples=[["10.1.0.0/16"]])
    """Where it may come from; empty: anywhere."""
    expires_at: Moment | None = None


class KeyOut(BaseModel):
    prefix: str
    username: str
    name: str
    permissions: list[str]
    networks: list[str]
    created_at: str
    expires_at: str | None
    used_at: str | None
    revoked_at: str | None


class KeyMade(KeyOut):
    key: str
    """Shown this once."""


class AuditRowOut(BaseModel):
    id: int
    at: str
    who: str
    action: str
    family: str
    name: str
    detail: dict[str, Any]
    revision: int | None
    address: str


class AuditState(BaseModel):
    whole: bool
    words: str


@router.get("/users", summary="All people")
def list_users(parts: Here) -> list[UserOut]:
    return [UserOut(**user.as_json()) for user in parts.store.people.list()]


@router.post("/users", summary="Add a person", status_code=201)
def create_user(parts: Here, caller: Who, body: NewUser) -> UserMade:
    one_time = parts.store.people.create(
        body.username, role=body.role, who=caller.signature, password=body.password, name=body.name, email=body.email,
        address=caller.address,
    )  # fmt: skip
    return UserMade(**parts.store.people.get(body.username).as_json(), one_time_password=one_time)


@router.get("/users/{username}", summary="One person")
def get_user(parts: Here, username: str) -> UserOut:
    return UserOut(**parts.store.people.get(username).as_json())


@router.patch("/users/{username}", summary="Change a person's role, activity or name; unlock them")
def change_user(parts: Here, caller: Who, username: str, body: UserChange) -> UserOut:
    """A change of role or activity ends their sessions. The last admin stays one (409)."""
    user = parts.store.people.change(
        username, who=caller.signature, role=body.role, active=body.active, name=body.name, email=body.email,
        unlock=body.unlock, address=caller.address,
    )  # fmt: skip
    return UserOut(**user.as_json())


@router.post("/users/{username}/password", summary="Give a person a new one-time password")
def reset_password(parts: Here, caller: Who, username: str) -> OneTime:
    made = parts.store.people.reset_password(username, who=caller.signature, address=caller.address)
    return OneTime(one_time_password=made)


@router.post("/users/{username}/sign-out", summary="End every session of a person", status_code=204)
def sign_out_user(parts: Here, caller: Who, username: str) -> Response:
    parts.store.people.sign_out_everywhere(username, who=caller.signature, address=caller.address)
    return Response(status_code=204)


@router.get("/roles", summary="All roles, with what they allow")
def list_roles(parts: Here) -> list[RoleOut]:
    return [RoleOut(**role.as_json()) for role in parts.store.roles.list()]


@router.post("/roles", summary="Make a role out of permissions", status_code=201)
def create_role(parts: Here, caller: Who, body: NewRole) -> RoleOut:
    role = parts.store.roles.create(
        body.name, body.permissions, who=caller.signature, description=body.description, address=caller.address
    )
    return RoleOut(**role.as_json())


@router.get("/roles/{name}", summary="One role")
def get_role(parts: Here, name: str) -> RoleOut:
    return RoleOut(**parts.store.roles.get(name).as_json())


@router.patch("/roles/{name}", summary="Change what a role allows; it holds from the next request on")
def change_role(parts: Here, caller: Who, name: str, body: RoleChange) -> RoleOut:
    role = parts.store.roles.change(
        name, who=caller.signature, permissions=body.permissions, description=body.description, address=caller.address
    )
    return RoleOut(**role.as_json())


@router.delete("/roles/{name}", summary="Delete a role that nobody has", status_code=204)
def delete_role(parts: Here, caller: Who, name: str) -> Response:
    parts.store.roles.delete(name, who=caller.signature, address=caller.address)
    return Response(status_code=204)


@router.get("/keys", summary="One's own API keys; for those who administer, all")
def list_keys(parts: Here, caller: Who) -> list[KeyOut]:
    everyone = Permission.ADMINISTER in caller.permissions
    return [KeyOut(**key.as_json()) for key in parts.store.keys.list(None if everyone else caller.username)]


@router.post("/keys", summary="Make an API key", status_code=201)
def create_key(parts: Here, caller: Who, body: NewKey) -> KeyMade:
    if caller.key:
        raise Denied("An API key cannot make another one: sign in.", known=True)
    owner = (body.username or caller.username).strip().lower()
    if owner != caller.username:
        allow(caller.permissions, Permission.ADMINISTER)
    text, key = parts.store.keys.create(
        owner, body.name, who=caller.signature, permissions=body.permissions, networks=body.networks,
        expires_at=body.expires_at, address=caller.address,
    )  # fmt: skip
    return KeyMade(**key.as_json(), key=text)


@router.delete("/keys/{prefix}", summary="Revoke an API key", status_code=204)
def revoke_key(parts: Here, caller: Who, prefix: str) -> Response:
    everyone = Permission.ADMINISTER in caller.permissions
    parts.store.keys.revoke(
        prefix, who=caller.signature, only_of=None if everyone else caller.username, address=caller.address
    )
    return Response(status_code=204)


@router.get("/audit", summary="Who did or saw what, the newest first")
def audit(
    parts: Here,
    limit: Annotated[Whole, Query(ge=1, le=1000)] = 100,
    before: Annotated[Whole | None, Query(ge=1, le=2_000_000_000, description="Only older lines.")] = None,
    who: Annotated[str, Query(max_length=128)] = "",
    action: Annotated[str, Query(max_length=64)] = "",
) -> list[AuditRowOut]:
    rows = parts.store.audit.rows(limit, before=before, who=who, action=action)
    return [AuditRowOut(**row.as_json()) for row in rows]


@router.get("/audit/verify", summary="Is the audit as it was written?")
def verify_audit(parts: Here) -> AuditState:
    """Walks the chain of hashes over the whole audit."""
    words = parts.store.audit.verify()
    return AuditState(whole=words is None, words=words or "Every line is as it was written.")
