"""Secrets are references: where the secret is, not what it is. Resolved at the moment of use, kept nowhere.

    env:NAME      the environment variable NAME
    file:PATH     the content of a file (a trailing line end is not part of it)
    stored:ID     what a person typed in, kept encrypted in the store
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from engine.errors import Retry

__all__ = ["SecretReference", "check_reference", "resolve", "use_stored"]

LARGEST = 64 * 1024


def _env(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise Retry(f"The secret env:{name} cannot be read: the environment of this process has no {name}.")
    return value


def _file(path: str) -> str:
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except OSError as e:
        raise Retry(f"The secret file:{path} cannot be read: {e.strerror}.") from e
    if len(data) > LARGEST:
        raise Retry(f"The secret file:{path} is larger than {LARGEST // 1024} KB: is it the right file?")
    try:
        text = data.decode()
    except UnicodeDecodeError as e:
        raise Retry(f"The secret file:{path} is not text in UTF-8.") from e
    if not (text := text.removesuffix("\n").removesuffix("\r")):
        raise Retry(f"The secret file:{path} is empty.")
    return text


_stored: list[Callable[[str], str]] = []


def use_stored(read: Callable[[str], str]) -> None:
    """From now on this process reads `stored:` by it (the store does so when it is opened)."""
    _stored[:] = [read]


def _from_store(key: str) -> str:
    if not _stored:
        raise Retry(f"The secret stored:{key} cannot be read: the configuration store is not open in this process.")
    return _stored[0](key)


_RESOLVERS: dict[str, tuple[re.Pattern[str], str, Callable[[str], str]]] = {
    "env": (re.compile(r"[A-Za-z_][A-Za-z0-9_]*"), "env:NAME, the name of an environment variable", _env),
    "file": (re.compile(r"/.+"), "file:PATH, an absolute path", _file),
    "stored": (re.compile(r"[0-9a-f]{32}"), "stored:ID, as POST /api/v1/secrets answers", _from_store),
}


def check_reference(text: str) -> str:
    """The reference itself when it is well formed. Raises ValueError that never quotes it: it may be a secret by mistake."""
    scheme, _, rest = text.partition(":")
    known = _RESOLVERS.get(scheme)
    if known is None:
        forms = " or ".join(form for _, form, _ in _RESOLVERS.values())
        raise ValueError(f"A secret is given as {forms}; the secret itself does not belong here.")
    if not known[0].fullmatch(rest):
        raise ValueError(f"A secret of this kind is given as {known[1]}.")
    return text


def resolve(reference: str) -> SecretStr:
    """The secret, now. Raises Retry with a sentence that names the reference (never the value) when it cannot be had."""
    scheme, _, rest = check_reference(reference).partition(":")
    return SecretStr(_RESOLVERS[scheme][2](rest))


SecretReference = Annotated[
    str,
    AfterValidator(check_reference),
    Field(
        description="Where the secret is: `env:NAME` or `file:PATH`. The secret itself is not kept here.",
        examples=["env:PACS_PASSWORD"],
        json_schema_extra={"form": "secret"},
    ),
]
"""For fields of sources and destinations that need a password or a key."""
