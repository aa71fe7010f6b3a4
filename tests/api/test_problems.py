from __future__ import annotations

import json
import logging
import re
import socket
from urllib.parse import quote

import httpx
import pytest

from engine.api.problems import PROBLEM_JSON
from engine.settings import Settings
from tests.api.site import PASSWORD, Site


def _is_problem(answer: httpx.Response, status: int) -> None:
    body = answer.json()
    assert answer.headers["Content-Type"] == PROBLEM_JSON
    assert (answer.status_code, body["status"]) == (status, status)
    assert body["type"].startswith("urn:axiom:problem:")
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == answer.headers["X-Request-ID"]


def test_every_error_has_one_shape(site: Site) -> None:
    client = site.signed_in()
    _is_problem(client.get("/nothing/here"), 404)
    _is_problem(client.put("/status"), 405)
    _is_problem(client.post("/auth/login", content=b"{", headers={"Content-Type": "application/json"}), 422)
    _is_problem(client.post("/auth/login", json={"username": "a"}), 422)
    _is_problem(client.get("/revisions", params={"limit": 0}), 422)
    _is_problem(client.get("/revisions/x"), 422)
    _is_problem(client.get("/destinations/none"), 404)
    _is_problem(client.get("/assets/none.js"), 422)
    _is_problem(site.anonymous().get("/config"), 401)
    _is_problem(site.signed_in("ada", "User").get("/users"), 403)
    problem = client.post("/auth/login", json={"username": "a"}).json()["problems"]
    assert problem == [{"loc": ["password"], "words": "This is needed."}]


def test_a_body_beyond_bounds_is_refused_also_when_it_does_not_say_its_length(site: Site) -> None:
    client = site.signed_in()
    _is_problem(client.post("/destinations", content=b"x" * (9 << 20)), 413)

    def pieces() -> object:
        for _ in range(9 * 16):
            yield b" " * 65536

    _is_problem(client.post("/destinations", content=pieces()), 413)  # type: ignore[arg-type]
    _is_problem(client.post("/config/apply", json={"yaml": "#" * 4_000_001}), 422)


def test_an_error_of_ours_shows_nothing_but_its_number(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = site.signed_in()
    monkeypatch.setattr(site.parts.store, "revisions", None)  # a defect: calling it is a TypeError
    with caplog.at_level(logging.ERROR):
        answer = client.get("/revisions")
    _is_problem(answer, 500)
    assert "NoneType" not in answer.text
    assert answer.headers["X-Request-ID"] in caplog.text
    assert "NoneType" in caplog.text


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_a_store_that_is_away_is_503_in_words(site: Site, settings: Settings) -> None:
    client = site.signed_in()
    (settings.home / "axiom.db").rename(settings.home / "moved.db")
    (settings.home / "axiom.db").mkdir()  # what stands there now is no database
    site.store.database.engine.dispose()
    answer = client.get("/config")
    _is_problem(answer, 503)
    assert "configuration store" in answer.json()["detail"]
    assert answer.headers["Retry-After"] == "5"
    ready = client.get(f"{site.url}/health/ready")
    assert (ready.status_code, ready.json()["parts"][0]) == (
        503, {"name": "store", "ok": False, "words": "cannot be reached"},
    )  # fmt: skip


@pytest.mark.parametrize("odd", ["\0", "\ud800", "a\0b", "x" * 5000], ids=["NUL", "half", "NUL within", "long"])
def test_text_that_no_database_takes_is_refused_not_stumbled_over(site: Site, odd: str) -> None:
    client = site.signed_in()
    client.post("/destinations", json={"name": "pacs", "kind": "nothing"})
    text = json.dumps(odd)
    asked = [
        client.request(method, address, content=body, headers={"Content-Type": "application/json"})
        for method, address, body in (
            ("POST", "/auth/login", f'{{"username": {text}, "password": {text}}}'),
            ("POST", "/auth/refresh", f'{{"refresh_token": {text}}}'),
            ("POST", "/users", f'{{"username": {text}, "role": {text}, "name": {text}}}'),
            ("POST", "/users", f'{{"username": "ben", "name": {text}}}'),
            ("POST", "/keys", f'{{"name": {text}, "permissions": [{text}]}}'),
            ("POST", "/keys", f'{{"name": {text}}}'),
            ("PUT", "/revisions/1/label", f'{{"label": {text}}}'),
            ("POST", "/revisions/1/rollback", f'{{"reason": {text}}}'),
            ("PATCH", "/destinations/pacs", f'{{"description": {text}}}'),
            ("POST", "/destinations", f'{{"name": {text}, "kind": {text}}}'),
            ("POST", "/destinations", f'{{{text}: 1}}'),
            ("POST", "/destinations/validate", f'{{"name": {text}, {text}: 1}}'),
            ("POST", "/destinations/check", f'{{"name": {text}, {text}: 1}}'),
            ("POST", "/config/validate", f'{{"document": {{{text}: {text}}}}}'),
            ("POST", "/config/diff", f'{{"yaml": {text}}}'),
            ("POST", "/config/apply", f'{{"yaml": {text}, "reason": {text}}}'),
            ("POST", "/config/apply", f'{{"document": {{{text}: {text}}}}}'),
            ("POST", "/config/apply", f'{{"document": {{"rulesets": []}}, "reason": {text}}}'),
            ("POST", "/history/query", f'{{"sql": {text}}}'),
            ("POST", "/held/retry", f'{{"ids": [{text}]}}'),
            ("POST", "/deliveries/discard", f'{{"ids": [{text}], "reason": {text}}}'),
        )
    ]
    percent = quote(odd, errors="surrogatepass")
    for address in ("users", "instances", "destinations", "revisions", "keys"):
        asked.append(client.get(f"/{address}/{percent}"))
    for address in ("instances", "tags", "destinations"):
        asked.append(client.get(f"/{address}?q={percent}"))
    asked.append(client.get(f"/audit?who={percent}&action={percent}"))
    asked.append(client.delete(f"/keys/{percent}"))
    assert [(a.request.method, a.url.path[:60], a.text[:200]) for a in asked if a.status_code >= 500] == []
    assert site.store.audit.verify() is None


def test_headers_of_every_answer(site: Site) -> None:
    for answer in (site.anonymous().get("/config"), site.anonymous().get(f"{site.url}/health/live")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Strict-Transport-Security" not in answer.headers  # plain HTTP


def test_no_other_origin_is_let_in(site: Site) -> None:
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    answer = site.anonymous().options("/auth/login", headers=headers)
    assert answer.status_code == 405
    assert not [h for h in answer.headers if h.startswith("access-control")]


def test_a_plain_request_id_is_taken_over_and_an_odd_one_is_not(site: Site) -> None:
    client = site.anonymous()
    assert client.get("/config", headers={"X-Request-ID": "abc-123.DEF"}).headers["X-Request-ID"] == "abc-123.DEF"
    for odd in ("x", "a b c d e f g h", "<script>alert(1)</script>", "x" * 65):
        assert re.fullmatch("[0-9a-f]{16}", client.get("/config", headers={"X-Request-ID": odd}).headers["X-Request-ID"])


def test_the_log_has_routes_not_addresses_and_no_secrets(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client = site.signed_in()
        client.get("/instances/1.2.3.4.5555")
        client.get("/instances", params={"q": "CANARY^PATIENT"})
        client.post("/auth/login", json={"username": "root", "password": "wrong canary"})
    # the client's own lines and those of the server's access log (off, but pytest hangs itself on it) are not ours
    said = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("engine"))
    assert "GET /api/v1/instances/{sop_instance_uid} -> 404" in said
    for secret in ("1.2.3.4.5555", "CANARY^PATIENT", PASSWORD, "wrong canary", client.headers["Authorization"][7:]):
        assert secret not in said


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000,
        b"\x00\x01\x02\r\n\r\n",
        b"GET /%ff%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["headers without end", "no HTTP", "odd path"],
)
def test_broken_http_does_not_disturb_others(site: Site, raw: bytes) -> None:
    host, port = site.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        try:
            connection.sendall(raw)
            connection.recv(4096)
        except ConnectionError:
            pass  # it hangs up on nonsense
    assert site.anonymous().get(f"{site.url}/health/live").status_code == 200
