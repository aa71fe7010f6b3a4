"""Secrets of Google Secret Manager, and the identity they are read with, against doubles at the wire."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import Retry
from engine.security.secret_references import check_reference, resolve
from tests.doubles.google_tokens import GoogleTokens, google_error
from tests.doubles.server import Answer, Asked, serve

CANARY = "canary-sm-41"
CLOUD = "https://www.googleapis.com/auth/cloud-platform"


class SecretManager:
    """A double of Secret Manager's REST interface."""

    def __init__(self) -> None:
        self.tokens = GoogleTokens()
        self.secrets: dict[str, bytes] = {}

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/token":
            return self.tokens.answer(asked)
        if refused := self.tokens.refuse(asked, CLOUD):
            return refused
        name = asked.path.removeprefix("/v1/").removesuffix(":access")
        if name not in self.secrets:
            return google_error(404, "NOT_FOUND", f"Secret Version [{name}] not found.")
        said = {"name": name, "payload": {"data": base64.b64encode(self.secrets[name]).decode()}}
        return Answer(200, json.dumps(said).encode(), {"Content-Type": "application/json"})


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SecretManager]:
    double = SecretManager()
    with serve(double.answer) as url:
        double.tokens.url = f"{url}/token"
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(double.tokens.key_file(tmp_path)))
        monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", f"{url}/")
        yield double


def test_the_latest_version_or_the_one_that_is_named(manager: SecretManager) -> None:
    manager.secrets["projects/p/secrets/pacs/versions/latest"] = f"{CANARY}\n".encode()
    manager.secrets["projects/p/secrets/pacs/versions/3"] = b"older"
    assert resolve("gcp-sm:projects/p/secrets/pacs").get_secret_value() == CANARY
    assert resolve("gcp-sm:projects/p/secrets/pacs/versions/3").get_secret_value() == "older"
    assert len(manager.tokens.given) == 1


def test_what_cannot_be_had_is_told_by_its_reference(manager: SecretManager, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = "gcp-sm:projects/p/secrets/pacs"
    with pytest.raises(Retry, match=r"gcp-sm:projects/p/secrets/pacs cannot be read: Secret Version .* not found"):
        resolve(reference)
    for value in (b"", b"\xff\xfe"):
        manager.secrets["projects/p/secrets/pacs/versions/latest"] = value
        with pytest.raises(Retry, match="cannot be read"):
            resolve(reference)
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", "http://127.0.0.1:9/")
    with pytest.raises(Retry, match="does not answer"):
        resolve(reference)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/does/not/exist.json")
    with pytest.raises(Retry, match="no identity at Google"):
        resolve(reference)


WRONG = ["", "pacs", "projects/p/secrets/s/versions/", "projects/../secrets/s", "projects/p/secrets/a/b"]


@pytest.mark.parametrize("rest", WRONG)
def test_a_name_that_is_none_is_refused(rest: str) -> None:
    assert check_reference("gcp-sm:projects/example.org:p/secrets/s")
    with pytest.raises(ValueError, match="A secret of this kind"):
        check_reference(f"gcp-sm:{rest}")
