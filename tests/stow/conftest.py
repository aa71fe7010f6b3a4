"""An API with a spool, and images to send to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import uvicorn

from engine.api.app import create_app, server_config
from engine.demo.studies import synthetic, write
from engine.security import passwords
from engine.settings import Settings
from tests.api.site import Site
from tests.peers import free_port, wait_until
from tests.stow.support import Door


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """One API for a file of tests."""
    home = tmp_path_factory.mktemp("stow") / "home"
    settings = Settings(home=home, api_port=free_port(), min_free_mb=0)
    app = create_app(settings)
    server = uvicorn.Server(server_config(app, settings))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), what="the API")
        yield Door(Site(app, f"http://127.0.0.1:{settings.api_port}"), settings)
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch, standing: Door) -> Door:
    """It, as new."""
    monkeypatch.setattr(passwords, "ROUNDS", 4)
    standing.clear()
    return standing


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Six CT images of one study."""
    return [p.read_bytes() for p in write(synthetic("CT", 1, 6, rows=128), tmp_path_factory.mktemp("ct"))]


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Two of another study."""
    return [p.read_bytes() for p in write(synthetic("MR", 1, 2, rows=16), tmp_path_factory.mktemp("mr"))]
