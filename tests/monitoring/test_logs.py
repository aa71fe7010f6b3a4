"""The logs of a whole running Axiom Flow: one form, a thread from association to delivery, and nothing of a patient."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.flow.road import instance
from tests.monitoring.receivers import receiver
from tests.peers import storescu, wait_until
from tests.running import ROOT, Axiom, running_axiom


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Axiom]:
    with running_axiom(tmp_path / "home", AXIOM_LOG_FORMAT="json", AXIOM_ALLOWED_HOSTS="127.0.0.1") as axiom:
        yield axiom


def lines_of(axiom: Axiom, *names: str) -> list[dict[str, Any]]:
    found = []
    for file in sorted((axiom.home / "logs").glob("*.log")):
        if any(file.name.startswith(n) for n in names):
            whole, _, _ = file.read_text().rpartition("\n")  # the last one may be half written
            found += [json.loads(line) for line in whole.splitlines()]
    return found


def planted(uid: str) -> bytes:
    data = instance(uid, patient="P-CANARY")
    assert b"Doe^Jane" in data
    return data


def test_from_association_to_delivery_and_the_watch_beside_it(running: Axiom, tmp_path: Path) -> None:
    with receiver() as hook:
        running.apply(f"""
sources: [{{name: modalities, kind: dimse_listener, ae_title: AXIOM, port: {running.dimse_port}}}]
destinations: [{{name: archive, kind: filesystem, path: {tmp_path / "archive"}}}]
channels: [{{name: hook, kind: webhook, url: "{hook.url}"}}]
alerts:
  - {{name: full, kind: disk_low, free_gb: 1000000000, channels: [hook]}}
  - {{name: tell, kind: event, events: [study_delivered], channels: [hook]}}
rulesets: [{{name: main, priority: 1, rules: [{{name: all, priority: 1, destinations: [archive]}}]}}]
""")
        wait_until(lambda: running.json("status")["listeners"][0]["state"] == "listening", what="the listener")
        file = tmp_path / "one.dcm"
        file.write_bytes(planted("1.2.77"))
        storescu([file], running.dimse_port)
        wait_until(lambda: {m["state"] for m in hook.messages} == {"firing", "event"}, what="both messages")
        assert len(hook.messages) == 2
        told = next(m for m in hook.messages if m["state"] == "event")
        assert told["details"]["destination"] == "archive"
    status = running.json("status")
    assert [f["alert"] for f in status["alerts"]["firing"]] == ["full"]
    assert "ALERT full since " in running.cli("status").stdout

    batch = told["details"]["batch"]

    def of_batch() -> list[dict[str, Any]]:
        mine = [line for line in lines_of(running, "listener", "route", "deliver") if line.get("batch") == batch]
        return sorted(mine, key=lambda line: line["timestamp"])

    wait_until(lambda: any("delivery" in line for line in of_batch()), what="the line of the delivery")
    mine = of_batch()
    everything = lines_of(running, "")  # Streamlit's and Valkey's own lines among them
    assert {"api", "valkey", "workbench"} <= {line["process"] for line in everything}
    assert [("association" in line, "delivery" in line) for line in mine] == [(True, False), (False, False), (False, True)]
    association = mine[0]["association"]
    assert any("1 instances" in x["event"] for x in everything if x.get("association") == association)
    assert all({"event", "level", "logger", "timestamp", "process"} <= line.keys() for line in everything)
    answer = httpx.get(f"{running.app}/_stcore/health", trust_env=False)
    assert answer.is_success
    for path in (running.home / "logs").iterdir():
        text = path.read_text(errors="replace")
        for hidden in ("CANARY", "Doe", "1.2.826.9"):
            assert hidden not in text, f"{path.name} tells {hidden}"


def test_the_workbench_writes_the_same_lines(tmp_path: Path) -> None:
    code = (
        "import logging, streamlit.logger as sl; from workbench.log import setup_logging\n"
        "before = sl.get_logger('streamlit.before'); setup_logging(); after = sl.get_logger('streamlit.after')\n"
        "before.warning('one'); after.warning('two'); logging.getLogger('uvicorn.error').error('three')\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: after.exception('four')\n"
    )
    env = os.environ | {"AXIOM_LOG_FORMAT": "json", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["one", "two", "three", "four"]
    assert {line["process"] for line in lines} == {"workbench"}
    assert "ZeroDivisionError" in lines[3]["exception"]
