"""What history costs: rows a second written, sealed and compacted, and how long a question over a million takes.

    python -m benchmarks.history [--rows 1000000] [--naive 5000]

Written in batches of 250 rows, as routing does, sealed after every 50,000 (some seconds of full load), then compacted.
The comparison is `executemany` into a DuckDB file, one batch a commit, which also locks every reader out meanwhile.
Ratios within one run; questions are medians of several.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from engine.history import Reader, Recorder, compact, seal
from engine.history.questions import flow_counts, instance_story, instances

BATCH = 250
SEAL_EVERY = 50_000
START = datetime(2026, 1, 1, tzinfo=UTC)
QUESTIONS = {
    "count": "SELECT count(*) FROM instances",
    "group by two columns": "SELECT modality, source, count(*), sum(bytes) FROM instances GROUP BY ALL",
    "one day": "SELECT count(*) FROM instances WHERE day = DATE '2026-01-03' AND modality = 'CT'",
    "by patient": "SELECT * FROM instances WHERE patient_id = 'P000777'",
}


def row(i: int) -> dict[str, Any]:
    return {
        "id": f"b{i // BATCH}/{i % BATCH}",
        "at": START + timedelta(seconds=i),
        "node": "node-1",
        "batch": f"b{i // BATCH}",
        "index": i % BATCH,
        "sop_instance_uid": f"1.2.826.0.1.3680043.8.498.{i}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "study_instance_uid": f"1.2.826.0.1.3680043.8.498.{i // 200}",
        "patient_id": f"P{i // 200:06}",
        "patient_name": f"DOE^JANE {i // 200}",
        "modality": ("CT", "MR", "CR")[i // 200 % 3],
        "study_date": "20260101",
        "source": ("ward", "theatre")[i // 200 % 2],
        "calling_ae": "CT01",
        "received_at": START + timedelta(seconds=i),
        "bytes": 530_000,
        "outcome": "routed",
    }


def batches(rows: int) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, rows, BATCH):
        yield [row(i) for i in range(start, min(start + BATCH, rows))]


def ours(history: Path, rows: int) -> dict[str, float]:
    """Rows a second of each step."""
    recorder = Recorder(history)
    writing = sealing = 0.0
    sealed = 0
    for number, batch in enumerate(batches(rows), 1):
        began = time.perf_counter()
        recorder.write("instances", batch)
        writing += time.perf_counter() - began
        if number * BATCH % SEAL_EVERY == 0:
            began = time.perf_counter()
            sealed += seal(history)
            sealing += time.perf_counter() - began
    began = time.perf_counter()
    sealed += seal(history)
    sealing += time.perf_counter() - began
    began = time.perf_counter()
    compact(history, grace_s=0, budget_s=600)
    compacting = time.perf_counter() - began
    compact(history, grace_s=0, budget_s=600)
    assert sealed == rows
    return {"written": rows / writing, "sealed": rows / sealing, "compacted": rows / compacting}


def naive(file: Path, rows: int) -> float:
    """Rows a second by `executemany`, one batch a commit."""
    columns = list(row(0))
    with duckdb.connect(str(file)) as connection:
        names = ", ".join(f'"{c}"' for c in columns)
        connection.execute(
            "CREATE TABLE instances (" + ", ".join(f'"{c}" {_type(c)}' for c in columns) + ")"
        ).fetchall()
        insert = f"INSERT INTO instances ({names}) VALUES ({', '.join('?' * len(columns))})"
        spent = 0.0
        for batch in batches(rows):
            values = [list(r.values()) for r in batch]
            began = time.perf_counter()
            connection.executemany(insert, values)
            spent += time.perf_counter() - began
    return rows / spent


def _type(column: str) -> str:
    return {"at": "TIMESTAMPTZ", "received_at": "TIMESTAMPTZ", "index": "BIGINT", "bytes": "BIGINT"}.get(
        column, "VARCHAR"
    )


def asked(action: Any) -> float:
    """Milliseconds, the median of five after one to warm the page cache."""
    action()
    times = []
    for _ in range(5):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--naive", type=int, default=5_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        history = Path(folder) / "history"
        speeds = ours(history, options.rows)
        slow = naive(Path(folder) / "naive.duckdb", options.naive)
        for step, speed in speeds.items():
            print(f"{step:32}{speed:12,.0f} rows/s")
        both = 1 / (1 / speeds["written"] + 1 / speeds["sealed"])
        print(f"{'written and sealed':32}{both:12,.0f} rows/s")
        print(f"{'executemany into DuckDB':32}{slow:12,.0f} rows/s   {both / slow:.0f} times slower")
        files = list(history.rglob("*.parquet"))
        print(f"{options.rows:,} rows in {len(files)} files, {sum(f.stat().st_size for f in files) / 1e6:.1f} MB")
        reader = Reader(history)
        for name, sql in QUESTIONS.items():
            print(f"{name:32}{asked(lambda sql=sql: reader.query(sql)):12,.0f} ms")
        since = START + timedelta(seconds=options.rows - 3600)
        print(f"{'the flow of the last hour':32}{asked(lambda: flow_counts(reader, since)):12,.0f} ms")
        print(f"{'search by two words':32}{asked(lambda: instances(reader, 'doe 777')):12,.0f} ms")
        uid = "1.2.826.0.1.3680043.8.498.5"
        print(f"{'the story of one instance':32}{asked(lambda: instance_story(reader, uid)):12,.0f} ms")


if __name__ == "__main__":
    main()
