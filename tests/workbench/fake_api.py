"""The engine's API as the workbench sees it: real HTTP on a free port, the contract's shapes, a small living site.

It answers out of memory and validates by the engine's own models, so that pages can be walked in seconds.
`python -m tests.workbench.fake_api PORT` serves it by hand.
"""

from __future__ import annotations

import copy
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from engine.component import kinds, rebuild
from engine.configuration import problems_of
from engine.crosswalk.map import CrosswalkMap
from engine.fields import describe
from engine.rules.model import Ruleset, Schedule
from tests.workbench import fake_changes, fake_people, fake_site
from tests.workbench.fake_asking import add_asking_routes
from tests.workbench.fake_browser import add_browser
from tests.workbench.fake_pollers import poller_routes
from tests.workbench.fake_work import Told, add_work_routes

__all__ = ["FakeApi", "serve"]

FAMILIES = {
    "sources": "source", "destinations": "destination", "schedules": None, "crosswalk_sources": "crosswalk_source",
    "crosswalk_maps": None, "rulesets": None, "channels": "channel", "alerts": "alert",
}
WITHOUT_KINDS: dict[str, Any] = {"schedules": Schedule, "crosswalk_maps": CrosswalkMap, "rulesets": Ruleset}


class FakeApi:
    """The state behind the routes; tests read and change it."""

    def __init__(self) -> None:
        self.document = fake_site.document()
        self.revision = 7
        self.users = {"ada": {"password": "correct horse", "role": "admin", "name": "Ada", "must_change": False}}
        self.tokens: dict[str, str] = {}
        self.refreshes: dict[str, str] = {}
        self.held = fake_site.held()
        self.unmatched = fake_site.unmatched()
        self.deliveries = fake_site.deliveries()
        self.gatherings = fake_site.gatherings()
        self.pollers: list[dict[str, Any]] = []
        self.troubles: list[dict[str, Any]] = []
        self.backfills: list[dict[str, Any]] = []
        self.is_empty = False
        self.status_code = 0
        """When set, every answer is this error."""
        self.did: list[tuple[Any, ...]] = []
        self.began = time.monotonic()
        self.app = _app(self)

    def empty(self) -> None:
        """A new home: nothing configured, nothing received."""
        self.document = {family: [] for family in FAMILIES}
        self.held, self.unmatched, self.deliveries, self.gatherings = [], [], [], []
        self.is_empty = True

    def expire(self) -> None:
        """All access tokens are over; refresh tokens hold."""
        self.tokens.clear()

    def received(self) -> int:
        return 1840 + int((time.monotonic() - self.began) * 7)

    def tokens_for(self, username: str) -> dict[str, Any]:
        access, refresh = secrets.token_hex(12), secrets.token_hex(12)
        self.tokens[access] = self.refreshes[refresh] = username
        user = self.users[username]
        return {
            "access_token": access,
            "token_type": "bearer",
            "expires_in": 900,
            "refresh_token": refresh,
            "must_change_password": user["must_change"],
            "user": {"username": username, "name": user["name"], "role": user["role"], "permissions": fake_people.RIGHTS},
        }


def _invalid(problems: list[dict[str, Any]]) -> Told:
    return Told(422, "This cannot be saved.", problems)


def _check(family: str, item: dict[str, Any], prefix: list[Any]) -> None:
    rebuild()
    model = WITHOUT_KINDS.get(family)
    if model is None:
        known = kinds(FAMILIES[family] or "")
        if item.get("kind") not in known:
            raise _invalid([{"loc": [*prefix, "kind"], "words": f"There is no kind {item.get('kind')}."}])
        model = known[item["kind"]]
    try:
        model.model_validate(item)
    except ValidationError as e:
        raise _invalid([{"loc": [*prefix, *p.loc], "words": p.words} for p in problems_of(e)]) from e


def _app(state: FakeApi) -> FastAPI:
    app = FastAPI()

    @app.exception_handler(Told)
    async def told(_: Request, e: Told) -> JSONResponse:
        body = {"type": "about:blank", "title": "No", "status": e.status, "detail": e.detail, "problems": e.problems}
        return JSONResponse(body, e.status, media_type="application/problem+json")

    @app.middleware("http")
    async def who(request: Request, call_next: Any) -> Response:
        if state.status_code:
            return JSONResponse({"title": "No", "detail": "Not just now."}, state.status_code)
        open_to_all = request.url.path.endswith(("/auth/login", "/auth/refresh"))
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not open_to_all and token not in state.tokens:
            return JSONResponse({"title": "Sign in", "detail": "Sign in first."}, 401)
        request.state.user = state.tokens.get(token, "")
        answer: Response = await call_next(request)
        return answer

    _auth_routes(app, state)
    add_work_routes(app, state)
    add_asking_routes(app, state, _check)
    add_browser(app, state)
    poller_routes(app, state)
    fake_people.add_routes(app, state)
    fake_changes.add_routes(app, state)
    _crud_routes(app, state)
    return app


def _auth_routes(app: FastAPI, state: FakeApi) -> None:
    @app.post("/api/v1/auth/login")
    def login(body: dict[str, str]) -> dict[str, Any]:
        user = state.users.get(body["username"])
        if user is None or user["password"] != body["password"]:
            raise Told(401, "Username or password is wrong.")
        return state.tokens_for(body["username"])

    @app.post("/api/v1/auth/refresh")
    def refresh(body: dict[str, str]) -> dict[str, Any]:
        username = state.refreshes.pop(body["refresh_token"], None)
        if username is None:
            raise Told(401, "Sign in again.")
        return state.tokens_for(username)

    @app.post("/api/v1/auth/logout", status_code=204)
    def logout(request: Request) -> None:
        state.did.append(("logout", request.state.user))
        state.expire()

    @app.post("/api/v1/auth/password")
    def password(body: dict[str, str], request: Request) -> dict[str, Any]:
        user = state.users[request.state.user]
        if user["password"] != body["old_password"]:
            raise Told(422, "No.", [{"loc": ["old_password"], "words": "That is not your present password."}])
        if len(body["new_password"]) < 10:
            raise Told(422, "No.", [{"loc": ["new_password"], "words": "Take 10 characters or more."}])
        user.update(password=body["new_password"], must_change=False)
        return state.tokens_for(request.state.user)

    @app.get("/api/v1/auth/me")
    def me(request: Request) -> dict[str, Any]:
        return {"username": request.state.user, **state.users[request.state.user]}


def _crud_routes(app: FastAPI, state: FakeApi) -> None:
    @app.get("/api/v1/families")
    def families() -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, family in {**FAMILIES, "morphs": "morph"}.items():
            if family:
                out[name] = {"kinds": {k: _kind(cls) for k, cls in kinds(family).items()}}
        for name, model in WITHOUT_KINDS.items():
            out[name] = {"fields": describe(model), "doc": model.__doc__}
        return out

    @app.get("/api/v1/crosswalk/status")
    def crosswalk_status() -> dict[str, Any]:
        return {"maps": [] if state.is_empty else fake_site.crosswalk_maps(), "redis": ""}

    @app.get("/api/v1/config")
    def config() -> dict[str, Any]:
        return state.document

    @app.get("/api/v1/revisions")
    def revisions(limit: int = 50) -> dict[str, Any]:
        return {"items": [] if state.is_empty else fake_site.revisions(state.revision)[:limit], "live": state.revision}

    @app.get("/api/v1/revisions/{number}/diff")
    def diff(number: int) -> dict[str, Any]:
        return fake_site.difference()

    @app.post("/api/v1/revisions/{number}/rollback")
    def rollback(number: int) -> dict[str, Any]:
        state.did.append(("rollback", number))
        state.revision += 1
        return {"revision": state.revision}

    def place(family: str, name: str) -> int:
        if family not in FAMILIES:
            raise Told(404, f"There is no family {family}.")
        for i, item in enumerate(state.document[family]):
            if item["name"] == name:
                return i
        raise Told(404, f"There is nothing called {name}.")

    def saved(request: Request) -> None:
        expected = request.headers.get("if-match")
        if expected and expected != f'"{state.revision}"':
            raise Told(412, "Somebody saved a change meanwhile.")
        state.revision += 1

    @app.get("/api/v1/{family}")
    def items(family: str) -> dict[str, Any]:
        if family not in FAMILIES:
            raise Told(404, f"There is no family {family}.")
        found = list(state.document[family])
        return {"items": found, "total": len(found), "revision": state.revision}

    @app.post("/api/v1/{family}", status_code=201)
    def add(family: str, body: dict[str, Any], request: Request) -> dict[str, Any]:
        _check(family, body, [family, body.get("name", "")])
        saved(request)
        state.document[family].append(body)
        return body

    @app.post("/api/v1/{family}/check")
    def check(family: str, body: dict[str, Any]) -> dict[str, Any]:
        _check(family, body, [])
        good = body.get("host") != "away.example"
        words = "" if good else "connection refused"
        return {"ticks": [{"name": "can be connected to", "ok": good, "words": words}]}

    @app.get("/api/v1/{family}/{name}")
    def one(family: str, name: str) -> Response:
        found = copy.deepcopy(state.document[family][place(family, name)])
        return JSONResponse(found, headers={"ETag": f'"{state.revision}"'})

    @app.put("/api/v1/{family}/{name}")
    def put(family: str, name: str, body: dict[str, Any], request: Request) -> dict[str, Any]:
        i = place(family, name)
        _check(family, body, [family, name])
        saved(request)
        state.document[family][i] = body
        return body

    @app.delete("/api/v1/{family}/{name}", status_code=204)
    def delete(family: str, name: str, force: bool = False) -> None:
        if used := _users(state, family, name):
            raise Told(409, f"{name} is used by {', '.join(used)}.")
        if not force and _waiting(state, family, name):
            raise Told(409, "Deliveries to it are not over.")
        del state.document[family][place(family, name)]
        state.revision += 1

    @app.get("/api/v1/{family}/{name}/used-by")
    def used_by(family: str, name: str) -> dict[str, Any]:
        return {"used_by": _users(state, family, name), "deliveries": _waiting(state, family, name)}


def _waiting(state: FakeApi, family: str, name: str) -> int:
    return sum(d["destination"] == name for d in state.deliveries) if family == "destinations" else 0


def _users(state: FakeApi, family: str, name: str) -> list[str]:
    return [
        f"rulesets/{ruleset['name']}/rules/{rule['name']}"
        for ruleset in state.document["rulesets"]
        for rule in ruleset["rules"]
        if name in rule.get(family, [])
    ]


def _kind(cls: Any) -> dict[str, Any]:
    return {"label": cls.label, "doc": cls.__doc__ or "", "fields": describe(cls), "schema": cls.model_json_schema()}


@contextmanager
def serve(state: FakeApi, port: int = 0) -> Iterator[str]:
    """Serve it on loopback; gives the address."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(state.app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    ready = threading.Event()
    while not server.started and time.monotonic() < deadline:
        ready.wait(0.02)
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


if __name__ == "__main__":
    with serve(FakeApi(), int(sys.argv[1])) as url:
        print(url, flush=True)
        threading.Event().wait()
