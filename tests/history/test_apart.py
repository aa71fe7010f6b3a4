"""The bounds of a person's SQL hold whatever it asks: it is answered in a process apart, which is ended when it must be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.errors import Invalid, Retry
from engine.history import Recorder, apart, is_truncated, seal
from engine.history.apart import Apart
from tests.peers import wait_until

TEXT = "array_to_string(range(30000), ',')"
ENDLESS = "SELECT count(*) FROM range(1000000000000)"


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    """One for all: whatever was asked before, the next is answered."""
    folder = tmp_path_factory.mktemp("history")
    Recorder(folder, "node-1").write("instances", [{"id": "a", "sop_instance_uid": "1.2", "patient_id": "4711"}])
    seal(folder)
    one = Apart(folder)
    yield one
    one.close()


def test_it_answers_as_the_reader_does(asked: Apart) -> None:
    rows = asked.query("SELECT patient_id FROM instances", limit=10, timeout_s=60, mask=False).to_pylist()
    assert rows == [{"patient_id": "4711"}]
    [process] = asked._waiting
    rows = asked.query("SELECT patient_id FROM instances", limit=10, timeout_s=60, mask=True).to_pylist()
    assert rows == [{"patient_id": "***"}]
    assert asked._waiting == [process]  # the same answers again
    assert is_truncated(asked.query("SELECT * FROM range(100)", limit=7, timeout_s=60, mask=True))
    with pytest.raises(Invalid, match="There is no view") as refused:
        asked.query("SELECT * FROM '/etc/passwd'", limit=10, timeout_s=60, mask=True)
    assert refused.value.problems[0].loc == ("sql",)


def test_what_grows_without_end_is_stopped_and_the_next_is_answered(asked: Apart) -> None:
    for sql in (
        f"SELECT length(regexp_replace({TEXT}, '.', {TEXT}, 'g'))",  # one text, in one step
        "SELECT s FROM (SELECT array_to_string(range(200000), ',') AS s), range(2000)",  # the answer
        "SELECT list(range) FROM range(1000000000000)",  # the database's own memory
    ):
        with pytest.raises(Invalid, match=r"more memory|longer than|larger than"):
            asked.query(sql, limit=1_000_000, timeout_s=2, mask=True)
    assert asked.query("SELECT 1 AS one", limit=10, timeout_s=60, mask=True).to_pylist() == [{"one": 1}]


def test_a_step_that_cannot_be_interrupted_ends_with_its_process(asked: Apart) -> None:
    asked.close()
    with pytest.raises(Invalid, match="longer than 1 seconds"):
        asked.query("SELECT list_sort(list_transform(range(20000000), lambda x: -x))", limit=1, timeout_s=1, mask=True)
    assert asked._waiting == []


def test_too_many_at_once_are_told_to_come_back(asked: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "PATIENCE_SECONDS", 0.1)
    with ThreadPoolExecutor(apart.AT_ONCE) as pool:
        endless = [pool.submit(asked.query, ENDLESS, limit=1, timeout_s=4, mask=True) for _ in range(apart.AT_ONCE)]
        wait_until(lambda: asked._turns._value == 0, 60, "all turns to be taken")
        with pytest.raises(Retry, match="ask again"):
            asked.query("SELECT 1", limit=1, timeout_s=60, mask=True)
        for one in endless:
            with pytest.raises(Invalid, match="longer than 4 seconds"):
                one.result()
    assert asked._turns._value == apart.AT_ONCE


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_secret_is_in_its_environment(asked: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    asked.close()
    monkeypatch.setenv("AXIOM_SECRET_KEY", "canary-of-the-key")
    asked.query("SELECT 1", limit=1, timeout_s=60, mask=True)
    [process] = asked._waiting
    assert b"canary" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    asked.close()
    assert process.poll() is not None
