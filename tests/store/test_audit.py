from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from engine.settings import Settings
from engine.store import Store, tables
from tests.store.documents import SMALL


def test_each_change_writes_its_line_with_it(store: Store) -> None:
    store.save(SMALL, author="ada", reason="first", address="10.0.0.9")
    store.delete_item("destinations", "archive", author="ben")
    lines = store.audit.rows()
    assert [(r.who, r.action, r.revision, r.address) for r in lines] == [
        ("ben", "delete", 2, ""), ("ada", "save", 1, "10.0.0.9"),
    ]  # fmt: skip
    assert lines[0].detail["changes"] == ["removed destinations/archive"]
    assert store.audit.verify() is None


def test_filters_and_pages(store: Store) -> None:
    for i in range(6):
        store.audit.write(who="ada" if i % 2 else "ben", action="retry", family="held", name=str(i))
    assert [r.name for r in store.audit.rows(2)] == ["5", "4"]
    assert [r.name for r in store.audit.rows(2, before=5)] == ["3", "2"]
    assert [r.name for r in store.audit.rows(who="ada")] == ["5", "3", "1"]
    assert store.audit.rows(action="save") == []
    assert [r.name for r in store.audit.since(4)] == ["4", "5"]


@pytest.mark.parametrize("sql", ["UPDATE audit SET who = 'x'", "DELETE FROM audit"])
def test_lines_cannot_be_changed_or_taken_out(store: Store, sql: str) -> None:
    store.audit.write(who="ada", action="retry")
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), store.database.engine.begin() as connection:
        connection.execute(sa.text(sql))
    assert store.audit.verify() is None


def _without_guard(store: Store, *statements: str) -> None:
    """As somebody with the database's own keys would."""
    guard = (
        ["DROP TRIGGER audit_no_update", "DROP TRIGGER audit_no_delete"]
        if store.database.dialect == "sqlite"
        else ["ALTER TABLE audit DISABLE TRIGGER USER"]
    )
    with store.database.engine.begin() as connection:
        for statement in (*guard, *statements):
            connection.execute(sa.text(statement))


def test_who_changes_lines_behind_our_back_is_found_out(store: Store) -> None:
    for i in range(4):
        store.audit.write(who="ada", action="retry", name=str(i), detail={"n": i})
    assert store.audit.verify() is None
    _without_guard(store, "UPDATE audit SET who = 'ben' WHERE id = 3")
    assert store.audit.verify() == "Line 3 of the audit is not as it was written."


def test_a_missing_line_is_found_out(store: Store) -> None:
    for i in range(4):
        store.audit.write(who="ada", action="retry", name=str(i))
    _without_guard(store, "DELETE FROM audit WHERE id = 2")
    assert store.audit.verify() == "Line 2 of the audit is missing."


def test_writers_at_once_keep_one_chain(store: Store, settings: Settings) -> None:
    stores = [store, Store(settings)]

    def write(i: int) -> None:
        for _ in range(10):
            stores[i % 2].audit.write(who=f"p{i}", action="retry")

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stores[1].close()
    assert store.audit.verify() is None
    with store.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(tables.audit)).scalar_one() == 40
