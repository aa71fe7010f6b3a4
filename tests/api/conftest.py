"""A served API for each test: uvicorn on a free port in front of an empty store, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from engine.api.app import create_app, server_config
from engine.security import passwords
from engine.settings import Settings
from tests.api.site import Site
from tests.peers import free_port, wait_until
from tests.store.databases import DATABASES, database_url


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
    app = create_app(settings)
    server = uvicorn.Server(server_config(app, settings))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), what="the API")
        yield Site(app, f"http://127.0.0.1:{settings.api_port}")
    finally:
        server.should_exit = True
        thread.join(20)
