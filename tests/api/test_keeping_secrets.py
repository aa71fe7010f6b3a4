"""Secrets never come back: canaries are planted wherever one can be given, and everything that can be read is searched."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from engine.api.access import routes_of
from engine.errors import Retry
from engine.security.secret_references import resolve
from engine.settings import Settings
from engine.store import Store, tables
from tests.api.site import PASSWORD, Site
from tests.peers import free_port

CANARY = {
    name: f"canary-{name}-8f2c1d"
    for name in ("stored", "env", "file", "plain", "yaml", "patch", "check", "password", "wrong", "reset", "idtoken", "refresh")
}


def _source(password: str, **more: object) -> dict[str, object]:
    return {
        "name": "mrn", "kind": "postgresql", "host": "127.0.0.1", "port": free_port(), "user": "axiom", "database": "mrn",
        "table": "patients", "password": password,
    } | more  # fmt: skip


def _everything_read(site: Site, key: str) -> str:
    """Every answer to a GET, as an admin."""
    read = []
    with site.anonymous(Authorization=f"Bearer {key}") as client:
        for route in routes_of(site.app):
            if "GET" not in (route.methods or ()) or route.name in ("asset", "openapi", "events"):
                # the first two are public and full of examples, the last does not end
                continue
            path = re.sub(r"{number}", "1", re.sub(r"{name}", "mrn", re.sub(r"{username}", "ada", route.path)))
            read.append(client.get(f"{site.url}{path}", params={"q": "PatientID"}).text)
        read.append(client.get("/config", headers={"Accept": "application/yaml"}).text)
        for number in range(1, site.store.live_revision() + 1):
            read += [client.get(f"/revisions/{number}").text, client.get(f"/revisions/{number}/diff").text]
        read.append(client.get("/audit", params={"limit": 1000}).text)
    return "\n".join(read)


def _everything_kept(site: Site, settings: Settings) -> str:
    """Every row of the store, every file of the home (but the key itself), and every process's arguments."""
    kept = []
    with site.store.database.read() as connection:
        for table in tables.metadata.sorted_tables:
            kept += [repr(tuple(row)) for row in connection.execute(select(table))]
    kept += [
        f.read_bytes().decode("latin-1") for f in settings.home.rglob("*") if f.is_file() and f.name != "given.secret"
    ]
    if sys.platform == "linux":
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                kept.append(command.read_bytes().decode("latin-1"))
            except OSError:
                continue  # it has ended meanwhile
    return "\n".join(kept)


def test_what_was_given_as_a_secret_is_nowhere_to_be_read(
    site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("CANARY_PASSWORD", CANARY["env"])
    (settings.home / "given.secret").write_text(CANARY["file"])
    client, answers = site.signed_in(), []

    def ask(method: str, path: str, body: object) -> None:
        answers.append(client.request(method, path, json=body).text)

    made = client.post("/secrets", json={"value": CANARY["stored"]})
    assert made.status_code == 201
    stored = made.json()["reference"]
    for reference in (f"file:{settings.home}/given.secret", "env:CANARY_PASSWORD", stored):
        ask("PUT", "/crosswalk_sources/mrn", _source(reference))
        ask("POST", "/crosswalk_sources/check", _source(reference))
    assert "cannot" in answers[-1] or "away" in answers[-1] or "refused" in answers[-1], answers[-1]
    ask("PUT", "/crosswalk_sources/mrn", _source(CANARY["plain"]))
    ask("PATCH", "/crosswalk_sources/mrn", {"password": CANARY["patch"]})
    ask("POST", "/crosswalk_sources/check", _source(CANARY["check"]))
    ask("POST", "/crosswalk_sources/validate", _source(CANARY["check"]))
    text = f"crosswalk_sources:\n  - {{name: a, kind: postgresql, password: {CANARY['yaml']}}}\n"
    for path in ("apply", "diff", "validate"):
        ask("POST", f"/config/{path}", {"yaml": text})
    ask("POST", "/users", {"username": "ada", "password": CANARY["password"]})
    with site.anonymous() as stranger:
        answers.append(stranger.post("/auth/login", json={"username": "ada", "password": CANARY["wrong"]}).text)
        answers.append(stranger.post("/auth/google", json={"id_token": CANARY["idtoken"]}).text)
        answers.append(stranger.post("/auth/refresh", json={"refresh_token": CANARY["refresh"]}).text)
    ask("POST", "/auth/password", {"old_password": CANARY["wrong"], "new_password": CANARY["reset"]})
    shown_once = [
        client.post("/users/ada/password").json()["one_time_password"],
        (key := client.post("/keys", json={"name": "k"}).json()["key"]),
        client.headers["Authorization"].removeprefix("Bearer "),
        PASSWORD,
        site.parts.settings.key if not settings.secret_key.get_secret_value() else "",
    ]
    whole = {
        "answers": "\n".join(answers), "read": _everything_read(site, key),
        "kept": _everything_kept(site, settings).replace(site.parts.settings.key, ""),
        "logged": "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("engine")),
    }  # fmt: skip
    assert resolve(stored).get_secret_value() == CANARY["stored"]
    assert len(whole["read"]) > 20_000
    for where, told in whole.items():
        for secret in [*CANARY.values(), *filter(None, shown_once)]:
            assert secret not in told, f"{secret[:12]}... stands in what is {where}"


def test_a_stored_secret_is_listed_used_and_forgotten(site: Site) -> None:
    client = site.signed_in()
    reference = client.post("/secrets", json={"value": "s3cret"}).json()["reference"]
    key = reference.removeprefix("stored:")
    client.put("/crosswalk_sources/mrn", json=_source(reference)).raise_for_status()
    (told,) = client.get("/secrets").json()
    assert (told["reference"], told["used"], told["created_by"]) == (reference, True, "root")
    assert (told["places"], told["last_revision"]) == (["crosswalk_sources/mrn"], 1)
    assert client.delete(f"/secrets/{key}").status_code == 409
    client.delete("/crosswalk_sources/mrn").raise_for_status()
    (told,) = client.get("/secrets").json()
    assert (told["used"], told["places"], told["last_revision"]) == (False, [], 1)
    plan = client.post("/activations", json={"revision": 1, "at": "2099-01-31T06:00:00Z"}).json()["id"]
    refused = client.delete(f"/secrets/{key}")
    assert (refused.status_code, f"activations/{plan}" in refused.json()["detail"]) == (409, True)
    client.delete(f"/activations/{plan}").raise_for_status()
    assert client.delete(f"/secrets/{key}").status_code == 204
    assert client.delete(f"/secrets/{key}").status_code == 404
    with pytest.raises(Retry, match="type it in again"):
        resolve(reference)
    assert site.signed_in("ada", "User").post("/secrets", json={"value": "x"}).status_code == 403


def test_another_key_and_a_moved_row_do_not_open_it(site: Site, settings: Settings) -> None:
    one, two = (site.store.secrets.put(f"value {n}", who="t") for n in (1, 2))
    t = tables.secrets
    with site.store.database.write() as connection:
        sealed = connection.execute(select(t.c.sealed).where(t.c.id == one.partition(":")[2])).scalar_one()
        connection.execute(t.update().where(t.c.id == two.partition(":")[2]).values(sealed=sealed))
    with pytest.raises(Retry, match="cannot be opened"):
        resolve(two)
    assert resolve(one).get_secret_value() == "value 1"
    key = SecretStr("another key of 32 characters or more")
    other = Store(Settings(home=settings.home, database_url=settings.database_url, secret_key=key))
    with pytest.raises(Retry, match="AXIOM_SECRET_KEY"):
        resolve(one)
    other.close()
