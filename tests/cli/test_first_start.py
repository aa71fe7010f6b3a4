"""The first start on an empty home: the example is live, the samples went through the listener, and are delivered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from engine.demo.studies import sample_studies
from tests.peers import wait_until
from tests.running import Axiom, running_axiom


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Axiom]:
    home = tmp_path_factory.mktemp("first") / "the home of Jörg, 100%41 #1?"  # blanks, and what URLs give a meaning to
    with running_axiom(home, demo=True) as axiom:
        wait_until(lambda: "sample images were received" in axiom.output, 120, "the samples")
        yield axiom


@pytest.fixture(scope="module")
def total(tmp_path_factory: pytest.TempPathFactory) -> int:
    return sum(map(len, sample_studies(tmp_path_factory.mktemp("samples"))))


def test_it_prints_a_line_to_send_with(demo: Axiom):
    assert f"storescu -aec AXIOM 127.0.0.1 {demo.dimse_port} file.dcm" in demo.output


def test_every_sample_was_received_decided_and_delivered(demo: Axiom, total: int):
    assert f"{total} of {total} sample images were received" in demo.output
    sql = "select count(distinct sop_instance_uid) as n from instances where outcome = 'routed'"
    wait_until(lambda: demo.history(sql)[0]["n"] == total, 60, "the history of all samples")

    def delivered() -> bool:
        status = demo.json("status")
        return status["waiting"] + status["spool"]["ready"] + status["spool"]["receiving"] == 0

    wait_until(delivered, 90, "the deliveries")
    status = demo.json("status")
    assert (status["held"], status["dead"], status["unmatched"]) == (0, 0, 0)
    confirmed = "select destination, count(*) as n from deliveries where outcome = 'confirmed' and index >= 0 group by 1"
    counts = {row["destination"]: row["n"] for row in demo.history(confirmed)}
    assert counts["archive"] == total - 1, "all but the test image"
    for name in ("archive", "research", "teaching"):
        assert len(list((demo.home / name).rglob("*.dcm"))) == counts[name]


def test_the_archive_keeps_the_patient_and_research_does_not(demo: Axiom):
    archived = pydicom.dcmread(next((demo.home / "archive" / "AX-1001").rglob("*.dcm")))
    assert archived.PatientID == "AX-1001"
    assert archived.InstitutionName == "Axiom Flow Hospital"
    assert archived.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].InstitutionName == "Example Hospital"
    changed = pydicom.dcmread(next((demo.home / "research" / "R-AX-1001").rglob("*.dcm")))
    assert (changed.PatientID, str(changed.PatientName)) == ("R-AX-1001", "Subject^Research")
    assert "PatientBirthDate" not in changed
    assert "OriginalAttributesSequence" not in changed


def test_the_shadow_rule_decided_and_delivered_nothing(demo: Axiom):
    rows = demo.history("select distinct matched, reasons[1] as reason from decisions where rule = 'chest-views'")
    off = [row for row in rows if row["reason"].startswith("schedule office-hours: not on")]  # so it is in the evening
    assert off or {row["matched"] for row in rows} == {True, False}
    assert not any(row["matched"] for row in off)
    assert not demo.history("select 1 as one from deliveries where branch like '%chest-views'")


def test_a_second_start_sends_nothing_again(demo: Axiom, total: int, tmp_path: Path):
    assert demo.stop() == 0
    demo.up(demo=True)
    assert "sample images" not in demo.output
    assert "admin with" not in demo.output
    assert demo.history("select count(*) as n from instances")[0]["n"] == total
