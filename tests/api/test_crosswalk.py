from __future__ import annotations

from pathlib import Path

import pytest

from engine.settings import Settings
from tests.api.site import Site


@pytest.fixture
def settings(home: Path, clean_valkey: str) -> Settings:
    from tests.peers import free_port

    return Settings(home=home, redis_url=clean_valkey, api_port=free_port(), min_free_mb=0)


def _apply(site: Site, tmp_path: Path, **of_map: object) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("mrn,pseudonym\nP1,A1\n")
    one = {"name": "m", "source": "mrn", "match": {"PatientID": "mrn"}, "replace": {"PatientID": "pseudonym"}}
    rule = {"name": "all", "priority": 1, "morphs": [{"kind": "crosswalk", "map": "m"}]}
    document = {
        "crosswalk_sources": [{"name": "mrn", "kind": "csv", "path": str(path)}], "crosswalk_maps": [one | of_map],
        "rulesets": [{"name": "main", "priority": 1, "rules": [rule]}],
    }  # fmt: skip
    answer = site.signed_in().post("/config/apply", json={"document": document, "reason": "test"})
    assert answer.status_code == 200, answer.text


def test_a_value_is_looked_up_and_the_audit_knows_who_did(site: Site, tmp_path: Path) -> None:
    _apply(site, tmp_path)
    client = site.signed_in()
    assert client.post("/crosswalk_maps/m/lookup", json={"values": ["P1"]}).json() == {
        "map": "m", "match": {"PatientID": "P1"}, "found": True, "several": False, "replace": {"PatientID": "A1"},
        "on_miss": "hold",
    }  # fmt: skip
    assert client.post("/crosswalk_maps/m/lookup", json={"values": ["P2"]}).json()["found"] is False
    assert client.post("/crosswalk_maps/m/lookup", json={"values": ["a", "b"]}).status_code == 422
    assert client.post("/crosswalk_maps/none/lookup", json={"values": ["a"]}).status_code == 404
    assert "look-up" in client.get("/audit").text
    (tmp_path / "patients.csv").unlink()
    answer = client.post("/crosswalk_maps/m/lookup", json={"values": ["P3"]})
    assert (answer.status_code, "is away" in answer.json()["detail"]) == (503, True)


def test_a_sync_is_asked_for_and_its_status_seen(site: Site, tmp_path: Path) -> None:
    _apply(site, tmp_path, sync_seconds=600)
    client = site.signed_in()
    assert client.post("/crosswalk_maps/m/sync").status_code == 202
    (told,) = client.get("/crosswalk/status").json()["maps"]
    assert (told["name"], told["state"], told["batches_waiting"]) == ("m", "never", 0)


def test_a_map_is_checked_with_its_source(site: Site, tmp_path: Path) -> None:
    _apply(site, tmp_path)
    client = site.signed_in()
    item = client.get("/crosswalk_maps/m").json()
    assert [t["ok"] for t in client.post("/crosswalk_maps/check", json=item).json()["ticks"]] == [True, True]
    ticks = client.post("/crosswalk_maps/check", json=item | {"match": {"PatientID": "nope"}}).json()["ticks"]
    assert (ticks[1]["ok"], "has no column nope; it has mrn, pseudonym" in ticks[1]["words"]) == (False, True)


def test_what_is_used_does_not_go(site: Site, tmp_path: Path) -> None:
    _apply(site, tmp_path)
    client = site.signed_in()
    assert client.get("/crosswalk_sources/mrn/used-by").json()["used_by"] == ["crosswalk_maps/m"]
    assert client.get("/crosswalk_maps/m/used-by").json()["used_by"] == ["rulesets/main/rules/all"]
    assert client.delete("/crosswalk_sources/mrn").status_code == 409
    assert client.delete("/crosswalk_maps/m").status_code == 409
