"""A child's lines written anew on their way to its log."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

from engine.log import json_line
from engine.process import Child
from tests.peers import wait_until

SAYS = r"""
import sys
print("77:M 24 Nov 2026 15:19:35.690 * Ready to accept connections", flush=True)
print("77:M 24 Nov 2026 15:19:35.690 # WARNING \xe9 too little memory", flush=True)
print("", flush=True)
sys.stdout.buffer.write(b"no line end \xff")
"""


def test_each_line_is_in_the_log_in_the_form_of_ours_also_the_last_one(tmp_path: Path) -> None:
    log = tmp_path / "valkey.log"
    child = Child("valkey", [sys.executable, "-c", SAYS], log=log, line=partial(json_line, "valkey"), restart=False)
    child.start()
    wait_until(lambda: not child.poll() and child.state == "stopped", 60, "its end")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["level"], line["event"]) for line in lines] == [
        ("info", "Ready to accept connections"), ("warning", "WARNING \xe9 too little memory"), ("info", "no line end \ufffd"),
    ]  # fmt: skip
    assert {(line["process"], line["logger"]) for line in lines} == {("valkey", "valkey")}
    assert "no line end" in child.ended
