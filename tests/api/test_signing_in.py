from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from engine.security.tokens import Signer
from engine.store import tables
from tests.api.site import PASSWORD, Site


def test_the_first_admin_signs_in_changes_the_password_and_works(site: Site) -> None:
    one_time = site.store.people.create_admin()
    with site.anonymous() as client:
        first = client.post("/auth/login", json={"username": "admin", "password": one_time}).json()
        assert first["must_change_password"] is True
        assert (first["token_type"], first["expires_in"], first["user"]["role"]) == ("bearer", 900, "Admin")
        client.headers["Authorization"] = f"Bearer {first['access_token']}"
        refused = client.post("/auth/password", json={"old_password": "wrong", "new_password": PASSWORD})
        assert refused.status_code == 422
        assert refused.json()["problems"][0]["loc"] == ["old_password"]
        second = client.post("/auth/password", json={"old_password": one_time, "new_password": PASSWORD}).json()
        assert second["must_change_password"] is False
        assert client.get("/config").status_code == 401  # the old token went with the old password
        client.headers["Authorization"] = f"Bearer {second['access_token']}"
        assert client.get("/config").status_code == 200
        assert client.get("/auth/me").json()["permissions"] == [
            "administer", "browse", "edit", "operate", "see_patient_data", "store", "view",
        ]  # fmt: skip


def test_a_wrong_name_and_a_wrong_password_are_answered_alike(site: Site) -> None:
    site.person("ada")
    with site.anonymous() as client:
        answers = [
            client.post("/auth/login", json={"username": u, "password": p})
            for u, p in (("ada", "wrong"), ("nobody", PASSWORD), ("ada", "x" * 900), ("ada", "a\0"))
        ]
    assert {a.status_code for a in answers} == {401}
    assert len({a.json()["detail"] for a in answers}) == 1


def test_too_many_attempts_are_throttled_and_told_how_long(site: Site) -> None:
    site.person("ada")
    with site.anonymous() as client:
        for _ in range(5):
            assert client.post("/auth/login", json={"username": "ada", "password": "wrong"}).status_code == 401
        answer = client.post("/auth/login", json={"username": "Ada", "password": PASSWORD})
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
    site.signed_in("ben", "User")  # others are not held up


def test_guessing_the_old_password_is_throttled_too(site: Site) -> None:
    client = site.signed_in("ada", "User")
    body = {"old_password": "wrong", "new_password": "another good one"}
    assert [client.post("/auth/password", json=body).status_code for _ in range(6)] == [422] * 5 + [429]


def test_refresh_rotates_and_a_copied_token_ends_the_session(site: Site) -> None:
    tokens = site.tokens()
    with site.anonymous() as client:
        second = client.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]}).json()
        client.headers["Authorization"] = f"Bearer {second['access_token']}"
        assert client.get("/auth/me").status_code == 200
        with site.store.database.write() as connection:
            t = tables.refresh_tokens
            old = datetime.now(UTC) - timedelta(minutes=1)
            connection.execute(t.update().where(t.c.used_at.is_not(None)).values(used_at=old))
        assert client.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]}).status_code == 401
        assert client.post("/auth/refresh", json={"refresh_token": second["refresh_token"]}).status_code == 401
        assert client.get("/auth/me").status_code == 401


def test_signing_out_ends_access_and_refresh(site: Site) -> None:
    tokens = site.tokens()
    with site.anonymous(Authorization=f"Bearer {tokens['access_token']}") as client:
        assert client.post("/auth/logout", json={"refresh_token": tokens["refresh_token"]}).status_code == 204
        assert client.get("/auth/me").status_code == 401
        assert client.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]}).status_code == 401


def test_an_expired_token_is_refused(site: Site) -> None:
    tokens = site.tokens()
    claims = site.parts.signer.check(tokens["access_token"])
    old = Signer(site.parts.settings.key).sign("ada", "User", claims.generation, claims.session, seconds=-30)
    with site.anonymous(Authorization=f"Bearer {old}") as client:
        assert client.get("/auth/me").status_code == 401


@pytest.mark.parametrize("end", ["sign-out", "password", "inactive", "role"])
def test_an_admin_ends_every_session_of_a_person(site: Site, end: str) -> None:
    admin, tokens = site.signed_in(), site.tokens()
    answer = {
        "sign-out": lambda: admin.post("/users/ada/sign-out"),
        "password": lambda: admin.post("/users/ada/password"),
        "inactive": lambda: admin.patch("/users/ada", json={"active": False}),
        "role": lambda: admin.patch("/users/ada", json={"role": "Admin"}),
    }[end]()
    assert answer.is_success
    with site.anonymous(Authorization=f"Bearer {tokens['access_token']}") as client:
        assert client.get("/auth/me").status_code == 401
        assert client.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]}).status_code == 401


def test_a_forged_role_in_a_good_session_is_worth_nothing(site: Site) -> None:
    tokens = site.tokens()
    claims = site.parts.signer.check(tokens["access_token"])
    forged = site.parts.signer.sign("ada", "Admin", claims.generation, claims.session)
    with site.anonymous(Authorization=f"Bearer {forged}") as client:
        assert client.get("/users").status_code == 403  # what the store says of ada counts
        assert client.get("/auth/me").json()["role"] == "User"


def test_each_attempt_stands_in_the_audit_with_its_address(site: Site) -> None:
    site.tokens("ada")
    with site.anonymous() as client:
        client.post("/auth/login", json={"username": "ada", "password": "wrong"})
    rows = site.signed_in().get("/audit").json()
    found = [(r["who"], r["action"], r["address"]) for r in rows]
    assert ("ada", "sign-in", "127.0.0.1") in found
    assert ("ada", "sign-in-refused", "127.0.0.1") in found
    assert site.signed_in().get("/audit/verify").json()["whole"] is True
