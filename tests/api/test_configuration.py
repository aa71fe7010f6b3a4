from __future__ import annotations

from pathlib import Path

import pytest

from engine.configuration import FAMILIES
from engine.settings import Settings
from engine.store import Store
from tests.api.site import Site
from tests.store.documents import SMALL, SMALL_YAML


def test_yaml_in_yaml_out_and_again_the_same(site: Site, tmp_path: Path) -> None:
    client = site.signed_in()
    applied = client.post("/config/apply", json={"yaml": SMALL_YAML, "reason": "the move"}).json()
    assert (applied["revision"], applied["changed"], applied["dry_run"]) == (1, True, False)
    answer = client.get("/config", headers={"Accept": "application/yaml"})
    assert answer.headers["Content-Type"].startswith("application/yaml")
    assert answer.headers["ETag"] == '"1"'
    other = Store(Settings(home=tmp_path / "other"))
    other.apply(answer.text, author="t")
    assert other.export_yaml() == answer.text
    other.close()
    assert client.post("/config/apply", json={"yaml": answer.text}).json()["changed"] is False
    assert client.get("/config").json()["rulesets"][0]["rules"][0]["state"] == "off"


def test_dry_run_and_diff_and_validate_change_nothing(site: Site) -> None:
    client = site.signed_in("ada", "User")
    assert client.post("/config/diff", json={"yaml": SMALL_YAML}).json()["words"][0] == "+ sources/modalities"
    assert client.post("/config/validate", json={"document": SMALL}).json() == {"problems": []}
    problems = client.post("/config/validate", json={"yaml": "sources: []\ndestinatons: []\n"}).json()["problems"]
    assert problems[0]["words"].startswith("line 2: There is no family called destinatons")
    dry = site.signed_in().post("/config/apply", json={"document": SMALL, "dry_run": True}).json()
    assert (dry["dry_run"], dry["changed"], dry["revision"]) == (True, True, 0)
    assert client.get("/config").json() == {family: [] for family in FAMILIES}


def test_problems_of_a_text_name_lines(site: Site) -> None:
    answer = site.signed_in().post("/config/apply", json={"yaml": "destinations:\n  - {name: a, kind: x}\n"})
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["words"].startswith("line 2: Unknown kind")


def test_exactly_one_of_the_two_forms(site: Site) -> None:
    client = site.signed_in()
    for body in ({}, {"yaml": "", "document": {}}):
        assert client.post("/config/apply", json=body).status_code == 422


def test_an_apply_from_an_old_revision_is_refused(site: Site) -> None:
    client = site.signed_in()
    client.post("/config/apply", json={"document": SMALL})
    answer = client.post("/config/apply", json={"document": {"rulesets": []}}, headers={"If-Match": '"0"'})
    assert answer.status_code == 412


def test_revisions_diff_label_and_rollback(site: Site) -> None:
    client = site.signed_in()
    client.post("/config/apply", json={"document": SMALL, "reason": "first"})
    client.patch("/destinations/pacs", json={"description": "new"})
    detail = client.get("/revisions/1").json()
    assert (detail["live"], detail["reason"], detail["document"]["schedules"][0]["name"]) == (False, "first", "office")
    assert client.get("/revisions/2/diff").json()["words"] == ["~ destinations/pacs", "    description: old -> new"]
    assert client.get("/revisions/1/diff?with=2").json()["differences"][0]["changes"] == [
        {"path": ["description"], "action": "changed", "before": "new", "after": "old"}
    ]
    assert client.put("/revisions/1/label", json={"label": "before"}).status_code == 204
    back = client.post("/revisions/1/rollback", json={"reason": "oops"})
    assert (back.json(), back.headers["ETag"]) == ({"revision": 3}, '"3"')
    assert client.post("/revisions/1/rollback").json() == {"revision": 3}
    page = client.get("/revisions", params={"limit": 2}).json()
    assert [(r["id"], r["live"], r["reason"]) for r in page["items"]] == [
        (3, True, "oops"), (2, False, "changed destinations/pacs"),
    ]  # fmt: skip
    assert client.get("/revisions", params={"before": 2}).json()["items"][0]["label"] == "before"
    for address in ("/revisions/9", "/revisions/9/diff", "/revisions/1/diff?with=9"):
        assert client.get(address).status_code == 404


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"name": "a b"}, "Letters, digits"), ({"host": "a..b"}, "single dots"), ({"ae_title": "A\\B"}, "but the backslash"),
    ],
)  # fmt: skip
def test_what_has_not_the_form_is_told_what_it_is(site: Site, source: dict[str, str], words: str) -> None:
    listener = {"kind": "dimse_listener", "name": "m", "port": 11112} | source
    answer = site.signed_in().post("/sources", json=listener)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert "pattern" not in answer.json()["detail"]
