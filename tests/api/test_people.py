from __future__ import annotations

from tests.api.site import PASSWORD, Site


def test_a_person_is_added_with_a_one_time_password_and_comes_in(site: Site) -> None:
    admin = site.signed_in()
    made = admin.post("/users", json={"username": "Ada", "role": "User", "name": "Ada L."}).json()
    assert (made["username"], made["must_change_password"]) == ("ada", True)
    assert "password" not in {k for k in made if k != "one_time_password"} - {"must_change_password"}
    with site.anonymous() as client:
        login = client.post("/auth/login", json={"username": "ada", "password": made["one_time_password"]})
        assert login.json()["must_change_password"] is True
    assert admin.get("/users/ada").json()["signed_in_at"] is not None
    assert [u["username"] for u in admin.get("/users").json()] == ["ada", "root"]
    assert "$2b$" not in admin.get("/users").text


def test_what_does_not_hold_is_refused(site: Site) -> None:
    admin = site.signed_in()
    assert admin.post("/users", json={"username": "a b", "role": "King"}).status_code == 422
    assert admin.post("/users", json={"username": "root"}).status_code == 409
    weak = admin.post("/users", json={"username": "ben", "password": "short"})
    assert (weak.status_code, weak.json()["problems"][0]["loc"]) == (422, ["new_password"])
    assert admin.patch("/users/root", json={"active": False}).status_code == 409
    assert admin.patch("/users/nobody", json={}).status_code == 404


def test_a_key_works_within_its_bounds_until_it_is_revoked(site: Site) -> None:
    admin = site.signed_in()
    made = admin.post("/keys", json={"name": "nightly", "permissions": ["view"], "networks": ["127.0.0.0/8"]}).json()
    assert made["key"] not in admin.get("/keys").text
    with site.anonymous(Authorization=f"Bearer {made['key']}") as client:
        assert client.get("/config").status_code == 200
        assert client.get("/auth/me").json()["permissions"] == ["view"]
        assert client.post("/destinations", json={"name": "a", "kind": "nothing"}).status_code == 403
        assert client.post("/keys", json={"name": "child"}).status_code == 403
        assert client.post("/auth/password", json={"old_password": PASSWORD, "new_password": "x" * 20}).status_code == 403
        assert admin.delete(f"/keys/{made['prefix']}").status_code == 204
        assert client.get("/config").status_code == 401
    elsewhere = admin.post("/keys", json={"name": "x", "networks": ["10.0.0.0/8"]}).json()
    with site.anonymous(Authorization=f"Bearer {elsewhere['key']}") as client:
        assert client.get("/config").status_code == 401


def test_a_change_by_key_says_which_key(site: Site) -> None:
    admin = site.signed_in()
    made = admin.post("/keys", json={"name": "deploy"}).json()
    with site.anonymous(Authorization=f"Bearer {made['key']}") as client:
        client.post("/destinations", json={"name": "a", "kind": "nothing"})
    assert admin.get("/revisions/1").json()["author"] == f"root (key {made['prefix']})"


def test_one_sees_and_revokes_ones_own_keys_alone(site: Site) -> None:
    admin, ada = site.signed_in(), site.signed_in("ada", "User")
    made = admin.post("/keys", json={"name": "x"}).json()
    assert ada.get("/keys").json() == []
    assert ada.delete(f"/keys/{made['prefix']}").status_code == 404
    own = ada.post("/keys", json={"name": "y"}).json()
    assert [k["name"] for k in admin.get("/keys").json()] == ["x", "y"]
    assert ada.delete(f"/keys/{own['prefix']}").status_code == 204


def test_the_audit_is_read_in_pages_and_verified(site: Site) -> None:
    admin = site.signed_in()
    admin.post("/destinations", json={"name": "a", "kind": "nothing"})
    admin.get("/instances", params={"q": "Doe^Jane"})
    rows = admin.get("/audit", params={"who": "root", "limit": 2}).json()
    assert [(r["action"], r["address"]) for r in rows] == [("query-patients", "127.0.0.1"), ("add", "127.0.0.1")]
    assert len(rows[0]["detail"]["sought"]) == 32
    assert "Doe" not in admin.get("/audit").text
    assert admin.get("/audit", params={"before": rows[1]["id"], "action": "add"}).json() == []
    assert admin.get("/audit/verify").json() == {"whole": True, "words": "Every line is as it was written."}
