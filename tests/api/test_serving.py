"""The API as a process of its own, and its health."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from engine.settings import Settings
from engine.store import Store
from tests.api.site import PASSWORD, Site
from tests.peers import accepts, wait_until

SERVE = (
    "from engine.api.app import serve; from engine.log import setup_logging; from engine.settings import Settings;"
    "from engine.errors import AxiomError\n"
    "setup_logging('json', 'DEBUG', 'api')\n"
    "try: serve(Settings())\n"
    "except AxiomError as e: raise SystemExit(str(e))\n"
)


@contextmanager
def _process(home: Path, port: int, **env: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    log = home / "api.log"
    env = {**os.environ, "AXIOM_HOME": str(home), "AXIOM_API_PORT": str(port), **env}
    with log.open("w") as out:
        process = subprocess.Popen([sys.executable, "-c", SERVE], env=env, stdout=out, stderr=out, text=True)
    try:
        yield process, log
    finally:
        process.terminate()
        process.wait(30)


def test_a_real_process_serves_and_ends_and_its_log_tells_no_secrets(home: Path, free_port: int) -> None:
    store = Store(Settings(home=home))
    store.people.create("ada", role="Admin", who="t", password=PASSWORD, must_change=False)
    store.close()
    url = f"http://127.0.0.1:{free_port}/api/v1"
    with _process(home, free_port) as (process, log):
        wait_until(lambda: accepts(free_port) or process.poll() is not None, 60, "the API")
        with httpx.Client(base_url=url, trust_env=False) as client:
            tokens = client.post("/auth/login", json={"username": "ada", "password": PASSWORD}).json()
            client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
            assert client.get("/config").status_code == 200
            assert client.get("/instances/1.2.999.canary").status_code == 404
            assert client.get("/instances", params={"q": "Canary^Patient"}).status_code == 200
            client.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
            answer = client.get("/config")
            assert "server" not in answer.headers
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes() if sys.platform == "linux" else b""
        process.terminate()
        assert process.wait(30) == 0
        text = log.read_text()
    assert "/api/v1/instances/{sop_instance_uid} -> 404" in text
    key = (home / "secret.key").read_text()
    for secret in (PASSWORD, tokens["access_token"], tokens["refresh_token"], key, "1.2.999", "Canary"):
        assert secret not in text
        assert secret.encode() not in command
    assert all("request_id" in json.loads(line) for line in text.splitlines() if " -> " in line)


def test_a_taken_port_is_a_sentence_and_a_failure(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with _process(home, port) as (process, log):
            assert process.wait(60) == 1
            assert f"cannot listen on 127.0.0.1 port {port}" in log.read_text()
            assert "AXIOM_API_PORT" in log.read_text()
            assert "Traceback" not in log.read_text()


def test_a_store_that_is_away_is_a_sentence_and_a_failure(home: Path, free_port: int) -> None:
    url = "postgresql://axiom:s3cret-canary@127.0.0.1:1/axiom"
    with _process(home, free_port, AXIOM_DATABASE_URL=url) as (process, log):
        assert process.wait(60) == 1
        assert "configuration store at postgresql://axiom:***@127.0.0.1:1" in log.read_text()
        assert "s3cret-canary" not in log.read_text()
        assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_alive_without_redis_and_not_ready(site: Site) -> None:
    client = site.anonymous()
    assert client.get(f"{site.url}/health/live").json() == {"status": "live"}
    ready = client.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json() == {
        "ready": False,
        "parts": [
            {"name": "store", "ok": True, "words": "reachable"},
            {"name": "redis", "ok": False, "words": "cannot be reached"},
            {"name": "spool", "ok": True, "words": "none on this node"},
        ],
    }


def test_ready_when_every_part_answers(home: Path, free_port: int, clean_valkey: str) -> None:
    (home / "spool").mkdir()
    env = {"AXIOM_REDIS_URL": clean_valkey, "AXIOM_MIN_FREE_MB": "0"}
    with _process(home, free_port, **env) as (process, _):
        wait_until(lambda: accepts(free_port) or process.poll() is not None, 60, "the API")
        ready = httpx.get(f"http://127.0.0.1:{free_port}/health/ready", trust_env=False)
        assert (ready.status_code, ready.json()["ready"]) == (200, True)


def test_a_forwarded_address_is_believed_of_trusted_proxies_alone(home: Path, free_ports: Callable[[], int]) -> None:
    for trusted, expected in (("", "127.0.0.1"), ("127.0.0.1", "203.0.113.7")):
        port, own = free_ports(), home / (trusted or "none")
        own.mkdir()
        store = Store(Settings(home=own))
        with _process(own, port, **({"AXIOM_TRUSTED_PROXIES": trusted} if trusted else {})) as (process, _):
            wait_until(lambda: accepts(port) or process.poll() is not None, 60, "the API")  # noqa: B023
            headers = {"X-Forwarded-For": "203.0.113.7"}
            body = {"username": "x", "password": "y"}
            httpx.post(f"http://127.0.0.1:{port}/api/v1/auth/login", json=body, headers=headers, trust_env=False)
        assert store.audit.rows()[0].address == expected
        store.close()
