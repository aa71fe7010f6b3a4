"""The node as it is now: what listens, what waits, what failed. Read from the spool and from what processes say of themselves."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import redis
from rq import Queue, Worker

import engine
from engine.jobs.listeners import status_of, wanted_sources
from engine.jobs.queues import STAGES, connect, open_queue
from engine.operations import deliveries
from engine.operations.alerts import alerts
from engine.spool.batch import LOCK
from engine.spool.files import is_locked

if TYPE_CHECKING:
    from engine.operations import Operations

__all__ = ["status"]

FRESH_SECONDS = 10.0


def status(ops: Operations) -> dict[str, Any]:
    live = ops.store.live()
    spool = ops.spool
    counts = {state: len(spool.batches(state)) for state in ("receiving", "ready", "routed", "kept", "held", "unmatched")}
    free = _free_bytes(spool.root)
    watermark = ops.settings.min_free_bytes
    beat = _beat(ops.settings.run_dir / "engine.json")
    destinations = [_destination(ops, d) for d in live.configuration.destinations]
    known = {d["name"] for d in destinations}
    gone = [
        _backlog(ops, name) | {"name": name, "kind": "", "enabled": False, "missing": True}
        for name in {*spool.outbox.destinations(), *spool.outbox.dead_destinations()} - known
    ]
    return {
        "node": ops.settings.instance_id,
        "version": engine.__version__,
        "revision": live.revision,
        "engine": {"running": beat is not None, "workers": (beat or {}).get("workers", [])},
        "listeners": _listeners(ops, engine_runs=beat is not None),
        "certificates": _certificates(ops),
        "pollers": ops.polling.pollers(),
        **_queues(ops),
        "spool": {
            **counts,
            "routing": _being_routed(ops),
            "free_bytes": free,
            "watermark_bytes": watermark,
            "accepting": free >= watermark,
        },
        "destinations": destinations + [g for g in gone if g["waiting"] or g["dead"]],
        "alerts": alerts(ops),
        "gathering": len(spool.gatherings.listing()),
        "held": _images(ops, "held"),
        "unmatched": _images(ops, "unmatched"),
        "dead": sum(d["dead"] for d in destinations) + sum(g["dead"] for g in gone),
        "waiting": sum(d["waiting"] + d["sending"] for d in destinations) + sum(g["waiting"] for g in gone),
    }


def _images(ops: Operations, box: str) -> int:
    """Images in a box; its batches are counted in `spool`."""
    return sum(1 for folder in ops.spool.batches(box) for name in _names(folder) if name.endswith(".dcm"))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  (names are enough; a box may hold very many)
    except FileNotFoundError:
        return []  # released in this moment


def _being_routed(ops: Operations) -> int:
    """Ready batches that a worker holds right now; of a long queue only the first can be."""
    return sum(1 for folder in ops.spool.batches("ready")[:16] if is_locked(folder / LOCK))


def _free_bytes(root: Path) -> int:
    try:
        stat = os.statvfs(root)
    except FileNotFoundError:
        return 0  # no spool here: this API runs without an engine
    return stat.f_bavail * stat.f_frsize


def _beat(file: Path) -> dict[str, Any] | None:
    """A process's last words about itself, if they are fresh."""
    try:
        data: dict[str, Any] = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return data if time.time() - data.get("beat", 0) < FRESH_SECONDS else None


def _listeners(ops: Operations, *, engine_runs: bool) -> list[dict[str, Any]]:
    """Each configured listener of this node, with what its process says; the newest generation speaks."""
    said: dict[str, dict[str, Any]] = {}
    folder = ops.settings.run_dir / "listeners"
    files = sorted(folder.glob("*.json"), key=lambda f: f.stat().st_mtime) if folder.is_dir() else []
    for file in files:
        words = status_of(file)
        if words.get("name"):
            said[str(words["name"])] = dict(words)
    out = []
    configuration = ops.store.live().configuration
    wanted = wanted_sources(configuration, ops.settings.instance_id)
    for source in configuration.sources:
        if not source.runs:
            continue
        words = said.get(source.name, {})
        fresh = time.time() - float(str(words.get("beat", 0))) < FRESH_SECONDS
        state = str(words.get("state", "starting")) if fresh or words.get("state") == "failed" else "starting"
        if source.name not in wanted or not engine_runs:
            state = "stopped"
        out.append(
            {
                "name": source.name,
                "kind": source.kind,
                "enabled": source.enabled,
                "state": state,
                "address": words.get("address", ""),
                "ae_title": getattr(source, "ae_title", ""),
                "port": getattr(source, "port", None),
                "associations": words.get("associations", 0) if state == "listening" else 0,
                "instances": words.get("instances", 0),
                "refused": words.get("refused", 0),
                "since": _iso(words.get("since")),
                "error": words.get("error") or words.get("last_error") or "",
            }
        )
    return out


def _certificates(ops: Operations) -> list[dict[str, Any]]:
    """The certificates in use on this node and their ends, as the engine saw them within the last minutes."""
    try:
        found: list[dict[str, Any]] = orjson.loads((ops.settings.run_dir / "certificates.json").read_bytes())["certificates"]
    except (OSError, ValueError, KeyError):
        return []
    return found


def _iso(seconds: Any) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat() if isinstance(seconds, int | float) else str(seconds or "")


def _queues(ops: Operations) -> dict[str, Any]:
    """Queues and workers as Redis knows them; its absence is said, not raised."""
    connection = connect(ops.settings)
    try:
        queues = [{"name": s} | _queue(open_queue(ops.settings, s, connection)) for s in STAGES]
        prefix = f"axiom.{ops.settings.instance_id}."
        workers = [
            {"name": w.name, "queue": q, "state": str(w.get_state()), "pid": w.pid}
            for w in Worker.all(connection=connection, queue_class=Queue)
            for q in w.queue_names()
            if q.startswith(prefix)
        ]
    except redis.exceptions.RedisError as e:
        return {"queues": [], "workers": [], "redis": f"Redis is away: {e}. Images are still received and kept."}
    finally:
        connection.close()
    return {"queues": queues, "workers": workers, "redis": ""}


def _queue(queue: Queue) -> dict[str, Any]:
    """How many wake-ups wait, and since when the first of them."""
    first = queue.get_jobs(0, 1)
    since = first[0].enqueued_at if first else None
    return {"depth": queue.count, "age_seconds": (datetime.now(UTC) - since).total_seconds() if since else 0.0}


def _destination(ops: Operations, destination: Any) -> dict[str, Any]:
    return {"name": destination.name, "kind": destination.kind, "enabled": destination.enabled, "missing": False} | _backlog(
        ops, destination.name
    )


def _backlog(ops: Operations, name: str) -> dict[str, Any]:
    """What waits for a destination. Of many waiting deliveries only the first is looked into: the page must be quick."""
    entries = ops.spool.outbox.entries(name)
    now = time.time()
    first = next((d for d in (deliveries.describe(ops, i) for _, i in entries[:3]) if d is not None), None)
    sending = sum(1 for d in (deliveries.describe(ops, i) for _, i in entries[:20]) if d and d["state"] == "sending")
    oldest = min((i for _, i in entries), default="")
    dead = ops.spool.outbox.dead(name)
    worst = first if first and first["last_words"] else None
    if worst is None and dead:
        worst = deliveries.describe(ops, dead[-1][1])
    return {
        "waiting": len(entries) - sending,
        "sending": sending,
        "dead": len(dead),
        "oldest_seconds": max(0.0, now - _batch_time(oldest)) if oldest else 0.0,
        "next_attempt_at": _iso(entries[0][0]) if entries else "",
        "last_error": worst["last_words"] if worst else "",
        "last_code": worst["last_code"] if worst else "",
    }


def _batch_time(delivery_id: str) -> float:
    """A batch's name begins with its time."""
    try:
        return datetime.strptime(delivery_id[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return time.time()
