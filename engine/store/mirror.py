"""The audit in the history, so that SQL over what happened also sees who did it. The store's own rows stay the proof."""

from __future__ import annotations

import json
from pathlib import Path

from engine.durable import replace_file
from engine.history.recorder import Recorder
from engine.store.audit import Audit

__all__ = ["mirror_audit"]


def mirror_audit(audit: Audit, recorder: Recorder, marker: Path) -> int:
    """Write the lines that came since the last call to the history's view `audit`; how many.

    `marker` keeps the last line's number. A crash between the two writes lines again, which readers count once.
    Raises Retry when the store cannot be reached, OSError when the disk says no.
    """
    last = int(marker.read_text() or 0) if marker.exists() else 0
    written = 0
    while rows := audit.since(last):
        lines = [
            {
                "id": f"audit/{r.id}", "at": r.at, "who": r.who, "action": r.action, "family": r.family, "name": r.name,
                "detail": json.dumps(dict(r.detail), ensure_ascii=False), "revision": r.revision, "address": r.address,
            }
            for r in rows
        ]  # fmt: skip
        recorder.write("audit", lines, replayed=True, sync=True)
        last = rows[-1].id
        written += len(rows)
        replace_file(marker, str(last).encode())
    return written
