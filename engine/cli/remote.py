"""Commands for an Axiom Flow elsewhere: the same answers, from its API, as the owner of a key."""

from __future__ import annotations

import ssl
from typing import Annotated, Any

import typer

from engine.cli.show import fail, settings
from engine.errors import AxiomError, Conflict, Denied, Invalid, Missing, Problem

__all__ = ["Key", "Remote", "Url", "remote"]

Url = Annotated[
    str,
    typer.Option("--url", envvar="AXIOM_URL", help="The API of an Axiom Flow elsewhere, with --key."),
]
Key = Annotated[
    str,
    typer.Option(
        "--key", envvar="AXIOM_KEY",
        help="An API key for --url; or where it is, as file:PATH or env:NAME, since other people see what a command is given.",
    ),
]  # fmt: skip


class Remote:
    """The API of another instance, below /api/v1. Every call raises AxiomErrors with the API's own words."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        self._key = key

    def get(self, path: str, **params: Any) -> Any:
        return self._ask("GET", path, params={k: v for k, v in params.items() if v is not None})

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._ask("POST", path, json=body)

    def live(self) -> int:
        """The number of its live revision."""
        return int(self.get("/revisions", limit=1)["live"])

    def _ask(self, method: str, path: str, **what: Any) -> Any:
        import httpx

        headers = {"Authorization": f"Bearer {self._key}"}
        verify: ssl.SSLContext | bool = False  # without https nothing is there to be verified
        if self.url.startswith("https:"):
            verify = ssl.create_default_context(cafile=settings().tls_ca or None)
        try:
            with httpx.Client(headers=headers, timeout=60, trust_env=False, verify=verify) as client:
                answer = client.request(method, f"{self.url}/api/v1{path}", **what)
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise AxiomError(f"The API at {self.url} does not answer: {e or type(e).__name__}.") from e
        try:
            body = answer.json()
        except ValueError:
            raise AxiomError(f"What answers at {self.url} ({answer.status_code}) is no Axiom Flow's API.") from None
        if not answer.is_success:
            raise _error(answer.status_code, body if isinstance(body, dict) else {})
        return body


def remote(url: str, key: str) -> Remote | None:
    """The other instance that was asked for; None: this machine's own. Ends with a sentence when half of it is missing."""
    if not url:
        return None
    if not url.startswith(("http://", "https://")):
        fail(f"--url {url}: it begins with https:// (or http://).", 2)
    if not key:
        fail("--url needs a key: --key file:PATH, or AXIOM_KEY. People make keys on the page API keys.", 2)
    if ":" in key:
        from engine.security.secret_references import check_reference, resolve

        try:
            check_reference(key)
        except ValueError as e:
            fail(f"--key: {e}", 2)
        key = resolve(key).get_secret_value()
    return Remote(url, key)


def _error(status: int, body: dict[str, Any]) -> AxiomError:
    words = str(body.get("detail") or body.get("title") or f"The API answered {status}.")
    if problems := [Problem(tuple(p.get("loc", ())), str(p.get("words", ""))) for p in body.get("problems", [])]:
        return Invalid(problems)
    match status:
        case 401:
            return Denied(f"The key is not taken there: {words}")
        case 403:
            return Denied(words, known=True)
        case 404:
            return Missing(words)
        case 409 | 412:
            return Conflict(words)
    return AxiomError(words)
