from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from engine.errors import Retry
from engine.security.secret_references import SecretReference, check_reference, resolve

CANARY = "canary-9f3a"


def test_from_the_environment_and_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACS_PASSWORD", CANARY)
    assert resolve("env:PACS_PASSWORD").get_secret_value() == CANARY
    file = tmp_path / "secret"
    file.write_bytes(CANARY.encode() + b"\r\n")
    secret = resolve(f"file:{file}")
    assert secret.get_secret_value() == CANARY
    assert CANARY not in repr(secret)


def test_it_is_read_when_used(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("one")
    assert resolve(f"file:{file}").get_secret_value() == "one"
    file.write_text("two")
    assert resolve(f"file:{file}").get_secret_value() == "two"


def test_what_cannot_be_had_is_told_by_its_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "large").write_text("x" * 70_000)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for reference, words in (
        ("env:NOT_SET", "no NOT_SET"), (f"file:{tmp_path / 'none'}", "No such file"),
        (f"file:{tmp_path / 'empty'}", "is empty"), (f"file:{tmp_path / 'large'}", "larger than"),
        (f"file:{tmp_path / 'binary'}", "not text"), (f"file:{tmp_path}", "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(Retry, match=words) as caught:
            resolve(reference)
        assert reference in str(caught.value)


@pytest.mark.parametrize("text", [CANARY, f"env:{CANARY} x", "file:relative", "env:", f"pass:{CANARY}", ""])
def test_a_secret_typed_by_mistake_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="A secret") as caught:
        check_reference(text)
    assert CANARY not in str(caught.value)


def test_a_field_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    class Peer(BaseModel):
        password: SecretReference

    assert Peer(password="env:X").password == "env:X"
    with pytest.raises(ValidationError, match="does not belong here"):
        Peer(password="hunter2")
