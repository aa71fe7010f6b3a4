"""Sealing: JSON line segments become Parquet, so that every crash point counts each row once.

A segment is renamed (nobody writes to it any more), read, written as Parquet under names made from its own, and
unlinked last. A crash in between leaves the renamed segment: the next pass writes the same files over themselves.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from engine.durable import fsync_dir
from engine.history.columns import VIEWS, schema
from engine.history.files import one_at_a_time, write_durably

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["pending", "seal", "seal_all"]

_log = logging.getLogger(__name__)

PART_BYTES = 32 << 20
"""A segment that grew while nobody sealed is read in parts of this size, cut at the same lines each time."""


def seal(history_dir: Path) -> int:
    """Seal every segment, of live and of dead writers; returns the rows sealed. 0 when another process is sealing.

    A line that cannot be read is put aside in `broken/` and logged; a segment that cannot be sealed now (a full disk)
    stays, is logged, and does not stop the rest.
    """
    with one_at_a_time(history_dir) as mine:
        return seal_all(history_dir) if mine else 0


def pending(history_dir: Path, view: str) -> set[str]:
    """The names of segments taken by the sealer and not yet finished: their Parquet files may be written again."""
    return {p.stem for p in (history_dir / "segments" / view).glob("*.sealing")}


def seal_all(history_dir: Path) -> int:
    """`seal` for a caller that holds the lock."""
    rows = 0
    for view in VIEWS:
        folder = history_dir / "segments" / view
        if not folder.is_dir():
            continue
        for live in folder.glob("*.jsonl"):
            live.rename(_taken_name(live))
        touched: set[Path] = set()
        done: list[Path] = []
        for segment in sorted(folder.glob("*.sealing")):
            try:
                rows += _seal_segment(history_dir, view, segment, touched)
                done.append(segment)
            except BlockingIOError:  # its writer is still in its last append under the old name: the next pass has it
                continue
            except OSError as error:
                _log.error("history: %s of %s cannot be sealed now and is kept: %s", segment.name, view, error)
        for day in touched:
            fsync_dir(day)
        for segment in done:
            segment.unlink()
    return rows


def _taken_name(live: Path) -> Path:
    while True:
        taken = live.with_name(f"{live.stem}-{time.time_ns()}.sealing")
        if not taken.exists():
            return taken


def _seal_segment(history_dir: Path, view: str, segment: Path, touched: set[Path]) -> int:
    total = 0
    broken: list[bytes] = []
    fd = os.open(segment, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for part, lines in enumerate(_parts(file)):
            rows, bad = _parse(lines)
            tables, bad_rows = _tables(view, rows)
            broken += bad + bad_rows
            for (day, replayed), table in tables.items():
                folder = history_dir / view / f"day={day}"
                name = f"{segment.stem}-{part:04}{'.replayed' if replayed else ''}.parquet"
                _write_parquet(folder, name, table)
                touched.add(folder)
                total += table.num_rows
    if broken:
        aside = history_dir / "broken" / view / f"{segment.stem}.jsonl"
        aside.parent.mkdir(parents=True, exist_ok=True)
        write_durably(aside, b"\n".join(broken) + b"\n")
        _log.error("history: %d lines of %s could not be read and are kept in %s", len(broken), view, aside)
    return total


def _parts(file: Any) -> Iterator[list[bytes]]:
    """The whole lines of a segment, in parts; a torn last line (no line end: the writer died in it) is no line."""
    while lines := file.readlines(PART_BYTES):
        if not lines[-1].endswith(b"\n"):
            del lines[-1]
        if lines:
            yield lines


def _parse(lines: list[bytes]) -> tuple[list[dict[str, Any]], list[bytes]]:
    rows, bad = [], []
    for line in lines:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            bad.append(line.rstrip(b"\n"))
            continue
        if isinstance(row, dict) and row.get("id") and row.get("at"):
            rows.append(row)
        else:
            bad.append(line.rstrip(b"\n"))
    return rows, bad


def _tables(view: str, rows: list[dict[str, Any]]) -> tuple[dict[tuple[str, bool], pa.Table], list[bytes]]:
    """The rows by UTC day and whether they are replayed; and those whose values do not fit their columns, as lines."""
    groups: dict[tuple[str, bool], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[str(row["at"])[:10], bool(row.get("replayed"))].append(row)
    tables: dict[tuple[str, bool], pa.Table] = {}
    bad: list[bytes] = []
    for key, group in groups.items():
        table, misfits = _table(view, group)
        bad += [orjson.dumps(row) for row in misfits]
        if table.num_rows:
            tables[key] = table
    return tables, bad


def _table(view: str, rows: list[dict[str, Any]]) -> tuple[pa.Table, list[dict[str, Any]]]:
    import pyarrow as pa

    try:
        return _convert(view, rows), []
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError, OverflowError):
        if len(rows) == 1:
            return schema(view).empty_table(), rows
    half = len(rows) // 2
    (first, bad), (second, more) = _table(view, rows[:half]), _table(view, rows[half:])
    return pa.concat_tables([first, second]), bad + more


def _convert(view: str, rows: list[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    target = schema(view)
    columns = []
    for field in target:
        values = [row.get(field.name) for row in rows]
        if pa.types.is_timestamp(field.type):
            columns.append(pa.array(values, pa.string()).cast(field.type))
        else:
            columns.append(pa.array(values, field.type))
    return pa.table(columns, schema=target)


def _write_parquet(folder: Path, name: str, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    tmp = folder / f".{name}.tmp"
    with tmp.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    tmp.replace(folder / name)
