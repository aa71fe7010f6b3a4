"""schemathesis over the whole OpenAPI document, with all its checks, as each role and as nobody.

It makes requests that fit the schema and such that do not, and holds every answer against the document: no 5xx, no status or
body that the document does not name, nothing accepted that the schema forbids. The long form (`-m slow`) is bounded by the
settings below, and shows how far it is when pytest captures nothing (`-s`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine.settings import Settings
from tests.api.site import Site
from tests.peers import free_port
from tests.running import ROOT
from tests.store.databases import database_url

CONFIG = Path(__file__).parent / "fuzzing" / "schemathesis.toml"
ROLES = ("Admin", "User", "Sender", "")
EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "10")
"""How many random requests to each operation in the long form, on top of those that are thought out."""
COVERAGE = os.environ.get("FUZZ_COVERAGE", "10")
"""One of so many of the thought-out ones is made; 1: all of them (100,000 and more: hours)."""
SEED = os.environ.get("FUZZ_SEED", "1")
DEEP = """
[[operations]]
include-name = [
    "PUT /api/v1/rulesets/{name}", "PATCH /api/v1/rulesets/{name}", "POST /api/v1/rulesets/validate",
    "POST /api/v1/rulesets/check",
]
phases.coverage.enabled = false
"""
"""A ruleset may hold every kind of condition and morph, and takes long to think out. POST /rulesets takes the same body: it
stands for these, unless all are wanted."""


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def settings(request: pytest.FixtureRequest, home: Path, clean_valkey: str, database: str) -> Iterator[Settings]:
    with database_url(request, database) as url:
        yield Settings(
            home=home, database_url=url, redis_url=clean_valkey, api_port=free_port(), min_free_mb=0, requests_per_minute=0
        )


def _fuzz(site: Site, settings: Settings, role: str, tmp_path: Path, seed: str, *options: str) -> int:
    """Runs it to its end; how many requests it made. Fails with what it found."""
    site.person("other", "Admin")
    env = {k: v for k, v in os.environ.items() if not k.startswith("AXIOM_")} | {
        "AXIOM_HOME": str(settings.home), "AXIOM_DATABASE_URL": settings.database_url, "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.api.fuzzing.hooks", "FUZZ_ROLE": role, "FUZZ_USER": "fuzzer",
        "FUZZ_SEED": seed, "FUZZ_COVERAGE": COVERAGE,
    }  # fmt: skip
    headers: list[str] = []
    if role:
        site.person("fuzzer", role)
        text, key = site.store.keys.create("fuzzer", "fuzz", who="test")
        headers = ["-H", f"Authorization: Bearer {text}"]
        env["FUZZ_KEY"] = key.prefix
    httpx.get(f"{site.url}/api/v1/openapi.json", timeout=120).raise_for_status()  # made once: schemathesis waits 10 s for it
    report, config = tmp_path / "report.json", tmp_path / "schemathesis.toml"
    config.write_text(CONFIG.read_text() + (DEEP if COVERAGE != "1" else ""))
    st = Path(sys.executable).parent / "schemathesis"
    with subprocess.Popen(
        [st, "--config-file", config, "run", f"{site.url}/api/v1/openapi.json", *headers, "--checks", "all", "--no-color",
         "--report-json-path", report, "--seed", seed, *options],
        cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        lines: deque[str] = deque(maxlen=400)
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    assert process.returncode == 0, "".join(lines)
    told = json.loads(report.read_text())
    return int(told["test_cases"]["generated"])


@pytest.mark.parametrize("role", [r for r in ROLES if r != "Sender"], ids=lambda r: r or "nobody")
def test_a_few_requests_to_each_operation(site: Site, settings: Settings, role: str, tmp_path: Path) -> None:
    options = ("--phases", "fuzzing", "--max-examples", "2" if role == "Admin" else "1")
    assert _fuzz(site, settings, role, tmp_path, "7", *options) >= 100


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("role", "database"), [*((role, "sqlite") for role in ROLES), ("Admin", "postgresql")], indirect=["database"],
    ids=lambda word: word or "nobody",
)  # fmt: skip
def test_thousands_of_requests(site: Site, settings: Settings, role: str, tmp_path: Path) -> None:
    asked = _fuzz(site, settings, role, tmp_path, SEED, "--max-examples", EXAMPLES)
    print(f"{asked} requests as {role or 'nobody'}, seed {SEED}")
    assert asked > 2000
