"""A served API for each test: uvicorn on a free port in front of an empty store, on SQLite and on PostgreSQL.

On PostgreSQL the normal run makes the tests of `BOTH`; `make test-slow` makes them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.security import passwords
from engine.settings import Settings
from tests.api.site import Site, serving
from tests.peers import free_port
from tests.store.databases import DATABASES, database_url

BOTH = {"test_configuration", "test_google", "test_keeping_secrets", "test_ordering", "test_people", "test_roles"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        of_ours = Path(__file__).parent in item.path.parents
        if of_ours and "[postgresql" in item.name and item.path.stem not in BOTH:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _fast_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four rounds instead of twelve: how slow they are is tested in tests/security."""
    monkeypatch.setattr(passwords, "ROUNDS", 4)


@pytest.fixture(params=DATABASES)
def settings(request: pytest.FixtureRequest, home: Path) -> Iterator[Settings]:
    with database_url(request, request.param) as url:
        yield Settings(home=home, database_url=url, api_port=free_port(), min_free_mb=0)


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    with serving(settings) as served:
        yield served
