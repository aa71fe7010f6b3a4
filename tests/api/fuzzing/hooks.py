"""Loaded by schemathesis: before each call the caller's own key and person are put back as they were.

A fuzzer with an admin's rights finds its own key among the keys and revokes it, or resets the password of the person that it
is; what it then asked would all be answered with 401, and nothing would be tested.
"""

from __future__ import annotations

import os
from typing import Any

import schemathesis
import sqlalchemy as sa

from engine.settings import Settings
from engine.store import tables
from engine.store.database import Database

__all__: list[str] = []

PREFIX = os.environ.get("FUZZ_KEY", "")
USERNAME = os.environ.get("FUZZ_USER", "")
ROLE = os.environ.get("FUZZ_ROLE", "")
database = Database(Settings().database)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    if not PREFIX:
        return
    users, keys = tables.users, tables.api_keys
    with database.read() as connection:
        user = connection.execute(sa.select(users).where(users.c.username == USERNAME)).one()
        key = connection.execute(sa.select(keys).where(keys.c.prefix == PREFIX)).one()
    if user.role == ROLE and user.active and not user.must_change_password and key.revoked_at is None:
        return
    with database.write() as connection:
        as_was = {"role": ROLE, "active": True, "must_change_password": False}
        connection.execute(users.update().where(users.c.username == USERNAME).values(**as_was))
        connection.execute(keys.update().where(keys.c.prefix == PREFIX).values(revoked_at=None))


@schemathesis.serializer("application/dicom", "multipart/related")
def as_it_is(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
