from __future__ import annotations

import copy

from engine.store import Store
from engine.store.diff import diff_documents
from tests.store.documents import SMALL


def test_fields_are_named_by_items_not_by_numbers() -> None:
    after = copy.deepcopy(SMALL)
    after["sources"] = []
    after["destinations"][1]["description"] = "new"
    changed = after["rulesets"][0]["rules"][0]
    changed["when"]["value"] = "MR"
    changed["destinations"] = ["pacs", "archive"]
    del changed["schedule"]
    after["rulesets"][0]["rules"].append({"name": "mr", "priority": 5})
    after["schedules"].append({"name": "night"})
    diff = diff_documents(SMALL, after)
    assert diff.words() == [
        "- sources/modalities",
        "~ destinations/pacs",
        "    description: old -> new",
        "+ schedules/night",
        "~ rulesets/main",
        "    rules.ct.when.value: CT -> MR",
        '    rules.ct.destinations: ["pacs"] -> ["pacs", "archive"]',
        "    rules.ct.schedule: office (gone)",
        '    rules.mr: {"name": "mr", "priority": 5} (new)',
    ]
    changes = {c.path: c for d in diff.differences for c in d.changes}
    when = changes["rules", "ct", "when", "value"]
    assert (when.action, when.before, when.after) == ("changed", "CT", "MR")
    assert diff.as_json()["differences"][0]["action"] == "removed"
    assert diff.summary() == [
        "removed sources/modalities", "changed destinations/pacs", "added schedules/night", "changed rulesets/main",
    ]  # fmt: skip


def test_true_and_one_differ_and_order_of_items_does_not() -> None:
    before = {"destinations": [{"name": "a", "x": 1}, {"name": "b"}]}
    assert diff_documents(before, {"destinations": [{"name": "b"}, {"name": "a", "x": True}]}).words() == [
        "~ destinations/a", "    x: 1 -> true",
    ]  # fmt: skip


def test_any_two_revisions_compare(store: Store) -> None:
    store.save(SMALL, author="ada")
    store.save({}, author="ada")
    assert not store.diff(1, 1)
    assert [d.action for d in store.diff(0, 1).differences] == ["added"] * 5
    assert [d.action for d in store.diff(1, 2).differences] == ["removed"] * 5
