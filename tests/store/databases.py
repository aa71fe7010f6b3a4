"""An empty store for each test, on each of the databases that it works on."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

__all__ = ["DATABASES", "database_url"]

DATABASES = ("sqlite", "postgresql")


@contextmanager
def database_url(request: pytest.FixtureRequest, dialect: str) -> Iterator[str]:
    """What AXIOM_DATABASE_URL says: nothing for SQLite in the home, else a new database of the session's PostgreSQL."""
    if dialect == "sqlite":
        yield ""
        return
    server: str = request.getfixturevalue("postgres_url")
    name = f"axiom_{secrets.token_hex(6)}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        yield sa.make_url(server).set(database=name).render_as_string(hide_password=False)
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        engine.dispose()
