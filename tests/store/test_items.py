from __future__ import annotations

import threading
from typing import Any

import pytest

from engine.errors import Conflict, InUse, Invalid, Missing
from engine.settings import Settings
from engine.store import Store
from tests.store.documents import SMALL, rule, with_rule


@pytest.fixture
def small(store: Store) -> Store:
    store.save(SMALL, author="ada")
    return store


def test_add_replace_change_and_delete(small: Store) -> None:
    small.add_item("destinations", {"name": "new", "kind": "nothing"}, author="ada")
    small.put_item("destinations", "new", {"kind": "nothing", "enabled": False}, author="ada")
    assert small.item("destinations", "new") == {"name": "new", "kind": "nothing", "enabled": False}
    small.patch_item("destinations", "new", {"description": "x", "enabled": None}, author="ada")
    assert small.item("destinations", "new") == {"name": "new", "kind": "nothing", "description": "x"}
    small.delete_item("destinations", "new", author="ada")
    with pytest.raises(Missing, match="no destination called new"):
        small.item("destinations", "new")
    assert [r.reason for r in small.revisions(4)] == [
        "deleted destinations/new", "changed destinations/new", "saved destinations/new", "added destinations/new",
    ]  # fmt: skip


def test_a_taken_name_and_a_changed_name_are_refused(small: Store) -> None:
    with pytest.raises(Conflict, match="already a destination called pacs"):
        small.add_item("destinations", {"name": "pacs", "kind": "nothing"}, author="ada")
    for change in (small.put_item, small.patch_item):
        with pytest.raises(Invalid) as caught:
            change("destinations", "pacs", {"name": "other", "kind": "nothing"}, author="ada")
        assert caught.value.problems[0].loc == ("destinations", "pacs", "name")


@pytest.mark.parametrize(("family", "name"), [("destinations", "pacs"), ("sources", "modalities"), ("schedules", "office")])
def test_what_is_used_does_not_go(small: Store, family: str, name: str) -> None:
    assert small.used_by(family, name) == ["rulesets/main/rules/ct"]
    with pytest.raises(InUse) as caught:
        small.delete_item(family, name, author="ada")
    assert caught.value.users == ("rulesets/main/rules/ct",)
    assert small.live_revision() == 1


def test_what_is_not_there_is_missing(small: Store) -> None:
    for call in (
        lambda: small.used_by("destinations", "x"),
        lambda: small.delete_item("destinations", "x", author="a"),
        lambda: small.patch_item("destinations", "x", {}, author="a"),
        lambda: small.item("cupboards", "x"),
    ):
        with pytest.raises(Missing):
            call()


def test_two_people_saving_the_same_item_the_second_is_told(small: Store) -> None:
    read = small.live_revision()
    small.patch_item("destinations", "pacs", {"description": "ada's"}, author="ada", expected=read)
    for change in (
        lambda: small.patch_item("destinations", "pacs", {"description": "ben's"}, author="ben", expected=read),
        lambda: small.put_item("destinations", "pacs", {"kind": "nothing"}, author="ben", expected=read),
        lambda: small.delete_item("destinations", "pacs", author="ben", expected=read),
        lambda: small.patch_item("destinations", "pacs", {}, author="ben", expected=77),
    ):
        with pytest.raises(Conflict):
            change()
    assert small.item("destinations", "pacs")["description"] == "ada's"


def test_two_people_saving_different_items_both_succeed(small: Store) -> None:
    read = small.live_revision()
    small.patch_item("destinations", "pacs", {"description": "ada's"}, author="ada", expected=read)
    small.patch_item("destinations", "archive", {"description": "ben's"}, author="ben", expected=read)
    assert small.item("destinations", "pacs")["description"] == "ada's"
    assert small.item("destinations", "archive")["description"] == "ben's"


def test_many_at_once_lose_nothing(settings: Settings, store: Store) -> None:
    stores = [store, Store(settings)]
    failed: list[BaseException] = []

    def add(i: int) -> None:
        try:
            stores[i % 2].add_item("destinations", {"name": f"d{i}", "kind": "nothing"}, author=f"p{i}")
        except BaseException as e:
            failed.append(e)

    threads = [threading.Thread(target=add, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stores[1].close()
    assert failed == []
    assert len(store.live().configuration.destinations) == 12
    assert store.live_revision() == 12


WRONG: list[tuple[str, dict[str, Any], tuple[str | int, ...], str]] = [
    ("a bad regex", rule(when={"all": [{"tag": "StudyDescription", "op": "regex", "value": "(head"}]}),
     ("rulesets", "main", "rules", "ct", "when", "all", 0, "value"), "regular expression"),
    ("an unknown tag", rule(when={"tag": "PatientNme", "op": "exists"}),
     ("rulesets", "main", "rules", "ct", "when", "tag"), "PatientName"),
    ("a value that is not of its VR", rule(when={"tag": "StudyDate", "op": "gt", "value": "yesterday"}),
     ("rulesets", "main", "rules", "ct", "when", "value"), "date"),
    ("a morph's value that is not of its VR", rule(morphs=[{"kind": "set", "tag": "StudyDate", "value": "yesterday"}]),
     ("rulesets", "main", "rules", "ct", "morphs", 0), "not valid for StudyDate"),
    ("a morph's unknown tag", rule(morphs=[{"kind": "delete", "tag": "Nope"}]),
     ("rulesets", "main", "rules", "ct", "morphs", 0, "tag"), "Nope"),
    ("an unknown destination", rule(destinations=["pac"]),
     ("rulesets", "main", "rules", "ct", "destinations", 0), "no destination called pac; there are pacs"),
    ("an unknown key", rule(prioritty=3), ("rulesets", "main", "rules", "ct", "prioritty"), "no such field"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "wrong", "loc", "words"), WRONG, ids=[w[0] for w in WRONG])
def test_a_wrong_rule_is_refused_at_its_field(
    store: Store, what: str, wrong: dict[str, Any], loc: tuple[str | int, ...], words: str
) -> None:
    store.save(with_rule(rule()), author="ada")
    ruleset = with_rule(wrong)["rulesets"][0]
    with pytest.raises(Invalid) as caught:
        store.put_item("rulesets", "main", ruleset, author="ben")
    problem = caught.value.problems[0]
    assert problem.loc == loc
    assert words in problem.words
    assert store.live_revision() == 1


def test_equal_priorities_are_refused_with_the_other_ones_name(store: Store) -> None:
    with pytest.raises(Invalid) as caught:
        store.save(with_rule(rule(name="a"), rule(name="b")), author="ada")
    assert caught.value.problems[0].loc == ("rulesets", "main", "rules", "b", "priority")
    assert "taken by the rule a" in caught.value.problems[0].words
    store.save(with_rule(rule()), author="ada")
    with pytest.raises(Invalid) as caught:
        store.add_item("rulesets", {"name": "second", "priority": 1}, author="ada")
    assert caught.value.problems[0].loc == ("rulesets", "second", "priority")
