"""Gathering: a study's images from several batches go in one delivery; late ones in another; a crash changes nothing."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest

from engine.configuration import load_configuration
from engine.errors import Invalid, Missing
from engine.model import Outcome, Receipt
from engine.spool.gathering import Gathering
from tests.flow.fuse import CrashError, Fuse
from tests.flow.road import SENDER, Road, Sink, instance, receive, split


def configuration(**gather: Any) -> dict[str, Any]:
    rule = {"name": "all", "priority": 1, "destinations": ["first", "second"], "gather": "study"} | gather
    return {
        "destinations": [{"name": "first", "kind": "test_sink"}, {"name": "second", "kind": "test_sink"}],
        "rulesets": [{"name": "main", "priority": 1, "rules": [rule]}],
    }


CHANGING = configuration(morphs=[{"kind": "prepend", "tag": "PatientID", "value": "H-"}])


def send(road: Road, *uids: str, **association: Any) -> None:
    receive(road.spool, [(u, instance(u)) for u in uids], replace(SENDER, **association))
    road.route()


def end_all(road: Road) -> None:
    for gathering in road.spool.gatherings.listing():
        road.spool.gatherings.send_now(gathering.key)
    road.gather()
    road.deliver()


def given(destination: str = "first") -> list[str]:
    return [uid for name, uid, _ in Sink.given if name == destination]


def one(road: Road, destination: str = "first") -> Gathering:
    found = [g for g in road.spool.gatherings.listing() if g.destination == destination]
    assert len(found) == 1
    return found[0]


def test_several_batches_and_sources_go_in_one_delivery(home: Path) -> None:
    road = Road(home, CHANGING)
    send(road, "1.1", "1.2")
    send(road, "1.3", source="another", calling_ae="CT02")
    road.gather()
    road.deliver()
    assert Sink.given == [], "they wait for the rest of the study"
    assert one(road).instances() == {"1.1", "1.2", "1.3"}
    assert not one(road).late
    end_all(road)
    assert given("first") == given("second") == ["1.1", "1.2", "1.3"]
    assert all(b"H-P1" in data for _, _, data in Sink.given)
    told = road.rows("select delivery, batch, index, outcome, destination from deliveries")
    confirmed = [r for r in told if r["outcome"] == "confirmed"]
    assert len({r["delivery"] for r in confirmed}) == 2, "one a destination"
    received = {(r["batch"], r["index"]) for r in road.rows("select batch, index from instances")}
    assert {(r["batch"], r["index"]) for r in confirmed} == received, "told under the batches that they came in"
    assert Counter(r["outcome"] for r in told) == {"gathered": 6, "confirmed": 6}
    assert road.spool.batches("routed") == []
    assert not road.spool.gatherings.has_work()


def test_bytes_are_what_a_plain_delivery_sends(home: Path) -> None:
    road = Road(home, configuration())
    data = instance("1.1")
    receive(road.spool, [("1.1", data)])
    road.route()
    end_all(road)
    assert [d for _, _, d in Sink.given] == [split(data)] * 2


def test_another_study_is_another_gathering_and_a_series_level_splits_a_study(home: Path) -> None:
    def of(uid: str, study: str, series: str) -> tuple[str, bytes]:
        ds = pydicom.dcmread(_file(home, instance(uid)))
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.save_as(home / "x.dcm")
        return uid, (home / "x.dcm").read_bytes()

    road = Road(home, configuration(gather="series", destinations=["first"]))
    receive(road.spool, [of("1.1", "2.1", "3.1"), of("1.2", "2.1", "3.2"), of("1.3", "2.1", "3.1")])
    road.route()
    assert sorted(len(g.instances()) for g in road.spool.gatherings.listing()) == [1, 2]
    road = Road(home / "b", configuration(destinations=["first"]))
    receive(road.spool, [of("1.1", "2.1", "3.1"), of("1.2", "2.1", "3.2"), of("1.3", "2.2", "3.3")])
    road.route()
    assert sorted((g.uid, len(g.instances())) for g in road.spool.gatherings.listing()) == [("2.1", 2), ("2.2", 1)]


def _file(folder: Path, data: bytes) -> Path:
    path = folder / "in.dcm"
    path.write_bytes(data)
    return path


def test_quiet_time_ends_it_and_each_image_moves_the_end_but_not_beyond_at_most(home: Path) -> None:
    road = Road(home, configuration(quiet=50, at_most=80, destinations=["first"]))
    send(road, "1.1")
    first = one(road)
    assert first.due == pytest.approx(first.opened_at + 50, abs=10)
    road.gather()
    assert not road.spool.gatherings.has_work()
    os.utime(first.folder / "due", (time.time() - 1, time.time() - 1))
    send(road, "1.2")
    assert one(road).due > time.time(), "one that came before the end was taken moves it"
    about = first.folder / "about.json"
    about.write_text(about.read_text().replace(str(first.opened_at), str(first.opened_at - 75)))
    send(road, "1.3")
    assert one(road).due == pytest.approx(first.opened_at + 5, abs=10), "at_most counts from the first image"
    os.utime(first.folder / "due", (1, 1))
    assert road.spool.gatherings.has_work()
    road.gather()
    road.deliver()
    assert given() == ["1.1", "1.2", "1.3"]


def test_what_comes_after_the_end_is_a_new_gathering_marked_late(home: Path) -> None:
    road = Road(home, configuration(destinations=["first"]))
    send(road, "1.1")
    end_all(road)
    send(road, "1.2")
    assert one(road).late
    end_all(road)
    assert given() == ["1.1", "1.2"]
    words = road.rows("select words from deliveries where outcome = 'gathered' and sop_instance_uid = '1.2'")
    assert "late: its study went before" in words[0]["words"]


def test_a_known_number_of_images_ends_it_at_once(home: Path) -> None:
    road = Road(home, configuration(destinations=["first"]))
    send(road, "1.1", "1.2", study_instances=3)
    assert not road.spool.gatherings.has_work()
    send(road, "1.2", study_instances=3)
    assert not road.spool.gatherings.has_work(), "the same image twice is one"
    send(road, "1.3")
    assert road.spool.gatherings.has_work()
    road.gather()
    road.deliver()
    assert set(given()) == {"1.1", "1.2", "1.3"}


def test_a_failure_is_tried_again_as_a_whole_and_what_was_confirmed_stays(home: Path) -> None:
    road = Road(home, configuration(destinations=["first"]))
    send(road, "1.1", "1.2")
    send(road, "1.3")
    Sink.answer = lambda _, o: Receipt(
        o.index, Outcome.RETRY if o.sop_instance_uid == "1.3" else Outcome.CONFIRMED, "0xA700", "full"
    )
    end_all(road)
    assert given() == ["1.1", "1.2"]
    Sink.answer = None
    road.deliver()
    assert given() == ["1.1", "1.2", "1.3"]
    assert road.spool.batches("routed") == []


def test_no_uid_no_gathering(home: Path) -> None:
    road = Road(home, configuration(morphs=[{"kind": "delete", "tag": "StudyInstanceUID"}], destinations=["first"]))
    send(road, "1.1")
    road.deliver()
    assert given() == ["1.1"]


def test_send_now_of_what_is_gone_says_so(home: Path) -> None:
    road = Road(home, configuration())
    for key in ("0" * 32, "../../etc", ""):
        with pytest.raises(Missing, match="no gathering"):
            road.spool.gatherings.send_now(key)


def test_at_most_shorter_than_quiet_is_refused_at_save() -> None:
    with pytest.raises(Invalid, match="at_most"):
        load_configuration(configuration(quiet=100, at_most=50))


FILES = ("1.1", "1.2", "1.3")


@pytest.mark.parametrize("after", [pytest.param(False, marks=pytest.mark.slow, id="before"), pytest.param(True, id="after")])
def test_cut_anywhere(memory_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    """Two batches of a study, changed, to two destinations: nothing is lost, and only what was in flight goes twice."""
    fuse = Fuse(monkeypatch)
    for n in range(1, 10_000):
        home = memory_path / "home"
        Sink.given.clear()
        road = Road(home, CHANGING)
        send(road, "1.1", "1.2")
        receive(road.spool, [("1.3", instance("1.3"))])
        fuse.left, fuse.after = n, after
        try:
            road.route()
            end_all(road)
            crashed = False
        except CrashError:
            crashed = True
        finally:
            fuse.left = None
            fuse.end_process(road)
        again = Road(home, CHANGING)
        for _ in range(3):
            again.sweep()
            again.route()
            end_all(again)
        for destination in ("first", "second"):
            sent = Counter(given(destination))
            assert set(sent) == set(FILES), (n, destination)
            assert sum(sent.values()) <= len(FILES) + crashed, (n, destination)
        assert again.spool.batches("ready") == again.spool.batches("routed") == [], n
        assert not again.spool.gatherings.has_work(), n
        told = again.rows(
            "select distinct destination, batch, index from deliveries where outcome = 'confirmed'"
        )
        assert len(told) == 6, n
        shutil.rmtree(home)
        if not crashed:
            assert n > 60, "the fuse must have seen the road"
            return
    pytest.fail("the road never came to its end")
