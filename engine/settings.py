"""Environment -> one frozen Settings, read once at the start of a process and handed down."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from engine.described import Described

__all__ = ["Settings"]

_LEAST_FREE_MB = 16


class Settings(BaseSettings, Described):
    """Every variable of the environment that Axiom Flow reads (`AXIOM_HOME`, `AXIOM_API_PORT`, ...)."""

    model_config = SettingsConfigDict(env_prefix="AXIOM_", frozen=True, extra="ignore")

    home: Path = Path("axiom-home")
    """Where everything is kept: spool, history, database, logs."""
    host: str = "127.0.0.1"
    """The address that the listeners of the example, the API and the workbench listen on."""
    dimse_port: int = Field(11112, ge=1, le=65535)
    """The port of the example configuration's listener."""
    api_port: int = Field(8001, ge=1, le=65535)
    """The API's port."""
    app_port: int = Field(8501, ge=1, le=65535)
    """The workbench's port."""
    instance_id: str = Field("node-1", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$")
    """This node's name: its spool, its queues and its listeners carry it. Different on each node that shares a Redis."""
    database_url: str = ""
    """SQLAlchemy URL of the configuration store; empty: SQLite in the home."""
    redis_url: str = ""
    """Redis (6.2 or later) or Valkey; empty: the embedded Valkey, started by `axiom up`."""
    secret_key: SecretStr = SecretStr("")
    """Signs tokens and encrypts stored secrets (32 characters or more); empty: made once and kept in the home."""
    log_original_attributes: bool = True
    """Whether changes are recorded in the Original Attributes Sequence (0400,0561); a rule can override it."""
    components: str = ""
    """A site's own kinds: module names or .py files, comma-separated."""
    metrics_token: SecretStr = SecretStr("")
    """Who sends it (`Authorization: Bearer ...`) may read /metrics without signing in; empty: only who may view."""
    cors_origins: str = ""
    """Web pages of which other origins may use the API, comma-separated; empty: none."""
    trusted_proxies: str = ""
    """Addresses of proxies whose X-Forwarded-For and -Proto are believed, comma-separated; empty: none."""
    idle_minutes: float = Field(720, ge=1, le=10_080)
    """A sign-in that does nothing for so long is over."""
    requests_per_minute: int = Field(3000, ge=0)
    """How many requests each sign-in or key may make of the API from one address (and ten times as many that address in
    all); more are answered with 429. 0: no bound."""
    allowed_hosts: str = ""
    """Link-local and loopback addresses that webhooks, sources and destinations given by URL may reach all the same: networks or
    host names, comma-separated (`127.0.0.0/8,::1,localhost`). The machine's metadata service is refused unless named; a
    hospital's private networks need no entry."""
    google_client_id: str = ""
    """The OAuth client of this installation at Google; empty: no sign-in with Google."""
    google_client_secret: SecretStr = SecretStr("")
    """Its secret: for the workbench's button alone."""
    google_hosted_domain: str = ""
    """Whose accounts may come (`hospital.example`), comma-separated; empty: anybody's, each waits for an admin."""
    google_issuer: str = "https://accounts.google.com"
    """Who signs the ID tokens: another one is for trying it out."""
    google_jwks_url: str = "https://www.googleapis.com/oauth2/v3/certs"
    """Where the issuer's public keys are."""
    app_url: str = ""
    """Where people's browsers find the workbench, for Google's way back; empty: this host and port."""
    api_url: str = ""
    """Where the workbench and notebooks find the API; empty: this host and port."""
    route_workers: int = Field(1, ge=1, le=16)
    """Worker processes that decide and change."""
    deliver_workers: int = Field(2, ge=1, le=16)
    """Worker processes that deliver; two or more, so that one can end its long drain while the other takes over."""
    batch_instances: int = Field(250, ge=1, le=10_000)
    """A batch is handed on when it holds this many instances."""
    keep_delivered_hours: float = Field(24.0, ge=0)
    """How long a batch is kept after every destination has confirmed."""
    keep_unmatched_days: float = Field(7.0, ge=0)
    """How long instances that no rule matched are kept for a replay."""
    min_free_mb: int = Field(1024, ge=0)
    """Watermark: below this much free disk, receiving stops with A700 / 507. Never below 16: that much stays for ledgers,
    routing and delivery, without which what was acknowledged could not leave a full disk."""
    tls_certificate: str = ""
    """Where the certificate of the API and the workbench is, as `file:`, `env:` or `gcp-sm:` (the workbench: `file:` alone);
    empty: plain HTTP, for a proxy that speaks TLS in front."""
    tls_key: str = ""
    """Where its key is; empty: with the certificate."""
    tls_ca: str = ""
    """A file (PEM) with the authorities by which the workbench and notebooks know the API; empty: those of this machine."""
    tls_warn_days: int = Field(30, ge=1, le=365)
    """How many days before a certificate of a source or destination ends it is warned of."""
    history_headers: bool = True
    """Whether the history keeps the full header of each instance as JSON (needed for what-if on any tag)."""
    keep_history_days: float = Field(365.0, gt=0)
    """How long what happened is kept."""
    log_format: str = Field("console", pattern="^(console|json)$")
    """`console` for people, `json` for collectors."""
    log_level: str = Field("INFO", pattern="^(?i:debug|info|warning|error)$")
    """`DEBUG`, `INFO`, `WARNING` or `ERROR`."""

    @property
    def min_free_bytes(self) -> int:
        """The watermark as it holds, with the room that no setting takes away."""
        return max(self.min_free_mb, _LEAST_FREE_MB) << 20

    @property
    def spool(self) -> Path:
        return self.home / "spool"

    @property
    def history(self) -> Path:
        return self.home / "history"

    @property
    def run_dir(self) -> Path:
        """Small files of running processes: locks, wanted listeners, heartbeats."""
        return self.home / "run"

    @property
    def monitor(self) -> Path:
        """Counters, the state of alerts, and messages on their way."""
        return self.home / "monitor"

    @property
    def log_dir(self) -> Path:
        return self.home / "logs"

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{quote(str(self.home.resolve() / 'axiom.db'))}"

    @property
    def redis_socket(self) -> Path:
        """The embedded Valkey's socket. A Unix socket's path holds 107 bytes, and clients read it back from `CLIENT LIST`,
        where a blank or "=" ends it: a deep or oddly named home gets a short, plain stand-in.
        """
        path = (self.home / "run" / "valkey.sock").resolve()
        if len(os.fsencode(path)) <= 100 and all(c.isalnum() or c in "/._-" for c in str(path)):
            return path
        digest = hashlib.sha256(str(path).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"axiom-{digest}" / "valkey.sock"

    @property
    def redis(self) -> str:
        return self.redis_url or f"unix://{self.redis_socket}"

    @property
    def scheme(self) -> str:
        return "https" if self.tls_certificate else "http"

    @property
    def api(self) -> str:
        return self.api_url or f"{self.scheme}://{'127.0.0.1' if self.host in ('0.0.0.0', '::') else self.host}:{self.api_port}"  # noqa: S104

    @cached_property
    def key(self) -> str:
        """The secret key: from the environment, else from `secret.key` in the home, made at the first need (0600)."""
        given = self.secret_key.get_secret_value()
        if given:
            return given
        file = self.home / "secret.key"
        if not file.exists():
            self.home.mkdir(parents=True, exist_ok=True)
            tmp = file.with_name(f".secret.key.{secrets.token_hex(4)}")
            tmp.touch(mode=0o600)
            tmp.write_text(secrets.token_hex(32))
            with contextlib.suppress(FileExistsError):  # of two processes, the first one's key stays
                file.hardlink_to(tmp)
            tmp.unlink()
        return file.read_text().strip()
