"""The journal and its sums: nothing lost over restarts, torn lines, hours that change; nothing of a patient in it."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.model import Outcome, Receipt
from engine.spool.journal import Journal
from engine.spool.totals import Totals
from tests.flow.road import Road, Sink, instance, receive

CONFIGURATION: dict[str, Any] = {
    "destinations": [{"name": "pacs", "kind": "test_sink"}],
    "rulesets": [{"name": "main", "priority": 1, "rules": [
        {"name": "ct", "priority": 1, "when": {"tag": "Modality", "op": "eq", "value": "CT"}, "destinations": ["pacs"]},
        {"name": "mr", "priority": 2, "when": {"tag": "Modality", "op": "eq", "value": "MR"},
         "morphs": [{"kind": "suffix", "tag": "PatientID", "value": "x" * 64}], "destinations": ["pacs"]}]}],
}  # fmt: skip


@pytest.fixture
def road(home: Path, monkeypatch: pytest.MonkeyPatch) -> Road:
    monkeypatch.setattr(Sink, "given", [])
    monkeypatch.setattr(Sink, "answer", None)
    return Road(home, CONFIGURATION)


def totals_of(road: Road) -> Totals:
    totals = Totals()
    totals.follow(road.spool.journal)
    return totals


def test_what_flows_is_counted_by_source_and_destination(road: Road) -> None:
    receive(road.spool, [(f"1.2.{n}", instance(f"1.2.{n}")) for n in range(3)])
    receive(road.spool, [("1.3.1", instance("1.3.1", "MR")), ("1.3.2", instance("1.3.2", "US"))])
    road.route()
    road.deliver()
    totals = totals_of(road)
    assert (totals.received, totals.held, totals.unmatched) == ({"modalities": 5}, {"modalities": 1}, {"modalities": 1})
    assert (totals.delivered, totals.attempts) == ({"pacs": 3}, {"pacs/done": 1})
    assert sum(totals.latency["pacs"].counts) == 1
    assert totals.failing == {}
    (whole,) = [line for line in road.spool.journal.read({})[0] if line["t"] == "delivery"]
    assert (whole["studies"], whole["instances"], whole["outcome"]) == (["1.2.826.9"], 3, "done")


def test_a_destination_fails_until_it_takes_something(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    receive(road.spool, [("1.2.1", instance("1.2.1"))])
    road.route()
    monkeypatch.setattr(Sink, "answer", lambda name, one: Receipt(one.index, Outcome.RETRY, "0xA700", "full"))
    road.deliver()
    road.deliver()
    totals = totals_of(road)
    assert (totals.attempts, list(totals.failing), totals.codes) == ({"pacs/retry": 2}, ["pacs"], {"pacs": "0xA700"})
    monkeypatch.setattr(Sink, "answer", lambda name, one: Receipt(one.index, Outcome.REFUSED, "0xC000", "no"))
    road.deliver()
    assert totals_of(road).refused == {"pacs": 1}


def test_nothing_of_a_patient_is_in_the_journal(road: Road) -> None:
    receive(road.spool, [("1.2.1", instance("1.2.1", patient="P-CANARY")), ("1.3.1", instance("1.3.1", "MR"))])
    road.route()
    road.deliver()
    text = b"".join(f.read_bytes() for f in road.spool.journal.folder.iterdir())
    assert text.count(b"\n") == 3
    for hidden in (b"CANARY", b"Doe", b"P1"):
        assert hidden not in text


def test_sums_go_on_where_they_were(home: Path) -> None:
    journal, file = Journal(home / "spool"), home / "monitor" / "totals.json"
    for _ in range(3):
        totals = Totals.load(file)
        journal.write("received", id="b", source="s", instances=2, bytes=10)
        totals.follow(journal)
        totals.save(file)
        assert totals.follow(journal) == []
    assert Totals.load(file) == totals
    assert totals.received == {"s": 6}


def test_a_torn_line_is_no_line_and_one_being_written_is_read_later(home: Path) -> None:
    journal = Journal(home / "spool")
    journal.write("received", id="b", source="s", instances=1, bytes=1)
    (file,) = journal.folder.iterdir()
    with file.open("ab") as f:
        f.write(b'{"t":"rec\n{"t":"received","at":1,"id":"c","source":"s","instances":1')
    lines, cursor = journal.read({})
    assert [line["id"] for line in lines] == ["b"]
    with file.open("ab") as f:
        f.write(b',"bytes":1}\n')
    assert [line["id"] for line in journal.read(cursor)[0]] == ["c"]


def test_past_hours_go_when_they_are_read(home: Path) -> None:
    journal = Journal(home / "spool")
    journal.write("received", id="b", source="s", instances=1, bytes=1)
    later = datetime.now(UTC) + timedelta(hours=5)
    journal.forget({}, later)
    assert len(journal.end()) == 1, "what was not read stays"
    journal.forget(journal.end(), datetime.now(UTC))
    assert len(journal.end()) == 1, "this hour stays"
    journal.forget(journal.end(), later)
    assert journal.end() == {}


def test_many_processes_write_whole_lines(home: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from engine.spool.journal import Journal\n"
        "j = Journal(Path(sys.argv[1]))\n"
        "for n in range(300): j.write('received', id=str(n), source=sys.argv[2], instances=1, bytes=n)"
    )
    argv = [sys.executable, "-c", code, str(home / "spool")]
    running = [subprocess.Popen([*argv, f"s{n}"], env=dict(os.environ)) for n in range(3)]
    assert [p.wait(60) for p in running] == [0, 0, 0]
    totals = Totals()
    totals.follow(Journal(home / "spool"))
    assert totals.received == {"s0": 300, "s1": 300, "s2": 300}
