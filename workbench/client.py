"""The only way from the workbench and notebooks to the engine: its REST API, as one signed-in person.

Nothing here imports the engine. Errors come as ApiError, with the sentence and the places that the API gave.
"""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

__all__ = ["ApiError", "Away", "Client", "Problem", "Refused", "SignedOut"]

PROBLEM = "application/problem+json"
"""With it, 502 and 504 come from the API itself and tell of a peer; without, from a proxy that does not reach the API."""
ARROW = "application/vnd.apache.arrow.stream"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong and where, as the API says it."""

    loc: tuple[str | int, ...]
    words: str


class ApiError(Exception):
    """It did not work. The text is a sentence for the person.

    ApiError
    ├── Refused     the API said no; `problems` belong beside their fields
    ├── SignedOut   sign in again
    └── Away        it does not answer; try again later
    """

    def __init__(self, words: str, status: int = 0, problems: Sequence[Problem] = ()) -> None:
        super().__init__(words)
        self.status = status
        self.problems = tuple(problems)


class Refused(ApiError):
    """The API said no, and why."""


class Away(ApiError):
    """The API does not answer: it is starting, stopped, or somewhere else."""


class SignedOut(ApiError):
    """The sign-in is over (expired, revoked, password changed): sign in again."""


class Client:
    """One person's connection to the API. Thread-safe; renews its access token by itself.

    `key` is an API key (or an access token) used as it is; without one, sign in by `login`.
    """

    def __init__(self, url: str, key: str = "", timeout: float = 15.0) -> None:
        self.url = url.rstrip("/")
        self.user: dict[str, Any] = {}
        self.must_change_password = False
        self._access = key
        self._refresh = ""
        self._lock = threading.Lock()
        self._families: dict[str, Any] = {}
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1", timeout=timeout, trust_env=False, verify=_authorities(self.url)
        )

    # signing in and out

    def login(self, username: str, password: str) -> None:
        """Exchange a password for this person's own tokens. Raises ApiError (401: wrong; 429: too many tries)."""
        body = {"username": username, "password": password}
        self._keep(self._ask("POST", "/auth/login", json=body).json())

    def login_google(self, id_token: str) -> None:
        """Exchange Google's ID token for this person's own tokens. Raises ApiError (401: not good; 403: waits for an admin)."""
        self._keep(self._ask("POST", "/auth/google", json={"id_token": id_token}).json())

    def has_google(self) -> bool:
        """Whether the API lets people in by Google."""
        return bool(self._ask("GET", "/auth/ways").json()["google_client_id"])

    def change_password(self, old: str, new: str) -> None:
        """Change the password; the API may answer with new tokens, for it ends the old ones."""
        answer = self.request("POST", "/auth/password", json={"old_password": old, "new_password": new})
        if answer.content and "access_token" in (body := answer.json()):
            self._keep(body)
        else:
            self.login(str(self.user.get("username", "")), new)
        self.must_change_password = False

    def logout(self) -> None:
        """End the sign-in at the API too; that the API is away does not keep anyone signed in here."""
        try:
            self._ask("POST", "/auth/logout", json={"refresh_token": self._refresh}, headers=self._authorization())
        except ApiError:
            return
        finally:
            self._access = self._refresh = ""

    def _keep(self, answer: Mapping[str, Any]) -> None:
        self._access = answer["access_token"]
        self._refresh = answer.get("refresh_token") or self._refresh
        self.user = dict(answer.get("user") or self.user)
        self.must_change_password = bool(answer.get("must_change_password", self.must_change_password))

    def _renew(self, used: str) -> bool:
        """Get a new access token, once for all threads that found `used` expired."""
        with self._lock:
            if self._access != used:
                return True
            if not self._refresh:
                return False
            try:
                self._keep(self._ask("POST", "/auth/refresh", json={"refresh_token": self._refresh}).json())
            except (Refused, SignedOut):
                return False
            return True

    # requests

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask the API; `path` is below /api/v1. Raises ApiError, Away or SignedOut."""
        headers = dict(options.pop("headers", {}))
        used = self._access
        try:
            return self._ask(method, path, headers=headers | self._authorization(), **options)
        except SignedOut:
            if not self._renew(used):
                raise
        return self._ask(method, path, headers=headers | self._authorization(), **options)

    def get(self, path: str, **params: Any) -> Any:
        given = {k: v for k, v in params.items() if v is not None}
        return self.request("GET", path, params=given).json()

    def post(self, path: str, body: Any) -> Any:
        answer = self.request("POST", path, json=body)
        return answer.json() if answer.content else {}

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._access}"} if self._access else {}

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.TimeoutException as e:
            raise Away(f"The API at {self.url} takes too long to answer.") from e
        except httpx.HTTPError as e:
            raise Away(f"The API at {self.url} does not answer.") from e
        if answer.status_code >= 400:
            raise _error(answer, self.url)
        return answer

    # the configuration

    def families(self) -> dict[str, Any]:
        """What forms must ask, by family and kind; asked once a sign-in."""
        if not self._families:
            self._families = self.get("/families")
        return self._families

    def items(self, family: str) -> list[dict[str, Any]]:
        return list(_rows(self.get(f"/{family}"), family))

    def item(self, family: str, name: str) -> tuple[dict[str, Any], str]:
        """One item and the revision it was read from (to be handed to `save`)."""
        answer = self.request("GET", f"/{family}/{quote(name, safe='')}")
        return answer.json(), answer.headers.get("ETag", "")

    def save(self, family: str, name: str | None, item: Mapping[str, Any], etag: str = "") -> None:
        """Add (`name` None) or replace an item; with `etag`, only if nobody saved meanwhile (412)."""
        headers = {"If-Match": etag} if etag else {}
        if name is None:
            self.request("POST", f"/{family}", json=item, headers=headers)
        else:
            self.request("PUT", f"/{family}/{quote(name, safe='')}", json=item, headers=headers)

    def delete(self, family: str, name: str, *, force: bool = False) -> None:
        """`force`: a destination also while deliveries to it are not over."""
        self.request("DELETE", f"/{family}/{quote(name, safe='')}", params={"force": "true"} if force else {})

    def used_by(self, family: str, name: str) -> tuple[list[str], int]:
        """What names it, and how many deliveries to it (a destination) are not over."""
        answer = self.get(f"/{family}/{quote(name, safe='')}/used-by")
        return list(answer["used_by"]), int(answer.get("deliveries", 0))

    def check(self, family: str, item: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Try an item before saving it: one tick a line."""
        return list(self.post(f"/{family}/check", item)["ticks"])

    def validate(self, family: str, item: Mapping[str, Any]) -> list[Problem]:
        return _problems(self.post(f"/{family}/validate", item))

    def store_secret(self, value: str) -> str:
        """Have the API keep a typed secret, encrypted; the reference to it."""
        return str(self.post("/secrets", {"value": value})["reference"])

    # history and rules

    def query(self, sql: str, limit: int = 100_000) -> bytes:
        """Run SQL over the history; the answer is an Arrow IPC stream."""
        body = {"sql": sql, "limit": limit, "format": "arrow"}
        return self.request("POST", "/history/query", json=body, headers={"Accept": ARROW}, timeout=65.0).content

    def test_rules(
        self, file: bytes, association: Mapping[str, str], configuration: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """What the rules (or those of a draft configuration) say of one DICOM file. Nothing is kept or sent."""
        form: dict[str, str] = {k: v for k, v in association.items() if v}
        if configuration is not None:
            form["configuration"] = json.dumps(configuration)
        files = {"file": ("test.dcm", file, "application/dicom")}
        return list(self.request("POST", "/rules/test", data=form, files=files, timeout=65.0).json()["decisions"])


    def what_if(self, configuration: Mapping[str, Any], days: float, samples: int = 20) -> dict[str, Any]:
        """What a draft's rules would have matched and sent of what came in the last `days`, against the live rules."""
        body = {"configuration": dict(configuration), "days": days, "samples": samples}
        return dict(self.request("POST", "/rules/whatif", json=body, timeout=150.0).json())

    def analysis(self, days: int) -> list[dict[str, Any]]:
        """Live rules that are odd, each with the reason."""
        return list(self.request("GET", "/rules/analysis", params={"days": days}, timeout=90.0).json()["findings"])

    def next_on(self, schedule: Mapping[str, Any], days: int = 7) -> dict[str, Any]:
        """When a schedule, saved or not, is on: now, next, and in the days to come."""
        return dict(self.request("POST", "/schedules/next-on", json=dict(schedule), params={"days": days}).json())


def _rows(answer: Any, family: str) -> Sequence[dict[str, Any]]:
    return answer if isinstance(answer, list) else answer.get("items", answer.get(family, []))


def _problems(body: Any) -> list[Problem]:
    found = body.get("problems", []) if isinstance(body, dict) else []
    return [Problem(tuple(p.get("loc", ())), str(p.get("words", ""))) for p in found]


def _authorities(url: str) -> ssl.SSLContext | bool:
    """Who may vouch for the API: a file of ours (AXIOM_TLS_CA), else the authorities of this machine."""
    if not url.startswith("https:"):
        return True
    return ssl.create_default_context(cafile=os.environ.get("AXIOM_TLS_CA") or None)


def _error(answer: httpx.Response, url: str) -> ApiError:
    try:
        body = answer.json()
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    words = str(body.get("detail") or body.get("title") or f"The API answered {answer.status_code}.")
    if answer.status_code == 401:
        return SignedOut(words, 401)
    if answer.status_code in (502, 504) and PROBLEM not in answer.headers.get("content-type", ""):
        return Away(f"The API at {url} does not answer.", answer.status_code)
    return Refused(words, answer.status_code, _problems(body))
