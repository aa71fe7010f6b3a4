"""Signing in with Google, end to end, against a local issuer with real signatures."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from engine.settings import Settings
from tests.api.issuer import CLIENT_ID, Issuer, encode, issuer
from tests.api.site import Site
from tests.peers import free_port
from tests.store.databases import DATABASES, database_url


@pytest.fixture
def google() -> Iterator[Issuer]:
    with issuer() as running:
        yield running


@pytest.fixture(params=DATABASES)
def settings(request: pytest.FixtureRequest, home: Path, google: Issuer) -> Iterator[Settings]:
    with database_url(request, request.param) as url:
        yield Settings(
            home=home, database_url=url, api_port=free_port(), min_free_mb=0, google_client_id=CLIENT_ID,
            google_hosted_domain="hospital.example", google_issuer=google.url, google_jwks_url=google.jwks_url,
        )  # fmt: skip


def come(site: Site, token: str, **more: str) -> httpx.Response:
    with site.anonymous() as client:
        return client.post("/auth/google", json={"id_token": token} | more)


def why(site: Site) -> str:
    row = site.store.audit.rows(1)[0]
    assert row.action == "sign-in-refused"
    return str(row.detail["why"])


def test_somebody_new_waits_for_an_admin_and_then_comes_in(site: Site, google: Issuer) -> None:
    waits = come(site, google.token())
    assert (waits.status_code, "waits for an administrator" in waits.json()["detail"]) == (403, True)
    assert why(site) == "pending"
    admin = site.signed_in()
    user = admin.get("/users/ada@hospital.example").json()
    assert (user["pending"], user["active"], user["name"], user["email"]) == (True, False, "Ada", "ada@hospital.example")
    let_in = admin.patch("/users/ada@hospital.example", json={"active": True, "role": "User"}).json()
    assert (let_in["pending"], let_in["active"]) == (False, True)
    tokens = come(site, google.token(iat=int(time.time()) - 1)).json()
    assert (tokens["user"]["username"], tokens["must_change_password"]) == ("ada@hospital.example", False)
    with site.anonymous(Authorization=f"Bearer {tokens['access_token']}") as client:
        assert client.get("/config").status_code == 200
        assert client.post("/auth/logout").status_code == 204
        assert client.get("/config").status_code == 401
    with site.anonymous() as client:  # nobody has a password for an account that came by Google
        assert client.post("/auth/login", json={"username": "ada@hospital.example", "password": "x"}).status_code == 401


def test_who_was_added_with_the_address_is_that_person_and_stays_it(site: Site, google: Issuer) -> None:
    site.store.people.create("ada", role="Admin", who="test", email="Ada@Hospital.example")
    assert come(site, google.token()).json()["user"]["username"] == "ada"
    moved = google.token(email="lovelace@hospital.example")
    assert come(site, moved).json()["user"]["username"] == "ada", "known by the subject, whatever the address is now"
    heir = come(site, google.token(sub="2002"))
    assert heir.status_code == 403, "the address has gone to somebody else: they are somebody new"
    assert site.store.people.get("ada@hospital.example").pending


def test_who_may_not_come_in_any_more_does_not(site: Site, google: Issuer) -> None:
    site.store.people.create("ada", role="User", who="test", email="ada@hospital.example")
    site.store.people.change("ada", who="test", active=False)
    assert come(site, google.token()).status_code == 401
    assert why(site) == "inactive"


def _hs256(google: Issuer) -> str:
    """Signed with the public key as if it were a shared secret."""
    signed = f"{encode({'alg': 'HS256', 'kid': google.published[-1]})}.{encode(google.claims())}"
    mac = hmac.new(google.public_pem(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def _another_signature(google: Issuer) -> str:
    head, body, _ = google.token().split(".")
    return f"{head}.{body}.{google.token(sub='9').split('.')[2]}"


BAD: dict[str, tuple[str, Callable[[Issuer], str]]] = {
    "another audience": ("audience", lambda g: g.token(aud="another.apps.example")),
    "several audiences": ("audience", lambda g: g.token(aud=[CLIENT_ID, "another.apps.example"])),
    "another authorised party": ("audience", lambda g: g.token(azp="another.apps.example")),
    "another issuer": ("issuer", lambda g: g.token(iss="https://accounts.google.com")),
    "expired": ("expired", lambda g: g.token(exp=int(time.time()) - 60)),
    "of the future": ("expired", lambda g: g.token(iat=int(time.time()) + 600)),
    "unverified e-mail": ("unverified-email", lambda g: g.token(email_verified=False)),
    "e-mail verified in words": ("unverified-email", lambda g: g.token(email_verified="true")),
    "foreign domain": ("domain", lambda g: g.token(hd="elsewhere.example", email="ada@elsewhere.example")),
    "private account with our address": ("domain", lambda g: g.token(hd=None)),
    "our account with a foreign address": ("domain", lambda g: g.token(email="ada@elsewhere.example")),
    "no subject": ("claims", lambda g: g.token(sub=None)),
    "no expiry": ("claims", lambda g: g.token(exp=None)),
    "another signature": ("signature", _another_signature),
    "alg none": ("algorithm", lambda g: f"{encode({'alg': 'none', 'kid': 'k1'})}.{encode(g.claims())}."),
    "HS256 with the public key": ("algorithm", _hs256),
    "no token": ("malformed", lambda g: "abc"),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_a_bad_token_is_no_way_in_and_only_the_log_knows_why(
    site: Site, google: Issuer, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected, make = BAD[what]
    token = make(google)
    with caplog.at_level(logging.WARNING):
        answer = come(site, token)
    assert answer.status_code == 401
    assert answer.json()["detail"] == "This Google sign-in is not accepted here: sign in again, or ask an administrator."
    assert why(site) == expected
    assert f"a Google sign-in was refused: {expected}" in caplog.text
    assert token not in caplog.text
    assert site.store.people.list() == []


def test_a_token_is_good_once_however_its_signature_is_written(site: Site, google: Issuer) -> None:
    site.store.people.create("ada", role="User", who="test", email="ada@hospital.example")
    token = google.token()
    assert come(site, token).status_code == 200
    assert come(site, token).status_code == 401
    assert why(site) == "replay"
    last = {c: chr(ord(c) + 1) for c in "AQgw"}[token[-1]]  # the same bytes: base64 has bits to spare at the end
    assert come(site, token[:-1] + last).status_code == 401
    assert why(site) in ("replay", "malformed")  # the library may be strict about such bits


def test_the_nonce_of_the_client_must_be_the_tokens(site: Site, google: Issuer) -> None:
    site.store.people.create("ada", role="User", who="test", email="ada@hospital.example")
    assert come(site, google.token(nonce="n1"), nonce="n2").status_code == 401
    assert why(site) == "nonce"
    assert come(site, google.token(nonce="n1"), nonce="n1").status_code == 200


def test_keys_are_cached_and_their_change_is_followed(site: Site, google: Issuer) -> None:
    site.store.people.create("ada", role="User", who="test", email="ada@hospital.example")
    for number in range(3):
        assert come(site, google.token(jti=str(number))).status_code == 200
    assert google.asked == 1
    google.rotate("stolen", publish=False)
    assert come(site, google.token(kid="stolen")).status_code == 401
    assert why(site) == "key"
    assert google.asked == 1, "a key that is not known is not asked for again within the minute"
    google.rotate("k2")
    assert site.parts.google is not None
    site.parts.google.keys.least_seconds = 0.0  # the minute is over
    assert come(site, google.token()).status_code == 200
    assert google.asked == 2


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_an_issuer_that_is_away_is_told_as_that(site: Site, google: Issuer) -> None:
    assert site.parts.google is not None
    site.parts.google.keys._url = f"http://127.0.0.1:{free_port()}/jwks"
    answer = come(site, google.token())
    assert (answer.status_code, "cannot be fetched" in answer.json()["detail"]) == (503, True)


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_guessing_is_throttled(site: Site) -> None:
    assert [come(site, "a.b.c").status_code for _ in range(6)] == [401] * 5 + [429]


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_the_document_says_which_ways_there_are(site: Site) -> None:
    with site.anonymous() as client:
        told = json.loads(client.get("/auth/ways").text)
    assert told == {"password": True, "google_client_id": CLIENT_ID}


def test_where_it_is_not_set_up_it_is_not_there(home: Path) -> None:
    from tests.api.site import serving

    with serving(Settings(home=home, api_port=free_port(), min_free_mb=0)) as site:
        assert come(site, "a.b.c").status_code == 404
