"""The API and the workbench over TLS, as their processes serve it; the workbench's client knows the API by its authority."""

from __future__ import annotations

import os
import signal
import ssl
import sys
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.api.app import create_app, server_config
from engine.cli.own import ask_own
from engine.errors import AxiomError
from engine.process import Child
from engine.settings import Settings
from tests.connection.authority import Authority
from tests.peers import free_port, wait_until
from workbench.client import ApiError, Client


@contextmanager
def process(name: str, home: Path, **env: str) -> Iterator[Child]:
    given = {k: v for k, v in os.environ.items() if not k.startswith("AXIOM_")} | {"AXIOM_HOME": str(home)} | env
    argv = [sys.executable, "-m", "engine", name]
    child = Child(name, argv, env=given, log=home / f"{name}.log", restart=False, on_parent_death=signal.SIGKILL)
    child.start()
    try:
        yield child
    finally:
        child.ask_to_stop()
        child.stop(30)


def answers(url: str) -> bool:
    try:
        with ask_own(url, 5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def test_the_api_speaks_tls_and_takes_a_new_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    pair, port = authority.issue("api"), free_port()
    env = {
        "AXIOM_API_PORT": str(port),
        "AXIOM_TLS_CERTIFICATE": f"file:{pair.certificate}",
        "AXIOM_TLS_KEY": f"file:{pair.key}",
    }
    url = f"https://127.0.0.1:{port}"
    with process("api", tmp_path, **env):
        wait_until(lambda: answers(f"{url}/health/live"), 60, "the API")
        monkeypatch.setenv("AXIOM_TLS_CA", str(authority.ca))
        with pytest.raises(ApiError) as wrong:
            Client(url).login("ada", "no such person")
        assert wrong.value.status == 401, "it was reached, and believed"
        monkeypatch.setenv("AXIOM_TLS_CA", str(other.ca))
        with pytest.raises(ApiError) as stranger:
            Client(url).login("ada", "no such person")
        assert stranger.value.status != 401
        before = ssl.get_server_certificate(("127.0.0.1", port), timeout=20)
        new = authority.issue("renewed")
        new.certificate.replace(pair.certificate)
        new.key.replace(pair.key)
        wait_until(lambda: ssl.get_server_certificate(("127.0.0.1", port), timeout=20) != before, what="the new one")


@pytest.mark.parametrize(
    ("certificate", "words"), [("/etc/axiom.pem", "A secret is given as"), ("file:/no/such.pem", "No such file")]
)
def test_what_is_wrong_with_its_certificate_is_said_at_the_start(tmp_path: Path, certificate: str, words: str) -> None:
    settings = Settings(home=tmp_path, tls_certificate=certificate)
    with pytest.raises(AxiomError, match=words):
        server_config(create_app(settings), settings)


@pytest.mark.slow
def test_the_workbench_speaks_tls(tmp_path: Path) -> None:
    pair, port = Authority(tmp_path / "ca").issue("app"), free_port()
    env = {
        "AXIOM_APP_PORT": str(port),
        "AXIOM_TLS_CERTIFICATE": f"file:{pair.certificate}",
        "AXIOM_TLS_KEY": f"file:{pair.key}",
    }
    with process("app", tmp_path, **env):
        wait_until(lambda: answers(f"https://127.0.0.1:{port}/_stcore/health"), 90, "the workbench")
