"""schemathesis over the whole OpenAPI document, with all its checks, as each role and as nobody.

It makes requests that fit the schema and such that do not, and holds every answer against the document: no 5xx, no status or
body that the document does not name, nothing accepted that the schema forbids.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.settings import Settings
from tests.api.site import Site
from tests.peers import free_port
from tests.running import ROOT
from tests.store.databases import DATABASES, database_url

CONFIG = Path(__file__).parent / "fuzzing" / "schemathesis.toml"
ROLES = ("Admin", "User", "")
EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "20")
"""How many random requests to each operation in the long form, on top of those that are thought out."""


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def settings(request: pytest.FixtureRequest, home: Path, clean_valkey: str, database: str) -> Iterator[Settings]:
    with database_url(request, database) as url:
        yield Settings(
            home=home, database_url=url, redis_url=clean_valkey, api_port=free_port(), min_free_mb=0, requests_per_minute=0
        )


def _fuzz(site: Site, settings: Settings, role: str, tmp_path: Path, *options: str) -> int:
    """Runs it to its end; how many requests it made. Fails with what it found."""
    site.person("other", "Admin")
    env = {k: v for k, v in os.environ.items() if not k.startswith("AXIOM_")} | {
        "AXIOM_HOME": str(settings.home), "AXIOM_DATABASE_URL": settings.database_url, "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.api.fuzzing.hooks", "FUZZ_ROLE": role, "FUZZ_USER": "fuzzer",
    }  # fmt: skip
    headers: list[str] = []
    if role:
        site.person("fuzzer", role)
        text, key = site.store.keys.create("fuzzer", "fuzz", who="test")
        headers = ["-H", f"Authorization: Bearer {text}"]
        env["FUZZ_KEY"] = key.prefix
    report = tmp_path / "report.json"
    st = Path(sys.executable).parent / "schemathesis"
    done = subprocess.run(
        [st, "--config-file", CONFIG, "run", f"{site.url}/api/v1/openapi.json", *headers, "--checks", "all", "--no-color",
         "--report-json-path", report, *options],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    told = json.loads(report.read_text())
    return int(told["test_cases"]["generated"])


@pytest.mark.parametrize("role", ROLES, ids=lambda r: r or "nobody")
def test_a_few_requests_to_each_operation(site: Site, settings: Settings, role: str, tmp_path: Path) -> None:
    options = ("--phases", "fuzzing", "--max-examples", "2" if role == "Admin" else "1", "--seed", "7")
    assert _fuzz(site, settings, role, tmp_path, *options) >= 100


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("database", DATABASES, indirect=True)
@pytest.mark.parametrize("role", ROLES, ids=lambda r: r or "nobody")
def test_thousands_of_requests(site: Site, settings: Settings, role: str, tmp_path: Path) -> None:
    asked = _fuzz(site, settings, role, tmp_path, "--max-examples", EXAMPLES)
    print(f"{asked} requests as {role or 'nobody'}")
    assert asked > 2000
