from __future__ import annotations

from pathlib import Path

from engine.history.reader import Reader
from engine.history.recorder import Recorder
from engine.history.sealing import seal
from engine.store import Store
from engine.store.mirror import mirror_audit
from tests.store.documents import SMALL


def test_the_history_shows_each_line_once_also_after_a_crash(store: Store, tmp_path: Path) -> None:
    recorder, marker = Recorder(tmp_path / "history", "n1"), tmp_path / "audit.mirrored"
    store.save(SMALL, author="ada", reason="first", address="10.0.0.9")
    assert mirror_audit(store.audit, recorder, marker) == 1
    store.audit.write(who="ben", action="retry", family="held", name="b1")
    assert mirror_audit(store.audit, recorder, marker) == 1
    assert mirror_audit(store.audit, recorder, marker) == 0
    marker.write_text("1")  # as if the marker had not reached the disk
    assert mirror_audit(store.audit, recorder, marker) == 1
    seal(tmp_path / "history")
    rows = Reader(tmp_path / "history").rows("SELECT who, action, name, revision, address FROM audit ORDER BY id")
    assert rows == [
        {"who": "ada", "action": "save", "name": "", "revision": 1, "address": "10.0.0.9"},
        {"who": "ben", "action": "retry", "name": "b1", "revision": None, "address": ""},
    ]
