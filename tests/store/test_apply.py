from __future__ import annotations

import time
from pathlib import Path

import pytest

from engine.errors import Conflict, Invalid
from engine.settings import Settings
from engine.store import Store
from engine.store.yaml_text import dump_yaml
from tests.store.documents import SMALL, SMALL_YAML, many_rules


def test_yaml_as_people_write_it_becomes_the_configuration(store: Store) -> None:
    applied = store.apply(SMALL_YAML, author="ada")
    assert applied.revision == 1
    assert store.live().configuration.rulesets[0].rules[0].state == "off"
    assert store.save(SMALL, author="ada") == 1  # the same as the document, so no new revision


def test_export_apply_export_is_identical(store: Store, tmp_path: Path) -> None:
    store.apply(SMALL_YAML, author="ada")
    text = store.export_yaml()
    empty = Store(Settings(home=tmp_path / "other"))
    empty.apply(text, author="ben")
    assert empty.export_yaml() == text
    assert empty.apply(text, author="ben").diff.words() == []
    assert empty.live_revision() == 1
    empty.close()


def test_families_that_are_named_become_equal_and_others_stay(store: Store) -> None:
    store.apply(SMALL_YAML, author="ada")
    applied = store.apply("destinations:\n  - {name: pacs, kind: nothing}\n", author="ada")
    assert applied.diff.words() == [
        "- destinations/archive", "~ destinations/pacs", "    description: old (gone)",
    ]  # fmt: skip
    assert len(store.live().configuration.rulesets) == 1


def test_a_dry_run_says_and_does_nothing(store: Store) -> None:
    applied = store.apply(SMALL_YAML, author="ada", dry_run=True)
    assert (applied.revision, applied.dry_run, bool(applied.diff)) == (0, True, True)
    assert store.live_revision() == 0


def test_it_is_all_or_nothing_and_names_lines(store: Store) -> None:
    store.apply(SMALL_YAML, author="ada")
    text = (
        "destinations:\n"
        "  - name: pacs\n"
        "    kind: nothing\n"
        "  - name: second\n"
        "    kind: nothing\n"
        "    parallel: 99\n"
        "schedules: []\n"
    )
    with pytest.raises(Invalid) as caught:
        store.apply(text, author="ada")
    assert [(p.loc, p.words.split(":")[0]) for p in caught.value.problems] == [
        (("destinations", "second", "parallel"), "line 6")
    ]
    with pytest.raises(Invalid) as caught:
        store.apply("schedules: []\n", author="ada")
    assert "no schedule called office" in str(caught.value)
    assert store.live_revision() == 1


def test_unknown_families_and_empty_ones_are_refused(store: Store) -> None:
    with pytest.raises(Invalid, match=r"line 2: There is no family called destination; there are sources, destinations"):
        store.apply("sources: []\ndestination: []\n", author="ada")
    with pytest.raises(Invalid, match="line 1: Input should be a valid list"):
        store.apply("sources:\n", author="ada")


def test_an_apply_made_from_an_old_revision_is_told(store: Store) -> None:
    store.apply(SMALL_YAML, author="ada")
    with pytest.raises(Conflict):
        store.apply("sources: []\nrulesets: []\n", author="ben", expected=0)


def test_a_thousand_rules_apply_in_seconds(store: Store) -> None:
    text = dump_yaml(many_rules(1000))
    began = time.process_time()
    store.apply(text, author="ada")
    assert len(store.live().configuration.rulesets[0].rules) == 1000
    assert time.process_time() - began < 15
