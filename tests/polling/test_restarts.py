"""Killed in the middle, on either side: nothing is lost, and nothing comes twice but what was in flight."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pydicom
import pytest

from engine.process import Child
from tests.peers import free_port, need, wait_until
from tests.polling.support import Faulty, Site, dicomweb, instance, put, study_uid, sums
from tests.running import ROOT


class Worker:
    """The poll job in a process of its own."""

    def __init__(self, home: Path) -> None:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen([sys.executable, "-m", "tests.polling.drain", str(home)], env=env)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        """kill -9."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(30)


class Orthanc:
    """One that can be killed and comes back with what it had, where it was."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        plugins = [str(p) for p in Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb*")]
        self._config = folder / "orthanc.json"
        self._config.write_text(json.dumps({
            "StorageDirectory": str(folder), "IndexDirectory": str(folder), "DicomPort": free_port(),
            "HttpPort": self._port, "AuthenticationEnabled": False, "Plugins": plugins,
        }))  # fmt: skip
        self.start()

    def start(self) -> None:
        log = self._config.with_suffix(".log")
        self._child = Child("orthanc", [need("Orthanc"), self._config], log=log, restart=False)
        self._child.start()
        wait_until(self._answers, 60, "Orthanc")

    def kill(self) -> None:
        self._child.ask_to_stop(signal.SIGKILL)
        assert self._child.wait(30)

    def _answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/system").status_code == 200
        return False


def studies_in(site: Site) -> Counter[str]:
    return Counter(str(pydicom.dcmread(f, stop_before_pixels=True).StudyInstanceUID) for f in site.files())


LONG = pytest.param(3000, 3, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])


@pytest.mark.parametrize(("count", "kills"), [(60, 1), LONG])
def test_a_worker_killed_in_the_middle_loses_and_repeats_nothing(home: Path, pacs: str, count: int, kills: int) -> None:
    """Pages of a third (of 100 in the long form), new studies coming in, kill -9 in between."""
    first, later = range(1, count + 1), range(count + 1, count + 1 + count // 10)
    put(pacs, (instance(n) for n in first))
    site = Site(home)
    site.configure(dicomweb(pacs, page_size=min(100, count // 3), parallel=2, poll_seconds=1))
    coming = threading.Thread(target=lambda: [put(pacs, [instance(n)]) for n in later])
    coming.start()
    for goal in (count * n // (kills + 1) for n in range(1, kills + 1)):
        with Worker(home):
            site.until_at_least(goal, 600)
    coming.join()
    site.context.spool.adopt_orphans()
    with site.polling():
        site.until(fetched=len(first) + len(later), waiting=0, timeout=600)
    got = studies_in(site)
    assert set(got) == {study_uid(n) for n in (*first, *later)}, "each study"
    assert sum(got.values()) - len(got) <= kills * 2, "of what was in flight when it was killed: two each time"
    assert set(sums(site.files())) == set(sums([instance(n) for n in (*first, *later)])), "byte for byte"


def test_a_server_killed_in_the_middle_is_said_and_waited_for(site: Site, tmp_path: Path, impatient: None) -> None:
    orthanc = Orthanc(tmp_path / "orthanc")
    try:
        sent = put(orthanc.url, (instance(study, n, size=300) for study in range(1, 7) for n in range(1, 6)))
        site.configure(dicomweb(orthanc.url, poll_seconds=1, parallel=2))
        with site.polling():
            wait_until(lambda: site.counts().get("fetched", 0) >= 1, 60, "the first studies")
            orthanc.kill()
            # where the kill fell decides which: within a message, between two requests, or before its last delimiter
            said = ("cannot be reached", "broke off", "not whole")
            wait_until(lambda: any(words in site.polls.poller("pacs").error for words in said), 60, "words about it")
            orthanc.start()
            site.until(fetched=6, waiting=0, failed=0)
            wait_until(lambda: not site.polls.poller("pacs").error, 60, "no more words")
        assert set(sums(site.files())) == set(sums(sent))
    finally:
        orthanc.kill()


def test_a_back_fill_goes_on_where_it_was_killed(home: Path, pacs: str, faulty: Faulty) -> None:
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(12)]
    put(pacs, (instance(10 * n + k, date=f"{day:%Y%m%d}") for n, day in enumerate(days) for k in (1, 2, 3)))
    site = Site(home)
    site.configure(dicomweb(faulty.url, poll_seconds=0))
    faulty.waiting = f"{days[6]:%Y%m%d}"  # so that it cannot be done before it is killed
    one = site.backfills.create("pacs", days[0], days[-1], who="test", now=datetime.now(UTC))
    with Worker(home):
        wait_until(lambda: site.backfills.get(one.id).next_day > days[3], 60, "the fourth day")
    assert site.backfills.get(one.id).state == "running"
    faulty.let_go.set()
    site.context.spool.adopt_orphans()
    site.poll()
    done = site.backfills.get(one.id)
    assert (done.state, done.found, done.already, done.fetched) == ("done", 36, 0, 36)
    got = studies_in(site)
    assert len(got) == 36
    assert sum(got.values()) <= 37, "the one in flight may come twice"


def test_another_node_takes_over_from_one_that_is_gone(site: Site) -> None:
    now = datetime.now(UTC)
    assert site.polls.claim("pacs", "node-2/123-456", now)
    assert not site.polls.claim("pacs", "node-1/1-1", now + timedelta(seconds=30)), "it lives, as far as anybody knows"
    assert site.polls.beat("pacs", "node-2/123-456", now + timedelta(seconds=30), {})
    assert not site.polls.claim("pacs", "node-1/1-1", now + timedelta(seconds=89))
    assert site.polls.claim("pacs", "node-1/1-1", now + timedelta(seconds=91))
    assert not site.polls.beat("pacs", "node-2/123-456", now + timedelta(seconds=92), {}), "it hears that it is not the one"
    assert site.polls.claim("pacs", "node-1/2-2", now + timedelta(seconds=92)), "the process of node-1 is not there any more"
