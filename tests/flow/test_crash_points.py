"""Every crash point has one answer: the road is cut before, and after, each thing it does to the disk, and goes on."""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.flow.fuse import CrashError, Fuse
from tests.flow.road import Road, Sink, instance, receive, split

CONFIGURATION: dict[str, Any] = {
    "destinations": [{"name": "first", "kind": "test_sink"}, {"name": "second", "kind": "test_sink"}],
    "rulesets": [
        {
            "name": "main",
            "priority": 1,
            "rules": [
                {
                    "name": "ct",
                    "priority": 1,
                    "when": {"tag": "Modality", "op": "eq", "value": "CT"},
                    "morphs": [{"kind": "prepend", "tag": "PatientID", "value": "H-"}],
                    "destinations": ["first", "second"],
                },
                {
                    "name": "plain",
                    "priority": 2,
                    "when": {"tag": "Modality", "op": "eq", "value": "CT"},
                    "destinations": ["second"],
                },
            ],
        }
    ],
}
FILES = {
    "1.1": instance("1.1"),
    "1.2": instance("1.2"),
    "1.3": instance("1.3", modality="MR"),  # no rule wants it
    "1.4": b"\x08\x00\x16\x00UI\xff\xff this is no data set",  # cannot be read
}

def go(road: Road) -> None:
    road.sweep()
    road.route()
    road.deliver()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_cut_anywhere_between_front_door_and_destination(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    fuse = Fuse(monkeypatch)
    for n in range(1, 10_000):
        home = memory_path / "home"
        Sink.given.clear()
        road = Road(home, CONFIGURATION)
        answered: list[str] = []
        fuse.left, fuse.after = n, after
        try:
            answered += receive(road.spool, list(FILES.items()))
            go(road)
            crashed = False
        except CrashError:
            crashed = True
        finally:
            fuse.left = None
            fuse.end_process(road)
        again = Road(home, CONFIGURATION)  # a new process: new descriptors, new history segments
        for _ in range(2):
            go(again)
        check(again, whole=len(answered) == len(FILES), crashed=crashed)
        shutil.rmtree(home)
        if not crashed:
            assert n > 60, "the fuse must have seen the road"
            return
    pytest.fail("the road never came to its end")


def check(road: Road, *, whole: bool, crashed: bool) -> None:
    given = Counter((name, uid) for name, uid, _ in Sink.given)
    contents = {(name, uid, data) for name, uid, data in Sink.given}
    instances = road.rows("select id, outcome from instances")
    assert road.spool.batches("receiving") == road.spool.batches("ready") == road.spool.batches("routed") == []
    assert len({r["id"] for r in instances}) == len(instances), "nothing is counted twice"
    assert {("first", "1.1"), ("first", "1.2"), ("second", "1.1"), ("second", "1.2")} >= set(given)
    assert sum(given.values()) <= len(contents) + (1 if crashed else 0)  # once more only what was in flight
    told = road.rows(
        "select distinct destination, branch, sop_instance_uid from deliveries where outcome = 'confirmed'"
    )
    assert len(told) == len(contents), "history agrees with what was delivered"
    if whole:
        assert set(given) == {(d, u) for d in ("first", "second") for u in ("1.1", "1.2")}
        # `second` gets two branches of each image: changed and plain; a retry never makes a third content
        assert len(contents) == 6
        assert ("second", "1.1", split(FILES["1.1"])) in contents  # plain: exactly as it came
        assert len(road.spool.batches("held")) == len(road.spool.batches("unmatched")) == 1
        assert Counter(r["outcome"] for r in instances) == {"routed": 2, "unmatched": 1, "held": 1}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_cut_anywhere_in_a_delivery_of_archives_each_image_stands_in_one(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    out = memory_path / "out"
    archive = {"name": "archive", "kind": "filesystem", "path": str(out), "zip": True}
    archive["template"] = "{PatientID}/{StudyInstanceUID}/{SOPInstanceUID}.dcm"
    rule = {"name": "all", "priority": 1, "destinations": ["archive"]}
    configuration = {"destinations": [archive], "rulesets": [{"name": "main", "priority": 1, "rules": [rule]}]}
    files = [(f"1.{n}", instance(f"1.{n}", patient=f"P{n % 2}", pixels=8)) for n in range(4)]
    fuse = Fuse(monkeypatch)
    for n in range(1, 10_000):
        home = memory_path / "home"
        road = Road(home, configuration)
        receive(road.spool, files)
        road.route()
        fuse.left, fuse.after = n, after
        try:
            road.deliver()
            crashed = False
        except CrashError:
            crashed = True
        finally:
            fuse.left = None
            fuse.end_process(road)
        again = Road(home, configuration)
        go(again)
        found = {p.relative_to(out).as_posix(): zipfile.ZipFile(p).namelist() for p in out.rglob("*.zip")}
        assert found == {
            "P0/1.2.826.9.zip": ["1.0.dcm", "1.2.dcm"], "P1/1.2.826.9.zip": ["1.1.dcm", "1.3.dcm"],
        }  # fmt: skip
        told = again.rows("select distinct sop_instance_uid from deliveries where outcome = 'confirmed'")
        assert len(told) == 4
        assert again.spool.batches("routed") == []
        shutil.rmtree(home)
        shutil.rmtree(out)
        if not crashed:
            assert n > 20, "the fuse must have seen the delivery"
            return
    pytest.fail("the delivery never came to its end")
