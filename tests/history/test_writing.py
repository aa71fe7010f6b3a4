"""What is written is read: odd text, many threads, forks, full disks, broken lines."""

from __future__ import annotations

import gc
import os
import resource
import threading
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.history import Reader, Recorder, seal
from engine.history.columns import VIEWS

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.none()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(TEXT, TEXT, st.integers(-(2**63), 2**63 - 1), st.booleans()), min_size=1, max_size=20))
def test_whatever_text_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple]) -> None:
    history = tmp_path_factory.mktemp("history")
    written = [
        {"id": f"{i}", "before": a, "after": b, "index": n, "replayed": False, "path": "x" if flag else None}
        for i, (a, b, n, flag) in enumerate(rows)
    ]
    Recorder(history).write("changes", written)
    assert seal(history) == len(written)
    read = Reader(history).rows('SELECT id, "before", "after", index, replayed, path FROM changes')
    assert sorted(read, key=lambda r: int(r["id"])) == written


def test_every_column_keeps_its_type(tmp_path: Path) -> None:
    at = datetime(2026, 3, 1, 0, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    values = {"text": "a'\"\\\0ü", "int": -5, "real": 0.5, "flag": False, "time": at, "texts": ["a", "", "b,c"]}
    for view, columns in VIEWS.items():
        row = {name: values[kind] for name, kind in columns.items()}
        Recorder(tmp_path).write(view, [row])
        assert seal(tmp_path) == 1
        [read] = Reader(tmp_path).rows(f"SELECT * FROM {view}")
        assert read.pop("day") == date(2026, 2, 28)  # the UTC day
        assert read == row


def test_rows_are_in_the_day_and_folder_of_their_utc_time(tmp_path: Path) -> None:
    Recorder(tmp_path).write(
        "audit", [{"id": "1", "at": "2026-01-01T01:00:00+03:00"}, {"id": "2", "at": "2026-01-01T00:00:00Z"}]
    )
    seal(tmp_path)
    assert sorted(p.name for p in (tmp_path / "audit").iterdir()) == ["day=2025-12-31", "day=2026-01-01"]
    assert Reader(tmp_path).rows("SELECT id FROM audit WHERE day = DATE '2025-12-31'") == [{"id": "1"}]


def test_an_empty_history_has_every_view_with_its_columns(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "not there yet")
    for view, columns in VIEWS.items():
        table = reader.query(f"SELECT * FROM {view}")
        assert table.num_rows == 0
        assert table.schema.names == [*columns, "day"]
    types = {f.name: str(f.type) for f in reader.query("SELECT * FROM decisions").schema}
    assert types["at"] == "timestamp[us, tz=UTC]"
    assert types["matched"] == "bool"
    assert types["reasons"].startswith("list<")
    assert {r["name"] for r in reader.rows("SHOW TABLES")} == set(VIEWS)


def test_a_header_is_kept_as_json_and_can_be_asked(tmp_path: Path) -> None:
    Recorder(tmp_path).write("instances", [{"id": "1", "header": {"00100010": {"vr": "PN", "Value": ["Ä^B"]}}}])
    seal(tmp_path)
    [row] = Reader(tmp_path).rows("SELECT header->>'$.00100010.Value[0]' AS name FROM instances")
    assert row == {"name": "Ä^B"}


def test_text_that_is_not_unicode_is_kept_with_a_question_mark(tmp_path: Path) -> None:
    Recorder(tmp_path).write("instances", [{"id": "1", "patient_name": "A\udcffB", "header": {"x": ["\udcff"]}}])
    seal(tmp_path)
    assert Reader(tmp_path).rows("SELECT patient_name, header FROM instances") == [
        {"patient_name": "A?B", "header": '{"x":["?"]}'}
    ]


@pytest.mark.parametrize(
    ("view", "row", "words"),
    [
        ("nothing", {"id": "1"}, "no view called"),
        ("audit", {"id": "1", "whom": "x"}, "no column whom"),
        ("audit", {"who": "x"}, "has no id"),
        ("audit", {"id": "1", "at": datetime(2026, 1, 1)}, "has no zone"),
        ("audit", {"id": "1", "at": "2026-01-01T00:00:00"}, "has no zone"),
    ],
)
def test_a_row_that_cannot_be_right_is_refused_and_nothing_of_its_call_is_written(
    tmp_path: Path, view: str, row: dict, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Recorder(tmp_path).write(view, [{"id": "good"}, row])
    assert seal(tmp_path) == 0


def test_threads_and_a_sealer_at_the_same_time_lose_and_double_nothing(tmp_path: Path) -> None:
    recorder, stop = Recorder(tmp_path), threading.Event()

    def write(who: int) -> None:
        for i in range(150):
            recorder.write("audit", [{"id": f"{who}/{i}/{k}"} for k in range(3)])

    def keep_sealing() -> None:
        while not stop.is_set():
            seal(tmp_path)

    sealer = threading.Thread(target=keep_sealing)
    writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in [sealer, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    sealer.join()
    seal(tmp_path)
    [row] = Reader(tmp_path).rows("SELECT count(*) AS n, count(DISTINCT id) AS ids FROM audit")
    assert row == {"n": 4 * 150 * 3, "ids": 4 * 150 * 3}


def test_a_forked_child_writes_a_segment_of_its_own(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.write("audit", [{"id": "parent"}])
    child = os.fork()
    if child == 0:
        recorder.write("audit", [{"id": "child"}])
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    recorder.write("audit", [{"id": "parent again"}])
    assert len(list((tmp_path / "segments" / "audit").iterdir())) == 2
    assert seal(tmp_path) == 3


def test_a_forked_child_reads_with_a_database_of_its_own(tmp_path: Path) -> None:
    Recorder(tmp_path).write("audit", [{"id": "1"}])
    seal(tmp_path)
    reader = Reader(tmp_path)
    assert reader.rows("SELECT id FROM audit") == [{"id": "1"}]
    child = os.fork()
    if child == 0:
        os._exit(0 if reader.rows("SELECT id FROM audit") == [{"id": "1"}] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert reader.rows("SELECT id FROM audit") == [{"id": "1"}]


def test_a_write_that_the_disk_takes_only_in_part_leaves_nothing_of_itself(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.write("audit", [{"id": "before"}])
    [segment] = (tmp_path / "segments" / "audit").iterdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (segment.stat().st_size + 1000, hard))  # the kernel's short write, EFBIG
    try:
        with pytest.raises(OSError, match="File too large"):
            recorder.write("audit", [{"id": f"{i}", "detail": "x" * 100} for i in range(100)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    recorder.write("audit", [{"id": "after"}])
    seal(tmp_path)
    assert Reader(tmp_path).rows("SELECT id FROM audit ORDER BY id") == [{"id": "after"}, {"id": "before"}]
    assert not (tmp_path / "broken").exists()


def test_a_broken_line_is_put_aside_and_the_rest_is_sealed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "segments" / "audit"
    folder.mkdir(parents=True)
    good = b'{"id":"1","at":"2026-01-01T00:00:00Z"}'
    bad = [
        b"{not json",
        b"[1]",
        b'{"at":"2026-01-01T00:00:00Z"}',
        b'{"id":"2","at":"../../../../tmp/x"}',
        b'{"id":"3","at":"2026-01-01T00:00:00Z","revision":"many"}',
        b'{"id":4,"at":"2026-01-01T00:00:00Z"}',
    ]
    (folder / "1-a.jsonl").write_bytes(b"\n".join([bad[0], good, *bad[1:]]) + b'\n{"id":"torn","at":"2026')
    assert seal(tmp_path) == 1
    [aside] = (tmp_path / "broken" / "audit").iterdir()
    kept = aside.read_bytes().splitlines()
    assert sorted(kept) == sorted(bad)
    assert "6 lines of audit could not be read" in caplog.text
    assert Reader(tmp_path).rows("SELECT id FROM audit") == [{"id": "1"}]
    assert not list(folder.iterdir())


def test_a_segment_larger_than_a_part_is_sealed_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.history.sealing.PART_BYTES", 10_000)
    Recorder(tmp_path).write("audit", [{"id": f"{i}", "at": datetime(2026, 1, 1, tzinfo=UTC)} for i in range(1000)])
    assert seal(tmp_path) == 1000
    assert len(list((tmp_path / "audit" / "day=2026-01-01").iterdir())) > 3
    [row] = Reader(tmp_path).rows("SELECT count(*) AS n, count(DISTINCT id) AS ids FROM audit")
    assert row == {"n": 1000, "ids": 1000}


def test_one_hundred_thousand_rows_go_through(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for batch in range(400):
        recorder.write("decisions", [{"id": f"{batch}/{i}", "matched": i % 2 == 0} for i in range(250)])
    assert seal(tmp_path) == 100_000
    rows = Reader(tmp_path).rows("SELECT matched, count(*) AS n FROM decisions GROUP BY matched ORDER BY matched")
    assert rows == [{"matched": False, "n": 50_000}, {"matched": True, "n": 50_000}]


def test_one_that_nobody_has_any_more_holds_nothing_open(tmp_path: Path) -> None:
    gc.collect()  # what others left, so that it does not go in between
    before = len(list(Path("/proc/self/fd").iterdir()))
    recorder = Recorder(tmp_path)
    recorder.write("instances", [{"id": "a/1"}])
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    del recorder
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
