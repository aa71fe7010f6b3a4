"""What becomes of an image for each thing that a DICOMweb server may do: seen here, and written in
docs/reference/outcomes-stow-rs.md. `WRITE_OUTCOMES=1 pytest tests/destinations/test_outcomes.py` writes the page anew.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.destinations.stow_rs import StowRs
from engine.errors import Permanent, Retry
from engine.model import Outcome, Receipt
from tests.destinations.support import instance
from tests.doubles.server import Answer, Asked, serve
from tests.peers import free_port
from tests.running import ROOT

PAGE = ROOT / "docs" / "reference" / "outcomes-stow-rs.md"
HEAD = """# What becomes of an image: STOW-RS

Made by `tests/destinations/test_outcomes.py`, which sends an image to a server that does each of this and writes down what
comes of it. "Tried again" is with growing pauses (`retry`), "dead letter" waits for a person, with these words.

| the server | the image | in words |
|---|---|---|
"""
JSON = {"Content-Type": "application/dicom+json"}
WORDS = {Outcome.CONFIRMED: "confirmed", Outcome.RETRY: "tried again", Outcome.REFUSED: "dead letter"}
REASONS = (
    0xA700, 0x0110, 0x0111, 0x0122, 0x0124, 0x0213, 0xA900, 0xB00E, 0xC000, 0xC122, 0,
)  # fmt: skip


def said(**named: Any) -> bytes:
    """A store response: stored (a warning or 0), or failed (a reason)."""
    item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": ["1.2.3.0"]}}
    for tag, value in (("00081196", named.get("warning")), ("00081197", named.get("reason"))):
        item |= {tag: {"vr": "US", "Value": [value]}} if value else {}
    return json.dumps({"00081198" if "reason" in named else "00081199": {"vr": "SQ", "Value": [item]}}).encode()


def cases() -> dict[str, Answer]:
    out = {"200, the image is among the stored": Answer(200, said(), JSON)}
    out["200, stored with a warning (B000)"] = Answer(200, said(warning=0xB000), JSON)
    for reason in REASONS:
        name = f"0x{reason:04X}" if reason else "no reason"
        out[f"202 or 409, the image failed: {name}"] = Answer(409, said(reason=reason), JSON)
    out["200 without a body"] = Answer(200)
    out["200 and a page of HTML"] = Answer(200, b"<html><body>Welcome</body></html>", {"Content-Type": "text/html"})
    out["200 and half of its JSON"] = Answer(200, said()[:40], JSON)
    out["200, and another image is named"] = Answer(200, said().replace(b"1.2.3.0", b"1.2.3.7"), JSON)
    for status in (400, 401, 403, 404, 408, 409, 413, 415, 425, 500, 502, 503, 507):
        out[str(status)] = Answer(status, b"Words of its own.", {"Content-Type": "text/plain"})
    for status in (429, 503):
        out[f"{status} with `Retry-After: 30`"] = Answer(status, headers={"Retry-After": "30"})
    out["307 to another host"] = Answer(307, headers={"Location": "http://elsewhere.example.org/studies"})
    out["302 to its own login"] = Answer(302, headers={"Location": "/login"})
    out["breaks off in the middle of its answer"] = Answer(200, said() * 3, JSON, cut=30)
    out["takes the request and stays silent"] = Answer(silent=True)
    return out


def fate(url: str, folder: Path) -> tuple[str, str]:
    receipts: list[Receipt] = []
    to = StowRs.model_validate({"name": "pacs", "url": url, "http": {"silence_seconds": 1.0}})
    try:
        to.deliver([instance(folder, 0)], receipts.append, threading.Event())
    except Retry as error:
        return "tried again" + (f", not before {error.after:g} s" if error.after is not None else ""), str(error)
    except Permanent as error:
        return "dead letter", str(error)
    [receipt] = receipts
    return WORDS[receipt.outcome], receipt.words


def test_the_page_says_what_happens(tmp_path: Path) -> None:
    rows: dict[str, tuple[str, str]] = {}
    for name, answer in cases().items():
        once: Callable[[Asked], Answer] = lambda _, answer=answer: answer  # noqa: E731
        with serve(once) as url:
            rows[name] = fate(url, tmp_path)
    rows["is not there (closed port)"] = fate(f"http://127.0.0.1:{free_port()}", tmp_path)
    rows["has no such name"] = fate("http://nowhere.invalid", tmp_path)
    clean = {k: (v, re.sub(r"127\.0\.0\.1:\d+", "pacs:8042", w).replace("|", "\\|")) for k, (v, w) in rows.items()}
    clean["has no such name"] = (clean["has no such name"][0], "nowhere.invalid cannot be reached: ...")  # the system's own words
    text = HEAD + "".join(f"| {k} | {v} | {w} |\n" for k, (v, w) in clean.items())
    if os.environ.get("WRITE_OUTCOMES"):
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text
