"""The settings are read over the API, without what is secret in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.api.parts import Parts
from engine.api.routes.environment import SettingOut, list_settings
from engine.settings import Settings
from tests.api.site import Site


def test_who_administers_reads_the_settings(site: Site) -> None:
    found = {s["name"]: s for s in site.signed_in().get("/settings").raise_for_status().json()}
    assert found.keys() == {f"AXIOM_{name.upper()}" for name in Settings.model_fields}
    home = found["AXIOM_HOME"]
    assert (home["value"], home["given"], home["secret"]) == (str(site.parts.settings.home), True, False)
    assert "spool" in home["words"]
    assert (found["AXIOM_IDLE_MINUTES"]["value"], found["AXIOM_IDLE_MINUTES"]["given"]) == (720, False)
    assert site.signed_in("ada", "User").get("/settings").status_code == 403


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("database_url", "postgresql+psycopg://axiom:p@ss/w0rd@db/axiom", "postgresql+psycopg://(hidden)@db/axiom"),
        ("database_url", "postgresql://db/a?user=b&password=p4ss&sslmode=on", "postgresql://db/a?user=b&(hidden)&sslmode=on"),
        ("redis_url", "rediss://:t0ken@redis.example:6380/1", "rediss://(hidden)@redis.example:6380/1"),
        ("redis_url", "redis://redis.example:6379/0", "redis://redis.example:6379/0"),
        ("secret_key", "k" * 40, None), ("metrics_token", "t0ken", None), ("google_client_secret", "s3cret", None),
    ],
)  # fmt: skip
def test_no_secret_is_among_them(home: Path, name: str, value: str, shown: str | None) -> None:
    parts = Parts(Settings.model_validate({"home": home, name: value}))
    found: dict[str, SettingOut] = {s.name: s for s in list_settings(parts)}
    one = found[f"AXIOM_{name.upper()}"]
    assert (one.value, one.given, one.secret) == (shown, True, shown is None)
