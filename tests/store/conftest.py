"""Each test of the store runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.security import passwords
from engine.settings import Settings
from engine.store import Store
from tests.store.databases import DATABASES, database_url


@pytest.fixture(autouse=True)
def _fast_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four rounds instead of twelve: what is tested here is not how slow they are (tests/security does)."""
    monkeypatch.setattr(passwords, "ROUNDS", 4)


@pytest.fixture(params=DATABASES)
def settings(request: pytest.FixtureRequest, home: Path) -> Iterator[Settings]:
    with database_url(request, request.param) as url:
        yield Settings(home=home, database_url=url)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    opened = Store(settings)
    yield opened
    opened.close()
