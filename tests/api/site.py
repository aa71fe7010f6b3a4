"""The served API as tests use it: clients that are signed in, and the store behind them."""

from __future__ import annotations

from typing import Any

import httpx
from fastapi import FastAPI

from engine.api.parts import Parts
from engine.store import Store

__all__ = ["PASSWORD", "Site"]

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
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=30, trust_env=False)

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
