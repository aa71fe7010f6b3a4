"""Compaction: many small files of a view and day become few, and days that are over their time go.

Files of about the same size are merged, eight at a time, so that a row is rewritten only a few times in its life; a day
that is over is merged whole. The steps, so that each crash point and each reader sees every row once:

1. the merged file is written under a hidden name and fsynced;
2. `merged-<hash>.replaces` names the files it stands for (alone it means nothing);
3. the merged file gets its name: from now on, those that it replaces do not count;
4. a while later, when no listing from before can be at work any more, they are unlinked, and last the list.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from engine.durable import fsync_dir
from engine.history.columns import VIEWS, schema
from engine.history.files import counting, day_folders, is_replayed, one_at_a_time, sealed, write_durably
from engine.history.sealing import pending, seal_all

__all__ = ["GRACE_SECONDS", "compact", "retire"]

_log = logging.getLogger(__name__)

GRACE_SECONDS = 60.0
"""How long replaced files stay, and how old replayed rows must be to be settled."""
FAN_IN = 8
FULL_BYTES = 128 << 20
"""A file of this size is left alone."""
_MERGE_AT_ONCE = 512
_BUFFER_BYTES = 32 << 20


def compact(history_dir: Path, *, budget_s: float = 10.0, grace_s: float = GRACE_SECONDS) -> int:
    """Seal, then merge small files and settle replayed rows, for about `budget_s` seconds. Returns the files replaced.

    0 when another process is at it. Call it every minute or so: what is left is done the next time.
    """
    with one_at_a_time(history_dir) as mine:
        if not mine:
            return 0
        seal_all(history_dir)
        until = time.monotonic() + budget_s
        replaced = 0
        for view in VIEWS:
            for _, folder in day_folders(history_dir, view):
                _drop_replaced(folder, grace_s)
            replaced += _settle(history_dir, view, grace_s)
            unfinished = pending(history_dir, view)
            for day, folder in day_folders(history_dir, view):
                if time.monotonic() > until:
                    return replaced
                for group in _groups(day, folder, unfinished):
                    _merge(view, folder, group, set())
                    replaced += len(group)
        return replaced


def retire(history_dir: Path, days: float | Mapping[str, float], *, today: date | None = None) -> int:
    """Delete days older than `days` (one number, or one for each view by name; views not named stay).

    Returns the days deleted. Lines put aside in `broken/` go with the longest of them.
    """
    keep = dict.fromkeys(VIEWS, float(days)) if isinstance(days, int | float) else dict(days)
    now = datetime.now(UTC) if today is None else datetime(today.year, today.month, today.day, tzinfo=UTC)
    gone = 0
    with one_at_a_time(history_dir) as mine:
        if not mine:
            return 0
        for view, limit in keep.items():
            for day, folder in day_folders(history_dir, view):
                end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
                if now - end >= timedelta(days=limit):
                    _delete_day(folder)
                    gone += 1
            for aside in (history_dir / "broken" / view).glob("*.jsonl"):
                if now.timestamp() - aside.stat().st_mtime >= limit * 86_400:
                    aside.unlink()
    return gone


def _delete_day(folder: Path) -> None:
    names = sorted(folder.iterdir(), key=lambda p: p.suffix == ".replaces")  # the lists last: replaced rows stay hidden
    for file in names:
        file.unlink()
    folder.rmdir()


def _drop_replaced(folder: Path, grace_s: float) -> None:
    """Step 4, and what a crash left before step 3: hidden files, and lists without their merged file."""
    for stray in folder.glob(".*.tmp"):
        stray.unlink()
    for listing in folder.glob("merged-*.replaces"):
        merged = listing.with_suffix(".parquet")
        if not merged.exists():
            listing.unlink()
        elif time.time() - listing.stat().st_mtime >= grace_s:
            for name in orjson.loads(listing.read_bytes()):
                (folder / name).unlink(missing_ok=True)
            fsync_dir(folder)
            listing.unlink()


def _groups(day: date, folder: Path, unfinished: set[str]) -> list[list[Path]]:
    """What to merge now. Files of a segment that is not finished stay (sealing it again would bring them back), and
    so do merged ones whose list is still needed.
    """
    files = [
        f
        for f in counting(folder)
        if not is_replayed(f)
        and not any(f.name.startswith(segment) for segment in unfinished)
        and not f.with_suffix(".replaces").exists()
    ]
    sizes = {f: f.stat().st_size for f in files}
    small = [f for f in files if sizes[f] < FULL_BYTES // 2]
    if datetime.now(UTC) - datetime(day.year, day.month, day.day, tzinfo=UTC) > timedelta(days=1, hours=1):
        return _up_to(FULL_BYTES, small, sizes)
    tiers: dict[int, list[Path]] = {}
    for file in small:
        tiers.setdefault(sizes[file].bit_length() // 3, []).append(file)
    return [group for tier in tiers.values() if len(tier) >= FAN_IN for group in _up_to(FULL_BYTES, tier, sizes)]


def _up_to(limit: int, files: list[Path], sizes: Mapping[Path, int]) -> list[list[Path]]:
    groups: list[list[Path]] = [[]]
    total = 0
    for file in files:
        if groups[-1] and (total + sizes[file] > limit or len(groups[-1]) >= _MERGE_AT_ONCE):
            groups.append([])
            total = 0
        groups[-1].append(file)
        total += sizes[file]
    return [group for group in groups if len(group) > 1]


def _settle(history_dir: Path, view: str, grace_s: float) -> int:
    """Turn replayed files into ordinary ones without the rows that were told before (or that they tell twice).

    Only those older than `grace_s`: by then the row's first telling, if there was one, has been sealed too.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    listed = sealed(history_dir, view)
    unfinished = pending(history_dir, view)
    ready = [f for f in listed.replayed if time.time() - f.stat().st_mtime >= grace_s]
    if not ready or unfinished:
        return 0
    ids = {f: pq.read_table(f, columns=["id"], partitioning=None)["id"] for f in ready}
    told: set[str] = set()
    wanted = pa.chunked_array([chunk for column in ids.values() for chunk in column.chunks], pa.string())
    for file in listed.rows:
        column = pq.read_table(file, columns=["id"], partitioning=None)["id"]
        told.update(column.filter(pc.is_in(column, value_set=wanted)).to_pylist())
    for file in ready:
        told |= _merge(view, file.parent, [file], told)
    return len(ready)


def _merge(view: str, folder: Path, files: list[Path], told: set[str]) -> set[str]:
    """Write the rows of the files as one that replaces them (steps 1 to 3).

    Of replayed files, rows whose id is in `told`, and repeated ones, are left out. Returns the ids kept of those.
    """
    import pyarrow.parquet as pq

    names = [f.name for f in files]
    merged = folder / f"merged-{hashlib.sha256('/'.join(names).encode()).hexdigest()[:20]}.parquet"
    target = schema(view)
    kept: set[str] = set()
    tmp = folder / f".{merged.name}.tmp"
    with tmp.open("wb") as out:
        with pq.ParquetWriter(out, target, compression="zstd") as writer:
            buffer: list[Any] = []
            held = 0
            for file in files:
                for batch in _batches(file, target):
                    if is_replayed(file):
                        batch = _untold(batch, told, kept)
                    buffer.append(batch)
                    held += batch.nbytes
                    if held >= _BUFFER_BYTES:
                        _flush(writer, buffer, target)
                        held = 0
            _flush(writer, buffer, target)
        out.flush()
        os.fsync(out.fileno())
    write_durably(merged.with_suffix(".replaces"), orjson.dumps(names))
    tmp.replace(merged)
    fsync_dir(folder)
    return kept


def _batches(file: Path, target: Any) -> Any:
    """A file's rows under the columns of today: new ones are NULL."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as source:
        for batch in source.iter_batches(batch_size=8192):
            columns = [
                batch.column(f.name).cast(f.type) if f.name in batch.schema.names else pa.nulls(batch.num_rows, f.type)
                for f in target
            ]
            yield pa.table(columns, schema=target)


def _untold(table: Any, told: set[str], kept: set[str]) -> Any:
    import pyarrow as pa

    keep = []
    for one in table["id"].to_pylist():
        new = one not in told and one not in kept
        keep.append(new)
        if new:
            kept.add(one)
    return table.filter(pa.array(keep, pa.bool_()))


def _flush(writer: Any, buffer: list[Any], target: Any) -> None:
    import pyarrow as pa

    if buffer:
        writer.write_table(pa.concat_tables(buffer, promote_options="none"))
        buffer.clear()
