from __future__ import annotations

import copy
import threading

import pytest

from engine.configuration import FAMILIES
from engine.errors import Conflict, Invalid, Missing
from engine.settings import Settings
from engine.store import Store
from tests.store.documents import SMALL


def test_before_anything_is_saved_revision_0_is_empty(store: Store) -> None:
    assert store.live_revision() == 0
    assert store.live().configuration.document() == {family: [] for family in FAMILIES}
    assert store.revisions() == []


def test_a_save_makes_the_next_revision_with_author_and_reason(store: Store) -> None:
    assert store.save(SMALL, author="ada", reason="first", expected=0) == 1
    saved = store.revision(1)
    assert (saved.author, saved.reason) == ("ada", "first")
    assert saved.created_at is not None
    assert saved.created_at.tzinfo is not None
    assert store.live().revision == 1
    assert store.live().configuration.document() == saved.document


def test_an_equal_document_makes_no_revision(store: Store) -> None:
    store.save(SMALL, author="ada")
    other_order = copy.deepcopy(SMALL)
    other_order["destinations"].reverse()
    other_order["rulesets"][0]["mode"] = "ALL_MATCHES"  # the default, said aloud
    assert store.save(other_order, author="ben", expected=0) == 1
    assert len(store.revisions()) == 1


def test_a_save_on_an_old_revision_is_told_who_was_quicker(store: Store) -> None:
    store.save(SMALL, author="ada")
    with pytest.raises(Conflict, match="ada saved revision 1 after you read revision 0"):
        store.save({}, author="ben", expected=0)
    assert store.live_revision() == 1


def test_a_refused_save_changes_nothing(store: Store) -> None:
    store.save(SMALL, author="ada")
    with pytest.raises(Invalid):
        store.save({"destinations": [{"name": "pacs"}]}, author="ben")
    assert [r.id for r in store.revisions()] == [1]


def test_of_two_savers_at_once_one_is_told(store: Store, settings: Settings) -> None:
    other = Store(settings)
    outcomes: list[object] = []
    start = threading.Barrier(2)

    def save(through: Store, name: str) -> None:
        start.wait()
        try:
            document = {"destinations": [{"name": name, "kind": "nothing"}]}
            outcomes.append(through.save(document, author=name, expected=0))
        except Conflict as e:
            outcomes.append(e)

    threads = [threading.Thread(target=save, args=(s, n)) for s, n in ((store, "a"), (other, "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert sorted(type(o).__name__ for o in outcomes) == ["Conflict", "int"]
    assert store.live_revision() == 1


def test_rollback_makes_the_old_document_live_as_a_new_revision(store: Store) -> None:
    store.save(SMALL, author="ada")
    store.save({}, author="ben")
    assert store.rollback(1, author="cy") == 3
    assert store.live().configuration.document() == store.revision(1).document
    assert store.revision(3).reason == "back to revision 1"
    with pytest.raises(Missing, match="no revision 7"):
        store.rollback(7, author="cy")


def test_labels_and_paging(store: Store) -> None:
    for i in range(5):
        store.save({"destinations": [{"name": f"d{i}", "kind": "nothing"}]}, author="ada")
    store.label(2, "before the move", author="ada")
    assert [r.id for r in store.revisions(2)] == [5, 4]
    assert [r.id for r in store.revisions(9, before=4)] == [3, 2, 1]
    assert store.revision(2).label == "before the move"
    with pytest.raises(Missing):
        store.label(99, "x", author="ada")


def test_another_process_change_is_seen_and_the_same_revision_is_not_read_again(
    store: Store, settings: Settings
) -> None:
    store.save(SMALL, author="ada")
    first = store.live()
    assert store.live().configuration is first.configuration
    other = Store(settings)
    other.save({}, author="ben")
    other.close()
    assert store.live().revision == 2
    assert store.live().configuration.destinations == []
    assert store.configuration_of(1).document() == first.configuration.document()


def test_a_forked_child_uses_connections_of_its_own(store: Store) -> None:
    import os

    store.save(SMALL, author="ada")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, str(store.save({}, author="child")).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    assert os.read(read, 10) == b"2"
    os.close(read)
    assert store.live_revision() == 2
    assert store.save(SMALL, author="parent") == 3
