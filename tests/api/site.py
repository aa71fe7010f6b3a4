"""The served API as tests use it: clients that are signed in, and the store behind them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from engine.api.app import create_app, server_config
from engine.api.parts import Parts
from engine.settings import Settings
from engine.store import Store
from tests.peers import wait_until

__all__ = ["PASSWORD", "Site", "serving"]

PASSWORD = "correct horse battery"


class Site:
    """One API process with its store."""

    def __init__(self, app: FastAPI, url: str) -> None:
        self.app = app
        self.url = url
        self.parts: Parts = app.state.parts

    @property
    def store(self) -> Store:
        return self.parts.store

    def anonymous(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=60, trust_env=False)

    def person(self, username: str, role: str = "User", *, must_change: bool = False) -> None:
        if self.store.people.find(username) is None:
            self.store.people.create(username, role=role, who="test", password=PASSWORD, must_change=must_change)

    def signed_in(self, username: str = "root", role: str = "Admin", *, must_change: bool = False) -> httpx.Client:
        """A client of that person, who is made when needed."""
        self.person(username, role, must_change=must_change)
        with self.anonymous() as client:
            answer = client.post("/auth/login", json={"username": username, "password": PASSWORD})
        answer.raise_for_status()
        return self.anonymous(Authorization=f"Bearer {answer.json()['access_token']}")

    def tokens(self, username: str = "ada") -> dict[str, Any]:
        self.person(username)
        with self.anonymous() as client:
            answer = client.post("/auth/login", json={"username": username, "password": PASSWORD})
        body: dict[str, Any] = answer.raise_for_status().json()
        return body


@contextmanager
def serving(settings: Settings) -> Iterator[Site]:
    """The API behind uvicorn, on the port that the settings name."""
    app = create_app(settings)
    server = uvicorn.Server(server_config(app, settings))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), 60, "the API")
        yield Site(app, f"http://127.0.0.1:{settings.api_port}")
    finally:
        server.should_exit = True
        thread.join(20)
