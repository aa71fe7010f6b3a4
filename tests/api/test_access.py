from __future__ import annotations

import re

import httpx
import pytest

from engine.api.access import ACCESS, Door, GuardedRoute, check_table, lets_in, routes_of
from engine.cli.docs import pages
from engine.security.roles import ROLES, Permission
from tests.api.site import Site

OPEN = {
    "GET /health/live", "GET /health/ready", "GET /api/v1/health/live", "GET /api/v1/health/ready",
    "GET /api/v1/docs", "GET /api/v1/redoc", "GET /api/v1/assets/{name}", "GET /api/v1/openapi.json",
    "POST /api/v1/auth/login", "POST /api/v1/auth/refresh", "POST /api/v1/auth/google", "GET /api/v1/auth/ways",
}  # fmt: skip


def _ask(client: httpx.Client, site: Site, route: GuardedRoute) -> httpx.Response:
    path = re.sub(r"{number}", "1", re.sub(r"{(?!number)\w+}", "docs.js", route.path))
    method = next(iter(route.methods or ()))
    with client.stream(method, f"{site.url}{path}") as answer:
        if not answer.headers["Content-Type"].startswith("text/event-stream"):  # which does not end
            answer.read()
        return answer


def test_an_anonymous_client_reaches_only_health_docs_and_sign_in(site: Site) -> None:
    reached = set()
    with site.anonymous() as client:
        for route in routes_of(site.app):
            answer = _ask(client, site, route)
            if answer.status_code != 401:
                reached.add(f"{next(iter(route.methods or ()))} {route.path}")
            else:
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert answer.headers["Content-Type"] == "application/problem+json"
    assert reached == OPEN


@pytest.mark.parametrize("role", [*sorted(ROLES), *(p.value for p in Permission)])
def test_each_role_reaches_what_its_permissions_say(site: Site, role: str) -> None:
    """Those of every installation, and one role for each permission alone."""
    held = ROLES.get(role) or {Permission(role)}
    if role not in ROLES:
        site.store.roles.create(role, [role], who="test")
    client = site.signed_in("somebody", role)
    for route in routes_of(site.app):
        if route.name == "logout":
            continue  # ends the session that this walk needs
        allowed = lets_in(ACCESS[route.name], held)
        answer = _ask(client, site, route)
        refused = answer.status_code == 403 and "needs the permission" in answer.json()["detail"]
        assert refused is not allowed, f"{role} {route.path}: {answer.status_code} {answer.text}"


def test_the_table_in_the_docs_is_the_table_of_the_door(site: Site) -> None:
    lines = pages()["access.md"].splitlines()
    for route in routes_of(site.app):
        for method in route.methods or ():
            (line,) = [one for one in lines if one.startswith(f"| `{method} {route.path}` |")]
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            allowed = [True, *(lets_in(ACCESS[route.name], ROLES[r]) for r in sorted(ROLES))]
            allowed[0] = ACCESS[route.name] is Door.OPEN
            assert [cell == "yes" for cell in cells[2:]] == allowed


def test_who_must_change_the_password_can_do_nothing_else(site: Site) -> None:
    client = site.signed_in("fresh", "Admin", must_change=True)
    for route in routes_of(site.app):
        if ACCESS[route.name] in (Door.OPEN, Door.ANY_STATE):
            continue
        answer = _ask(client, site, route)
        assert (answer.status_code, "Change your password first" in answer.text) == (403, True), route.path
    assert client.get("/auth/me").json()["must_change_password"] is True


def test_a_route_that_the_table_does_not_name_lets_nobody_in_and_does_not_start(site: Site) -> None:
    def forgotten() -> str:
        return "open"

    site.app.router.routes.append(GuardedRoute("/forgotten", forgotten))
    with pytest.raises(LookupError, match="forgotten"):
        check_table(site.app)
    answer = site.signed_in().get(f"{site.url}/forgotten")
    assert (answer.status_code, answer.json()["detail"]) == (403, "Nobody may use this route.")


def test_a_route_that_is_not_guarded_does_not_start(site: Site) -> None:
    site.app.add_route("/plain", lambda _: None)
    with pytest.raises(TypeError, match="/plain is not guarded"):
        check_table(site.app)


def test_the_body_of_a_stranger_is_not_read(site: Site) -> None:
    with site.anonymous() as client:
        answer = client.post("/config/apply", content=b"{", headers={"Content-Type": "application/json"})
        assert answer.status_code == 401
        assert client.post("/rules/test", files={"file": b"x"}).status_code == 401


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Basic cm9vdDpyb290", "Bearer axm_1_2", "Bearer a.b.c"])
def test_what_is_no_token_is_no_way_in(site: Site, header: str) -> None:
    with site.anonymous(Authorization=header) as client:
        assert client.get("/config").status_code == 401


def test_the_document_says_what_each_route_needs(site: Site) -> None:
    document = site.anonymous().get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["x-needs"] in {p.value for p in Permission} | {d.name.lower() for d in Door}
            assert ("security" in operation) is (operation["x-needs"] != "open"), f"{method} {path}"
