"""kill -9 at any moment: nothing whole is lost, nothing is counted twice, by any reader at any time."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from engine.errors import Retry
from engine.history import Reader, Recorder, compact, retire, seal
from engine.history.files import one_at_a_time

COUNT = "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM audit"
DAY = datetime(2026, 1, 5, 12, tzinfo=UTC)


def crash(folder: Path, what: str, at: int) -> bool:
    """Do it and die at the n-th change of the disk; false when it was done before that."""
    run = subprocess.run([sys.executable, "-m", "tests.history.crash", str(folder), what, str(at)], check=False)
    assert run.returncode in (0, -signal.SIGKILL)
    return run.returncode != 0


def counts(folder: Path) -> tuple[int, int]:
    [row] = Reader(folder).rows(COUNT)
    return row["n"], row["ids"]


def small_files(folder: Path, files: int, rows: int = 10, prefix: str = "r") -> None:
    for f in range(files):
        Recorder(folder).write("audit", [{"id": f"{prefix}/{f}/{i}", "at": DAY} for i in range(rows)])
        seal(folder)


def test_a_writer_killed_in_the_middle_loses_no_row_it_had_written(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.history.crash", str(tmp_path), "write", "1000000"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    said = -1
    for line in writer.stdout:
        said = int(line)
        if said % 50 == 0:
            seal(tmp_path)
        if said >= 400:
            break
    writer.kill()
    for line in writer.stdout:  # what it still said before it died
        said = int(line)
    writer.wait()
    writer.stdout.close()
    seal(tmp_path)
    [row] = Reader(tmp_path).rows("SELECT count(*) AS n, count(DISTINCT id) AS ids FROM instances")
    assert row["n"] == row["ids"]
    assert (said + 1) * 5 <= row["n"] <= (said + 2) * 5 + 5
    assert not list((tmp_path / "segments" / "instances").iterdir())


def test_sealing_killed_at_each_of_its_steps_counts_each_row_once(tmp_path: Path) -> None:
    for step in range(1, 40):
        folder = tmp_path / str(step)
        days = [DAY.replace(day=1), DAY.replace(day=2)]
        Recorder(folder).write("audit", [{"id": f"{i}", "at": days[i % 2]} for i in range(20)])
        Recorder(folder).write("audit", [{"id": f"{i}"} for i in range(20, 30)])
        died = crash(folder, "seal", step)
        n, ids = counts(folder)
        assert n == ids
        seal(folder)
        assert counts(folder) == (30, 30)
        assert not list((folder / "segments" / "audit").iterdir())
        if not died:
            break
    assert 8 < step < 39


def test_compaction_killed_at_each_of_its_steps_counts_each_row_once(tmp_path: Path) -> None:
    for step in range(1, 60):
        folder = tmp_path / str(step)
        small_files(folder, 3)
        Recorder(folder).write("audit", [{"id": "r/0/0", "at": DAY}, {"id": "new", "at": DAY}], replayed=True)
        seal(folder)
        compact(folder, grace_s=0, budget_s=-1)  # settles the replayed file only
        died = crash(folder, "compact", step)
        assert counts(folder) == (31, 31)
        for _ in range(3):
            compact(folder, grace_s=0)
            assert counts(folder) == (31, 31)
        [one] = (folder / "audit" / "day=2026-01-05").iterdir()
        assert one.name.startswith("merged-")
        if not died:
            break
    assert 8 < step < 59


def test_a_segment_sealed_again_after_its_file_was_merged_does_not_come_back(tmp_path: Path) -> None:
    """The crash between the Parquet's rename and the segment's unlink, with the compactor next at work."""
    small_files(tmp_path, 2)
    Recorder(tmp_path).write("audit", [{"id": f"last/{i}", "at": DAY} for i in range(10)])
    folder = tmp_path / "segments" / "audit"
    [live] = folder.iterdir()
    live.rename(folder / f"{live.stem}-1.sealing")
    [segment] = folder.iterdir()
    content = segment.read_bytes()
    seal(tmp_path)
    segment.write_bytes(content)
    assert counts(tmp_path) == (30, 30)
    compact(tmp_path, grace_s=0)
    assert counts(tmp_path) == (30, 30)
    compact(tmp_path, grace_s=0)
    assert counts(tmp_path) == (30, 30)


def test_readers_see_every_row_once_while_others_seal_and_compact(tmp_path: Path) -> None:
    small_files(tmp_path, 8)
    stop, failures, done = threading.Event(), [], []

    def read() -> None:
        reader, last = Reader(tmp_path, threads=1), 0
        while not stop.is_set():
            try:
                [row] = reader.rows(COUNT)
            except Retry:
                continue
            if row["n"] != row["ids"] or row["n"] < last:
                failures.append((row, last))
            last = row["n"]
            done.append(last)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    for round_ in range(12):
        small_files(tmp_path, 9, prefix=f"round{round_}")
        compact(tmp_path, grace_s=1.0)
    stop.set()
    for thread in readers:
        thread.join()
    assert failures == []
    assert len(done) > 10
    assert counts(tmp_path) == (8 * 10 + 12 * 9 * 10,) * 2


def test_replayed_rows_count_only_where_no_other_row_tells_the_same(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.write("audit", [{"id": "a", "at": DAY, "who": "first"}, {"id": "b", "at": DAY}])
    recorder.write("audit", [{"id": "a", "who": "again"}, {"id": "c"}, {"id": "c"}], replayed=True)
    recorder.write("audit", [{"id": "c"}], replayed=True)
    seal(tmp_path)
    expected = [{"id": "a", "who": "first"}, {"id": "b", "who": None}, {"id": "c", "who": None}]
    reader = Reader(tmp_path)
    ask = "SELECT id, who FROM audit ORDER BY id"
    assert reader.rows(ask) == expected
    for _ in range(3):
        compact(tmp_path, grace_s=0)
        assert reader.rows(ask) == expected
    assert not list(tmp_path.rglob("*.replayed.parquet"))
    Recorder(tmp_path).write("audit", [{"id": "c"}], replayed=True)
    seal(tmp_path)
    assert reader.rows(ask) == expected


def test_replayed_rows_are_not_settled_before_the_first_telling_can_be_sealed(tmp_path: Path) -> None:
    Recorder(tmp_path).write("audit", [{"id": "a"}], replayed=True)
    compact(tmp_path, grace_s=3600)
    assert len(list(tmp_path.rglob("*.replayed.parquet"))) == 1


def test_a_file_of_before_a_new_column_still_answers(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    small_files(tmp_path, 2)
    [old, _] = sorted((tmp_path / "audit" / "day=2026-01-05").iterdir())
    pq.write_table(pq.read_table(old, partitioning=None).drop_columns(["address", "detail"]), old)
    ask = "SELECT count(*) AS n, count(address) AS addresses FROM audit"
    assert Reader(tmp_path).rows(ask) == [{"n": 20, "addresses": 0}]
    compact(tmp_path, grace_s=0)
    assert Reader(tmp_path).rows(ask) == [{"n": 20, "addresses": 0}]


def test_a_damaged_file_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small_files(tmp_path, 3)
    first, second, _ = sorted((tmp_path / "audit" / "day=2026-01-05").iterdir())
    first.write_bytes(b"")
    second.write_bytes(second.read_bytes()[:-20] + bytes(20))
    assert counts(tmp_path) == (10, 10)
    assert caplog.text.count("is damaged and is left out") == 2


def test_only_one_seals_at_a_time(tmp_path: Path) -> None:
    Recorder(tmp_path).write("audit", [{"id": "1"}])
    with one_at_a_time(tmp_path) as mine:
        assert mine
        assert seal(tmp_path) == 0
        assert compact(tmp_path) == 0
    assert seal(tmp_path) == 1


def test_days_that_are_over_their_time_go_by_view(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for view in ("audit", "changes"):
        recorder.write(view, [{"id": str(d), "at": DAY.replace(day=d)} for d in (1, 2, 3)])
    seal(tmp_path)
    assert retire(tmp_path, days={"audit": 1.0}, today=date(2026, 1, 4)) == 2
    reader = Reader(tmp_path)
    assert reader.rows("SELECT id FROM audit") == [{"id": "3"}]
    assert len(reader.rows("SELECT id FROM changes")) == 3
    assert retire(tmp_path, days=365, today=date(2026, 1, 4)) == 0
    assert retire(tmp_path, days=0, today=date(2026, 1, 4)) == 4
    assert reader.rows("SELECT id FROM changes") == []
