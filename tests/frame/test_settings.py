"""Homes of any name: what is made of their paths leads back to them."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from sqlalchemy import make_url

from engine.settings import Settings

NAMES = ["plain", "Axiom Flow", "Jörg", "100%41", "what?", "a#b", "a=b", "back\\slash", "x" * 120]


@pytest.mark.parametrize("name", NAMES)
def test_the_stores_and_the_sockets_addresses_lead_to_the_home(tmp_path: Path, name: str) -> None:
    settings = Settings(home=tmp_path / name, database_url="", redis_url="")
    assert make_url(settings.database).database == str(tmp_path / name / "axiom.db")
    with redis.Redis.from_url(settings.redis) as client:
        assert client.connection_pool.connection_kwargs["path"] == str(settings.redis_socket)


@pytest.mark.parametrize("name", NAMES)
def test_the_socket_s_path_can_be_read_back_from_valkeys_list_of_clients(tmp_path: Path, name: str) -> None:
    """`CLIENT LIST` gives it as one of many words `key=value`, with blanks between."""
    path = str(Settings(home=tmp_path / name).redis_socket)
    assert not set(path) & set(' =%?#\\"')
    assert len(path.encode()) <= 107
