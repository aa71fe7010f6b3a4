"""Polling a real Orthanc by DICOMweb: each study once, byte for byte; growth, back-fills, people and their names."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta

import pytest

from engine.sources._query import Query
from engine.sources.dicomweb import DicomWeb
from tests.peers import wait_until
from tests.polling.support import Site, dicomweb, instance, put, study_uid, sums


def test_every_study_comes_once_byte_for_byte(site: Site, pacs: str) -> None:
    sent = put(pacs, (instance(study, n) for study in range(1, 24) for n in (1, 2)))
    site.configure(dicomweb(pacs, page_size=5, parallel=3, poll_seconds=1))
    with site.polling():
        site.until(fetched=23, waiting=0)
        first = site.polls.poller("pacs").asked_at
        wait_until(lambda: site.polls.poller("pacs").asked_at != first, 60, "another poll")
        more = put(pacs, [instance(100)])
        site.until(fetched=24)
    assert sums(site.files()) == sums(sent + more)
    assert site.counts() == {"waiting": 0, "fetched": 24, "failed": 0, "retrying": 0}


def test_a_study_that_grows_is_fetched_when_it_is_quiet(site: Site, pacs: str) -> None:
    put(pacs, [instance(1, 1)])
    site.configure(dicomweb(pacs, quiet_seconds=3600))
    site.poll()
    assert site.counts()["waiting"] == 1, "it may still grow"
    assert not site.files()
    put(pacs, [instance(1, 2)])
    site.configure(dicomweb(pacs))
    site.poll("pacs")
    assert site.counts() == {"waiting": 0, "fetched": 1, "failed": 0, "retrying": 0}
    assert len(site.files()) == 2
    site.poll("pacs")
    assert len(site.files()) == 2, "nothing changed"
    put(pacs, [instance(1, 3)])
    site.poll("pacs")
    assert sums(site.files()) == sums([instance(1, n) for n in (1, 1, 2, 2, 3)])


def test_series_and_instances_are_polled_too(site: Site, pacs: str) -> None:
    sent = put(pacs, (instance(1, n, series=s) for s in (1, 2) for n in (1, 2)))
    site.configure(dicomweb(pacs, level="series"), dicomweb(pacs, name="single", level="instance", page_size=2))
    site.poll()
    assert (site.counts("pacs")["fetched"], site.counts("single")["fetched"]) == (2, 4)
    assert sums(site.files()) == sums(sent + sent)


def test_filters_and_relative_dates_reach_the_server(site: Site, pacs: str) -> None:
    today = datetime.now(UTC).astimezone().date()
    days = {1: today, 2: today - timedelta(days=1), 3: today - timedelta(days=40)}
    put(pacs, (instance(study, date=f"{day:%Y%m%d}") for study, day in days.items()))
    site.configure(dicomweb(pacs, filters={"StudyDate": "-7d.."}), dicomweb(pacs, name="p3", filters={"PatientID": "P-3"}))
    site.poll()
    assert (site.counts("pacs")["fetched"], site.counts("p3")["fetched"]) == (2, 1)
    assert len(site.files()) == 3


def test_a_back_fill_walks_day_by_day_and_can_be_paused(site: Site, pacs: str) -> None:
    sent = put(pacs, (instance(n, date=f"202601{n:02d}") for n in range(1, 11)))
    site.configure(dicomweb(pacs, poll_seconds=0, parallel=2))
    site.poll()
    assert not site.files(), "it is not polled by itself"
    now = datetime.now(UTC)
    one = site.backfills.create("pacs", date(2026, 1, 1), date(2026, 1, 4), who="test", now=now)
    site.poll()
    done = site.backfills.get(one.id)
    assert (done.state, done.found, done.fetched, done.failed, done.progress) == ("done", 4, 4, 0, 1.0)
    assert sums(site.files()) == sums(sent[:4])

    two = site.backfills.create("pacs", date(2026, 1, 3), date(2026, 1, 10), who="test", now=now)
    site.backfills.change(two.id, "pause", now)
    site.poll()
    assert site.backfills.get(two.id).next_day == date(2026, 1, 3), "a paused one stands still"
    site.backfills.change(two.id, "resume", now)
    site.poll()
    done = site.backfills.get(two.id)
    assert (done.state, done.found, done.already, done.fetched) == ("done", 8, 2, 6)
    assert sums(site.files()) == sums(sent), "what was fetched before is not fetched again"

    three = site.backfills.create("pacs", date(2026, 1, 1), date(2026, 1, 2), who="test", now=datetime.now(UTC), again=True)
    site.poll()
    assert site.backfills.get(three.id).fetched == 2
    assert len(site.files()) == 12, "unless a person says so"


def test_a_back_fill_that_is_cancelled_lets_go_of_what_waits(site: Site, pacs: str) -> None:
    put(pacs, (instance(n, date="20260101") for n in range(1, 4)))
    site.configure(dicomweb(pacs, poll_seconds=0, enabled=False))
    now = datetime.now(UTC)
    one = site.backfills.create("pacs", date(2026, 1, 1), date(2026, 1, 4), who="test", now=now)
    matches = list(DicomWeb.model_validate(dicomweb(pacs)).query(Query(), site_stop()))
    site.backfills.day_asked(one, date(2026, 1, 1), matches, now)
    assert site.backfills.get(one.id).waiting == 3
    assert site.backfills.change(one.id, "cancel", now).state == "cancelled"
    assert site.counts() == {}


@pytest.mark.parametrize(
    ("name", "charset"),
    [
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "\\ISO 2022 IR 87"),
        ("Bjørnstad^Åse", "ISO_IR 100"),
        ("Соколов^Иван", "ISO_IR 144"),
        ("Wang^XiaoDong=王^小东", "GB18030"),
        ("Nguyễn^Thị Minh=阮^氏明", "ISO_IR 192"),
    ],
)
def test_names_are_read_right(pacs: str, name: str, charset: str) -> None:
    put(pacs, [instance(1, name=name, charset=charset.split("\\") if "\\" in charset else charset)])  # type: ignore[arg-type]
    [match] = DicomWeb.model_validate(dicomweb(pacs)).query(Query(), site_stop())
    assert match.text("PatientName") == name
    assert (match.study_instance_uid, match.instances) == (study_uid(1), 1)
    assert match.attributes["00080020"] == {"vr": "DA", "Value": ["20260110"]}


def test_a_query_is_paged_and_limited(pacs: str) -> None:
    put(pacs, (instance(study) for study in range(1, 12)))
    one = DicomWeb.model_validate(dicomweb(pacs, page_size=4))
    every = [m.study_instance_uid for m in one.query(Query(), site_stop())]
    assert sorted(every) == sorted(map(study_uid, range(1, 12)))
    assert [m.study_instance_uid for m in one.query(Query(limit=6, offset=3), site_stop())] == every[3:9]
    assert {m.level for m in one.query(Query("series", {"StudyInstanceUID": study_uid(3)}), site_stop())} == {"series"}
    assert all(tick.ok is not False for tick in one.check()), one.check()


def site_stop() -> threading.Event:
    return threading.Event()
