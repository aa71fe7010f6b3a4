"""kill -9 of each process in turn while images come in: every image that was answered 0x0000 is delivered, and counted."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import psutil
import pytest
from pydicom import dcmread

from engine.demo.studies import synthetic, write
from engine.process import pid_alive
from tests.e2e.answered import AnsweredSender
from tests.peers import free_port, storescp, wait_until
from tests.running import Axiom

CONFIGURATION = """
sources:
- {{name: modalities, kind: dimse_listener, ae_title: AXIOM, port: {listener}}}
destinations:
- {{name: pacs, kind: dimse, host: 127.0.0.1, port: {pacs}, ae_title: PACS, retry: {{first_seconds: 0.5}}}}
- {{name: folder, kind: filesystem, path: {home}/folder, template: "{{SOPInstanceUID}}.dcm"}}
rulesets:
- name: main
  priority: 10
  rules:
  - name: all
    priority: 10
    morphs: [{{kind: set, tag: InstitutionName, value: Axiom Hospital}}]
    destinations: [pacs, folder]
"""

VICTIMS = {
    "route worker": "engine.jobs.worker route",
    "deliver worker": "engine.jobs.worker deliver",
    "house worker": "engine.jobs.worker house",
    "listener": "engine.jobs.worker listen.",
    "engine": "engine engine",
    "api": "engine api",
    "workbench": "streamlit",
    "valkey": "valkey",
}


def find(axiom: Axiom, words: str) -> list[psutil.Process]:
    """The processes of this home whose command line holds the words, parents before children."""
    out = []
    for pid in axiom.family():
        try:
            process = psutil.Process(pid)
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if words in line:
            out.append(process)
    return sorted(out, key=lambda p: p.pid)


@pytest.mark.parametrize(
    "victims",
    [
        pytest.param(["listener", "deliver worker", "route worker", "valkey", "engine"], id="the-road"),
        pytest.param(list(VICTIMS), id="everything", marks=pytest.mark.slow),
    ],
)
def test_nothing_that_was_answered_for_is_lost(tmp_path: Path, victims: list[str]) -> None:
    files = write(synthetic("CT", 5, 100, rows=64), tmp_path / "in")
    home = tmp_path / "home"
    with storescp(tmp_path / "pacs", port=free_port()) as scp:
        axiom = Axiom(home)
        axiom.up()
        try:
            axiom.apply(CONFIGURATION.format(listener=axiom.dimse_port, pacs=scp.port, home=home))
            sender = AnsweredSender(files, axiom.dimse_port)
            sender.start()
            for n, victim in enumerate(victims, 1):
                goal = n * 400 // (len(victims) + 1)
                wait_until(lambda goal=goal: len(sender.answered) >= goal, 60, f"{goal} images before the {victim} dies")
                kill(axiom, victim)
            wait_until(lambda: len(sender.answered) >= 420, 60, "images before the parent dies")
            family = axiom.family()
            axiom.kill()
            wait_until(lambda: not any(pid_alive(p) for p in family), 15, "all processes to go with the parent")
            axiom.up()  # what `make run` does once more
            sender.join(60)
            assert not sender.is_alive()
            assert len(sender.answered) == 500
            check_all_delivered(axiom, scp.folder, sender.answered)
            family = axiom.family()
        finally:
            axiom.stop()
        assert not [p for p in family if pid_alive(p)], "a process is left over"


def kill(axiom: Axiom, victim: str) -> None:
    """kill -9 a victim (for a worker in the middle of a job: it and, by that, its job), and see that it is replaced."""
    before = wait_until(lambda: find(axiom, VICTIMS[victim]), 20, f"the {victim} to run")
    os.kill(before[0].pid, signal.SIGKILL)
    gone = before[0].pid
    wait_until(lambda: not pid_alive(gone), 10, f"the {victim} to be gone")
    wait_until(
        lambda: any(p.pid not in {b.pid for b in before} for p in find(axiom, VICTIMS[victim])), 40, f"another {victim}"
    )


def check_all_delivered(axiom: Axiom, pacs: Path, answered: set[str]) -> None:
    def done() -> bool:
        status = axiom.json("status")
        return not any(status["spool"][s] for s in ("receiving", "ready", "routed")) and status["waiting"] == 0

    wait_until(done, 60, "everything to be delivered")
    at_pacs = Counter(str(dcmread(p, stop_before_pixels=True).SOPInstanceUID) for p in pacs.iterdir())
    in_folder = {p.stem for p in (axiom.home / "folder").iterdir() if p.suffix == ".dcm"}
    assert answered <= set(at_pacs), f"{len(answered - set(at_pacs))} images that were answered for are lost"
    assert answered <= in_folder

    def history_agrees() -> bool:
        (row,) = axiom.history(
            "select count(distinct sop_instance_uid) as n, count(*) as rows, count(distinct id) as ids from instances"
        )
        (sent,) = axiom.history(
            "select count(distinct sop_instance_uid) as n from deliveries "
            "where outcome = 'confirmed' and destination = 'pacs'"
        )
        return row["n"] == sent["n"] == len(answered) and row["rows"] == row["ids"]

    wait_until(history_agrees, 30, "history to agree with what was received and delivered")
