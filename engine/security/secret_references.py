"""Secrets are references: where the secret is, not what it is. Resolved at the moment of use, kept nowhere.

    env:NAME      the environment variable NAME
    file:PATH     the content of a file (a trailing line end is not part of it)
    gcp-sm:NAME   Google Secret Manager, `projects/P/secrets/S` (the latest version) or `projects/P/secrets/S/versions/V`,
                  read as this machine's own identity; CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER names another endpoint
    stored:ID     what a person typed in, kept encrypted in the store
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from engine.errors import Permanent, Retry

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


def _gcp_sm(name: str) -> str:
    import httpx

    from engine.security.google import google_tokens

    what = f"The secret gcp-sm:{name} cannot be read"
    url = os.environ.get("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", "https://secretmanager.googleapis.com/")
    version = name if "/versions/" in name else f"{name}/versions/latest"
    try:
        token = google_tokens(None, ("https://www.googleapis.com/auth/cloud-platform",)).token()
        with httpx.Client(trust_env=False, timeout=20) as client:
            headers = {"Authorization": f"Bearer {token}"}
            answer = client.get(f"{url.rstrip('/')}/v1/{version}:access", headers=headers)
    except (Retry, Permanent) as e:
        raise Retry(f"{what}: {e}") from e
    except httpx.HTTPError as e:
        raise Retry(f"{what}: Secret Manager does not answer ({type(e).__name__}).") from e
    try:
        body = answer.json()
        if answer.status_code != 200:
            raise Retry(f"{what}: {' '.join(str(body['error']['message']).split())[:300]} ({answer.status_code})")
        text = base64.b64decode(body["payload"]["data"], validate=True).decode().removesuffix("\n").removesuffix("\r")
    except (ValueError, KeyError, TypeError):
        # The cause may quote the secret, so it is left behind.
        raise Retry(f"{what}: Secret Manager's answer ({answer.status_code}) is not text in UTF-8.") from None
    if not text:
        raise Retry(f"{what}: it is empty.")
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
    "gcp-sm": (
        re.compile(r"projects/\w[\w.:-]*/secrets/[\w-]+(/versions/(latest|[\w-]+))?", re.ASCII),
        "gcp-sm:projects/P/secrets/S, with /versions/V for one version",
        _gcp_sm,
    ),
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
        description="Where the secret is: `env:NAME`, `file:PATH` or `gcp-sm:projects/P/secrets/S`. It is not kept here itself.",
        examples=["env:PACS_PASSWORD"],
        json_schema_extra={"form": "secret"},
    ),
]
"""For fields of sources and destinations that need a password or a key."""
