"""The order of rules, revisions that become live at a time, and configurations of real size."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.jobs.context import Context
from engine.jobs.supervisor import Supervisor
from engine.settings import Settings
from engine.store import Store, tables
from tests.api.site import Site
from tests.store.documents import SMALL, many_rules, rule

NAMES = ["a", "b", "c", "d"]


def _ruleset(*names: str) -> dict[str, object]:
    return {"name": "main", "priority": 1, "rules": [rule(name=n, priority=i + 1) for i, n in enumerate(names)]}


@pytest.fixture
def with_rules(site: Site) -> Site:
    client = site.signed_in()
    client.post("/destinations", json={"name": "pacs", "kind": "nothing"}).raise_for_status()
    client.post("/rulesets", json=_ruleset(*NAMES)).raise_for_status()
    return site


@pytest.mark.parametrize(
    ("moved", "body", "expected"),
    [
        ("d", {"before": "a"}, "dabc"), ("a", {"after": "c"}, "bcad"), ("b", {}, "acdb"), ("c", {"before": "b"}, "acbd"),
        ("a", {"after": "b"}, "bacd"), ("a", {"before": "b"}, "abcd"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_a_rule_is_moved_and_all_are_numbered_anew(
    with_rules: Site, moved: str, body: dict[str, str], expected: str
) -> None:
    answer = with_rules.signed_in().post(f"/rulesets/main/rules/{moved}/move", json=body)
    assert answer.status_code == 200
    assert [(r["name"], r["priority"]) for r in answer.json()["rules"]] == [
        (name, (i + 1) * 10) for i, name in enumerate(expected)
    ]


def test_what_cannot_be_moved_is_told(with_rules: Site) -> None:
    client = with_rules.signed_in()
    assert client.post("/rulesets/main/rules/x/move", json={}).status_code == 404
    assert client.post("/rulesets/none/rules/a/move", json={}).status_code == 404
    assert client.post("/rulesets/main/rules/a/move", json={"before": "x"}).status_code == 404
    assert client.post("/rulesets/main/rules/a/move", json={"before": "a"}).status_code == 422
    assert client.post("/rulesets/main/rules/a/move", json={"before": "b", "after": "c"}).status_code == 422
    assert with_rules.signed_in("ada", "User").post("/rulesets/main/rules/a/move", json={}).status_code == 403


def test_of_two_who_save_the_same_rule_the_second_is_told(with_rules: Site) -> None:
    one, two = with_rules.signed_in("one", "Admin"), with_rules.signed_in("two", "Admin")
    read = one.get("/rulesets/main")
    seen, headers = read.json(), {"If-Match": read.headers["ETag"]}
    first, second = ({**seen, "rules": [{**seen["rules"][0], "description": who}]} for who in ("one", "two"))
    assert one.put("/rulesets/main", json=first, headers=headers).status_code == 200
    told = two.put("/rulesets/main", json=second, headers=headers)
    assert (told.status_code, "changed after you read it" in told.json()["detail"]) == (412, True)
    moved = two.post("/rulesets/main/rules/a/move", json={}, headers=headers)
    assert moved.status_code == 412
    assert one.get("/rulesets/main").json()["rules"][0]["description"] == "one"


def test_a_thousand_rules_are_applied_and_come_out_as_they_went_in(site: Site, tmp_path: Path) -> None:
    client = site.signed_in()
    client.post("/config/apply", json={"document": many_rules(1000)}).raise_for_status()
    first = client.get("/config", headers={"Accept": "application/yaml"})
    assert first.text.count("when:") >= 1000
    other = Store(Settings(home=tmp_path / "other"))
    assert other.apply(first.text, author="t").revision == 1
    assert other.export_yaml() == first.text
    other.close()
    assert client.post("/config/apply", json={"yaml": first.text}).json()["changed"] is False


def _soon(**more: float) -> str:
    return (datetime.now(UTC) + timedelta(**more)).isoformat()


def _time_has_come(site: Site) -> None:
    with site.store.database.write() as connection:
        then = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(tables.activations.update().values(at=then))


def test_a_revision_becomes_live_at_its_time_once(site: Site) -> None:
    client = site.signed_in()
    client.post("/config/apply", json={"document": SMALL}).raise_for_status()
    client.patch("/destinations/pacs", json={"description": "new"}).raise_for_status()
    plan = client.post("/activations", json={"revision": 1, "at": _soon(hours=1), "reason": "the night plan"})
    assert (plan.status_code, plan.json()["ended_at"]) == (201, None)
    assert site.store.activations.do_due() == 0
    _time_has_come(site)
    assert site.store.activations.do_due() == 1
    assert site.store.activations.do_due() == 0
    assert client.get("/destinations/pacs").json()["description"] == "old"
    (told,) = client.get("/activations").json()
    assert told["outcome"] == "Live as revision 3."
    live = client.get("/revisions/3").json()
    assert (live["author"], live["reason"], live["live"]) == ("root", "the night plan", True)
    actions = [r["action"] for r in client.get("/audit").json()]
    assert actions[:2] == ["activate", "plan"]


def test_a_plan_is_cancelled_and_a_bad_one_refused(site: Site) -> None:
    client = site.signed_in()
    client.post("/config/apply", json={"document": SMALL}).raise_for_status()
    assert client.post("/activations", json={"revision": 9, "at": _soon(hours=1)}).status_code == 404
    for at in (_soon(hours=-1), "2099-01-01T00:00:00"):
        assert client.post("/activations", json={"revision": 1, "at": at}).json()["problems"][0]["loc"] == ["at"]
    number = client.post("/activations", json={"revision": 1, "at": _soon(hours=1)}).json()["id"]
    assert client.delete(f"/activations/{number}").status_code == 204
    assert client.delete("/activations/99").status_code == 404
    _time_has_come(site)
    assert site.store.activations.do_due() == 0
    assert client.get("/activations").json()[0]["outcome"] == "Cancelled by root."


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_a_revision_that_does_not_hold_any_more_changes_nothing(site: Site) -> None:
    client = site.signed_in()
    client.post("/config/apply", json={"document": SMALL}).raise_for_status()
    client.patch("/destinations/pacs", json={"description": "new"}).raise_for_status()
    client.post("/activations", json={"revision": 1, "at": _soon(hours=1)}).raise_for_status()
    with site.store.database.write() as connection:
        broken = {**SMALL, "destinations": [{"name": "pacs", "kind": "a kind that is gone"}]}
        connection.execute(tables.revisions.update().where(tables.revisions.c.id == 1).values(document=broken))
    _time_has_come(site)
    assert site.store.activations.do_due() == 1
    assert "does not hold any more" in client.get("/activations").json()[0]["outcome"]
    assert client.get("/revisions").json()["live"] == 2


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
def test_the_engines_loop_does_what_is_due(site: Site, settings: Settings, clean_valkey: str) -> None:
    client = site.signed_in()
    document = {**SMALL, "sources": [], "rulesets": []}
    client.post("/config/apply", json={"document": document}).raise_for_status()
    client.patch("/destinations/pacs", json={"description": "new"}).raise_for_status()
    client.post("/activations", json={"revision": 1, "at": _soon(hours=1)}).raise_for_status()
    _time_has_come(site)
    context = Context(Settings(home=settings.home, redis_url=clean_valkey, min_free_mb=0))
    context.settings.run_dir.mkdir(exist_ok=True)
    context.spool.make()
    Supervisor(context)._tick()
    context.store.close()
    assert client.get("/destinations/pacs").json()["description"] == "old"
