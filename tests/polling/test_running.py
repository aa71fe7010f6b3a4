"""The whole engine polls an Orthanc, through the rules to a folder; its poll worker is killed in between."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.peers import wait_until
from tests.polling.support import instance, put, sums
from tests.running import Axiom

CONFIGURATION = """
sources:
- {{name: archive, kind: dicomweb, url: "{url}/dicom-web", poll_seconds: 1, quiet_seconds: 0}}
destinations:
- {{name: polled, kind: filesystem, path: {home}/polled, template: "{{SOPInstanceUID}}.dcm"}}
rulesets:
- {{name: main, priority: 10, rules: [{{name: all, priority: 10, sources: [dicomweb], destinations: [polled]}}]}}
"""


@pytest.fixture
def polling(axiom: Axiom, pacs: str) -> Iterator[Axiom]:
    axiom.apply(CONFIGURATION.format(url=pacs, home=axiom.home))
    yield axiom
    axiom.apply("sources: []\nrulesets: []\ndestinations: []\n")


def poll_workers(axiom: Axiom) -> list[int]:
    return [pid for pid, line in axiom.processes().items() if "engine.jobs.worker" in line and "poll" in line]


def test_polled_studies_go_through_the_rules(polling: Axiom, pacs: str) -> None:
    axiom, folder = polling, polling.home / "polled"
    sent = put(pacs, (instance(study, n, date="20260105") for study in (1, 2, 3) for n in (1, 2)))
    wait_until(lambda: folder.is_dir() and len(list(folder.glob("*.dcm"))) == 6, 60, "six images")
    for pid in poll_workers(axiom):
        os.kill(pid, signal.SIGKILL)
    sent += put(pacs, (instance(study, date="20260107") for study in (4, 5)))
    wait_until(lambda: len(list(folder.glob("*.dcm"))) == 8, 60, "two more")
    assert sums(sorted(folder.glob("*.dcm"))) == sums(sent)
    wait_until(lambda: axiom.json("poll", "list")[0]["fetched"] == 5, what="the poller to have booked what it fetched")
    [poller] = axiom.json("poll", "list")
    assert (poller["fetched"], poller["failed"]) == (5, 0)
    told = axiom.json("backfill", "archive", "--from", "2026-01-01", "--to", "2026-01-10", "--again", "--wait")
    assert (told["state"], told["found"], told["fetched"]) == ("done", 5, 5)
    assert axiom.json("poll", "failed", "archive") == []
    [row] = wait_until(
        lambda: axiom.history("SELECT sum(processed)::INT AS n FROM queries WHERE source = 'archive' HAVING n >= 9"), 60
    )
    assert row["n"] <= 11, "five and five, and what was in flight when it was killed"
