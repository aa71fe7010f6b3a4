from __future__ import annotations

import pytest

from engine.security.roles import ROLES
from tests.api.site import Site


def test_a_role_is_made_given_changed_and_goes(site: Site) -> None:
    admin = site.signed_in()
    made = admin.post("/roles", json={"name": "Night shift", "permissions": ["operate", "view", "view"]})
    assert made.status_code == 201
    assert made.json() == {
        "name": "Night shift", "description": "", "permissions": ["operate", "view"], "seeded": False, "users": 0,
    }  # fmt: skip
    assert [r["name"] for r in admin.get("/roles").json()] == ["Admin", "User", "Sender", "Night shift"]
    nina = site.signed_in("nina", "Night shift")
    assert nina.get("/auth/me").json()["permissions"] == ["operate", "view"]
    assert nina.get("/config").status_code == 200
    assert nina.get("/instances").status_code == 403
    admin.patch("/roles/Night shift", json={"permissions": ["browse"], "description": "searches"}).raise_for_status()
    assert nina.get("/instances").status_code == 200, "it holds from the next request on"
    assert nina.get("/config").status_code == 403
    used = admin.delete("/roles/Night shift")
    assert (used.status_code, used.json()["used_by"]) == (409, ["users/nina"])
    admin.patch("/users/nina", json={"role": "User"}).raise_for_status()
    assert admin.delete("/roles/Night shift").status_code == 204
    assert admin.get("/roles/Night shift").status_code == 404
    actions = [(r["action"], r["family"]) for r in admin.get("/audit").json()]
    assert [a for a, family in actions if family == "roles"] == ["delete", "change", "create"]


def test_a_key_is_bound_by_the_role_of_its_owner(site: Site) -> None:
    admin = site.signed_in()
    admin.post("/roles", json={"name": "Reader", "permissions": ["view", "edit"]})
    site.person("robot", "Reader")
    made = admin.post("/keys", json={"username": "robot", "name": "deploy", "permissions": ["view", "operate"]}).json()
    assert made["username"] == "robot"
    with site.anonymous(Authorization=f"Bearer {made['key']}") as client:
        assert client.get("/auth/me").json()["permissions"] == ["view"]
    refused = site.signed_in("ada", "User").post("/keys", json={"username": "robot", "name": "x"})
    assert refused.status_code == 403


@pytest.mark.parametrize("seeded", sorted(ROLES))
def test_what_every_installation_has_stays(site: Site, seeded: str) -> None:
    admin = site.signed_in()
    assert admin.patch(f"/roles/{seeded}", json={"permissions": ["view"]}).status_code == 409
    assert admin.delete(f"/roles/{seeded}").status_code == 409
    assert admin.post("/roles", json={"name": seeded.lower(), "permissions": []}).status_code == 409


def test_what_does_not_hold_is_refused_beside_its_field(site: Site) -> None:
    admin = site.signed_in()
    answer = admin.post("/roles", json={"name": "1", "permissions": ["view", "fly"]})
    assert [p["loc"] for p in answer.json()["problems"]] == [["name"], ["permissions", 1]]
    assert admin.post("/users", json={"username": "eve", "role": "Nobody's"}).json()["problems"][0]["loc"] == ["role"]


def test_the_last_who_administers_stays_able_to(site: Site) -> None:
    admin = site.signed_in()
    admin.post("/roles", json={"name": "Keeper", "permissions": ["administer"]})
    keeper = site.signed_in("kim", "Keeper")
    keeper.patch("/users/root", json={"active": False}).raise_for_status()
    assert keeper.patch("/roles/Keeper", json={"permissions": ["view"]}).status_code == 409
    assert keeper.get("/roles/Keeper").json()["permissions"] == ["administer"]
