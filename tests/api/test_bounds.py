"""How often, from where, and for how long one may ask."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from engine.settings import Settings
from engine.store import tables
from tests.api.site import PASSWORD, Site, serving
from tests.peers import free_port


@pytest.fixture
def bounded(home: Path) -> Iterator[Site]:
    settings = Settings(
        home=home, api_port=free_port(), min_free_mb=0, requests_per_minute=20, idle_minutes=5,
        cors_origins="https://reports.example",
    )  # fmt: skip
    with serving(settings) as site:
        yield site


def test_who_asks_too_often_is_told_when_to_come_back_and_others_are_not(bounded: Site) -> None:
    client = bounded.signed_in()
    answers = [client.get("/auth/me") for _ in range(45)]  # more than two minutes' worth, should one end meanwhile
    assert answers[0].status_code == 200
    told = next(a for a in answers if a.status_code == 429)
    assert 1 <= int(told.headers["Retry-After"]) <= 60
    assert told.headers["Content-Type"] == "application/problem+json"
    assert told.headers["X-Content-Type-Options"] == "nosniff"
    assert bounded.signed_in("ada", "Admin").get("/auth/me").status_code == 200
    with bounded.anonymous() as anybody:
        assert {anybody.get(f"{bounded.url}/health/live").status_code for _ in range(45)} == {200}


def test_an_origin_that_is_named_is_let_in_and_no_other(bounded: Site) -> None:
    with bounded.anonymous() as client:
        for origin, expected in (("https://reports.example", "https://reports.example"), ("https://else.example", None)):
            asked = client.options("/config", headers={"Origin": origin, "Access-Control-Request-Method": "GET"})
            assert asked.headers.get("Access-Control-Allow-Origin") == expected
            assert "Access-Control-Allow-Credentials" not in asked.headers


def test_a_sign_in_that_does_nothing_is_over(bounded: Site) -> None:
    tokens = bounded.tokens()
    assert tokens["expires_in"] == 300
    claims = bounded.parts.signer.check(tokens["access_token"])
    assert claims.expires_at <= datetime.now(UTC) + timedelta(minutes=5)
    t = tables.refresh_tokens
    with bounded.store.database.write() as connection:
        until = connection.execute(select(t.c.expires_at)).scalar_one()
        assert until <= datetime.now(UTC) + timedelta(minutes=5)
        connection.execute(t.update().values(expires_at=until - timedelta(minutes=5)))  # they pass
    with bounded.anonymous() as client:
        assert client.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]}).status_code == 401
        again = client.post("/auth/login", json={"username": "ada", "password": PASSWORD})
        assert again.status_code == 200
