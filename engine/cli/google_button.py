"""What Streamlit's own OpenID client must know for the button "Sign in with Google": a file of ours, readable by nobody else."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.settings import Settings

__all__ = ["write_secrets"]


def write_secrets(settings: Settings) -> Path:
    """Write the file (0600) and give its path. The workbench hands the ID token on to the API, which checks it anew."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
    app = (settings.app_url or f"http://{host}:{settings.app_port}").rstrip("/")
    cookie = hashlib.sha256(b"workbench cookie\0" + settings.key.encode()).hexdigest()
    lines = [
        "[auth]", _line("redirect_uri", f"{app}/oauth2callback"), _line("cookie_secret", cookie),
        _line("expose_tokens", "id"), "", "[auth.google]", _line("client_id", settings.google_client_id),
        _line("client_secret", settings.google_client_secret.get_secret_value()),
        _line("server_metadata_url", f"{settings.google_issuer.rstrip('/')}/.well-known/openid-configuration"),
    ]  # fmt: skip
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    file = settings.run_dir.resolve() / "workbench-secrets.toml"
    tmp = file.with_suffix(".tmp")
    tmp.unlink(missing_ok=True)
    with os.fdopen(os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write("\n".join(lines) + "\n")
    tmp.rename(file)
    return file


def _line(name: str, value: str) -> str:
    return f"{name} = {json.dumps(value)}"  # a TOML basic string is written like a JSON one
