"""Loaded by schemathesis: before each call the caller's own key and person are put back as they were, and what the coverage
phase has thought out is sampled.

A fuzzer with an admin's rights finds its own key among the keys and revokes it, or resets the password of the person that it
is; what it then asked would all be answered with 401, and nothing would be tested.

The coverage phase makes some hundred thousand requests out of the document, most of them one field of one kind of item a little
wrong. Of each operation the first request of each scenario is made, and of the others one in FUZZ_COVERAGE, another one for
each FUZZ_SEED. Conditions then are trees of one level: to think out deeper ones takes minutes for each operation, whether they
are sent or not. With FUZZ_COVERAGE=1 nothing is left out.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter
from typing import Any

import schemathesis
import sqlalchemy as sa
from schemathesis.generation.meta import coverage_scenario

from engine.settings import Settings
from engine.store import tables
from engine.store.database import Database

__all__: list[str] = []

PREFIX = os.environ.get("FUZZ_KEY", "")
USERNAME = os.environ.get("FUZZ_USER", "")
ROLE = os.environ.get("FUZZ_ROLE", "")
SEED = os.environ.get("FUZZ_SEED", "")
ONE_IN = int(os.environ.get("FUZZ_COVERAGE", "1"))
seen: Counter[tuple[str, str]] = Counter()
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


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    schemas = raw_schema["components"]["schemas"]
    if ONE_IN <= 1:
        return
    for end, leaf in (("", "TagLeaf"), ("Senders", "SenderLeaf")):
        only = {"$ref": f"#/components/schemas/{leaf}"}
        schemas[f"AllOf{end}"]["properties"]["all"]["items"] = only
        schemas[f"AnyOf{end}"]["properties"]["any"]["items"] = only
        schemas[f"NoneOf{end}"]["properties"]["not"] = only


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    scenario = coverage_scenario(case)
    if scenario is None or ONE_IN <= 1:
        return True
    key = (case.operation.label, scenario.value)
    number, seen[key] = seen[key], seen[key] + 1
    return number == 0 or zlib.crc32(f"{SEED} {key} {number}".encode()) % ONE_IN == 0


@schemathesis.serializer("application/dicom", "multipart/related")
def as_it_is(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
