"""Deliveries: what is confirmed goes once, what is refused waits for a person, what is away is tried again, others go on."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian

from engine import flow
from engine.destinations.base import Outgoing, RetryPolicy
from engine.dicom.file_meta import encode_head
from engine.errors import Permanent, Retry
from engine.model import Outcome, Receipt
from engine.operations import Operations
from engine.settings import Settings
from engine.spool.spool import Spool
from engine.store import Store
from tests.flow.road import CT, Road, Sink, instance, receive, split

UIDS = [f"1.{n}" for n in range(1, 7)]


def configuration(**sink: Any) -> dict[str, Any]:
    return {
        "destinations": [{"name": "peer", "kind": "test_sink", **sink}, {"name": "other", "kind": "test_sink"}],
        "rulesets": [
            {"name": "m", "priority": 1, "rules": [{"name": "all", "priority": 1, "destinations": ["peer", "other"]}]}
        ],
    }


@pytest.fixture
def road(tmp_path: Path) -> Road:
    road = Road(tmp_path, configuration(retry={"attempts": 4, "first_seconds": 10}))
    receive(road.spool, [(uid, instance(uid)) for uid in UIDS])
    road.route()
    return road


@pytest.fixture
def ops(road: Road, tmp_path: Path) -> Operations:
    settings = Settings(home=tmp_path, instance_id="n1", redis_url="unix:///nowhere")
    store = Store(settings)
    store.save(road.configuration.document(), author="test")
    return Operations(settings, store)


def each_third(code: str, outcome: Outcome) -> Any:
    def answer(destination: str, one: Outgoing) -> Receipt:
        if destination == "peer" and one.index % 3 == 0:
            return Receipt(one.index, outcome, code, f"refused with {code}")
        return Receipt(one.index, Outcome.CONFIRMED)

    return answer


def sent(destination: str) -> Counter[str]:
    return Counter(uid for name, uid, _ in Sink.given if name == destination)


def test_a_transient_refusal_is_tried_again_for_those_images_only(road: Road, ops: Operations) -> None:
    Sink.answer = each_third("0xA700", Outcome.RETRY)
    road.deliver()
    assert sent("other") == Counter(UIDS)
    assert sent("peer") == Counter(["1.1", "1.2", "1.4", "1.5"])
    (waiting,) = ops.deliveries()
    assert (waiting["state"], waiting["remaining"], waiting["last_code"]) == ("waiting", 2, "0xA700")
    assert waiting["last_words"] == "refused with 0xA700"
    Sink.answer = None
    road.deliver()
    assert sent("peer") == Counter(UIDS)
    assert ops.deliveries() == []
    assert road.spool.batches("routed") == []


def test_a_permanent_refusal_is_a_dead_letter_at_once_and_a_click_replays_it(road: Road, ops: Operations) -> None:
    Sink.answer = each_third("0xC000", Outcome.REFUSED)
    road.deliver()
    (dead,) = ops.deliveries("dead")
    assert (dead["refused"], dead["confirmed"], dead["remaining"]) == (2, 4, 0)
    assert {r["code"] for r in dead["refusals"]} == {"0xC000"}
    assert {r["sop_instance_uid"] for r in dead["refusals"]} == {"1.3", "1.6"}
    road.deliver()
    assert sent("peer") == Counter(["1.1", "1.2", "1.4", "1.5"]), "a dead letter is not sent again by itself"
    Sink.answer = None
    assert ops.retry_deliveries([dead["id"]], "ada")["done"] == [dead["id"]]
    road.deliver()
    assert sent("peer") == Counter(UIDS)
    assert ops.deliveries() == []


def test_refused_and_to_be_tried_again_at_the_same_time_shows_both(road: Road, ops: Operations) -> None:
    def answer(destination: str, one: Outgoing) -> Receipt:
        outcome = {1: Outcome.REFUSED, 2: Outcome.RETRY}.get(one.index, Outcome.CONFIRMED)
        return Receipt(one.index, outcome, "x", "y")

    Sink.answer = answer
    road.deliver()
    dead = ops.deliveries("dead")
    waiting = ops.deliveries("waiting")
    assert [(d["refused"], d["remaining"]) for d in dead if d["destination"] == "peer"] == [(1, 1)]
    assert {d["id"] for d in dead} == {d["id"] for d in waiting}


def test_after_the_last_attempt_the_rest_is_dead_with_the_last_reason(road: Road, ops: Operations) -> None:
    def answer(destination: str, one: Outgoing) -> Receipt | Exception:
        return Retry("connection refused") if destination == "peer" else Receipt(one.index, Outcome.CONFIRMED)

    Sink.answer = answer
    for _ in range(6):
        road.deliver()
    (dead,) = ops.deliveries("dead")
    assert (dead["attempt"], dead["refused"]) == (4, 6)
    assert "given up after 4 attempts: connection refused" in dead["last_words"]
    rows = road.rows("select outcome, words from deliveries where index = -1 order by attempt")
    assert [r["outcome"] for r in rows] == ["retry", "retry", "retry", "dead"]


def test_a_peer_that_refuses_all_of_it_makes_each_image_a_dead_letter(road: Road, ops: Operations) -> None:
    Sink.answer = lambda name, one: Permanent("calling AE title not recognised", "rejected-permanent")
    road.deliver()
    assert {d["refused"] for d in ops.deliveries("dead")} == {6}


def test_an_error_inside_a_destination_loses_nothing_and_is_said(road: Road, ops: Operations) -> None:
    Sink.answer = lambda name, one: RuntimeError("a bug")
    road.deliver()
    assert {d["last_words"] for d in ops.deliveries()} == {"Internal error while delivering: RuntimeError: a bug"}
    Sink.answer = None
    road.deliver()
    assert sent("peer") == sent("other") == Counter(UIDS)


def test_told_to_stop_it_ends_between_two_images_and_the_rest_is_due_at_once(road: Road) -> None:
    def answer(destination: str, one: Outgoing) -> Receipt | Exception:
        if destination == "peer" and one.index == 3:
            road.stop.set()
            return Retry("")
        return Receipt(one.index, Outcome.CONFIRMED)

    Sink.answer = answer
    road.deliver()
    road.stop.clear()
    ((due, _),) = road.spool.outbox.entries("peer")
    assert due <= datetime.now(UTC).timestamp()
    Sink.answer = None
    road.deliver()
    assert sent("peer") == Counter(UIDS)


def test_a_discard_needs_a_reason_ends_it_and_is_in_the_history(road: Road, ops: Operations) -> None:
    Sink.answer = each_third("0xC000", Outcome.REFUSED)
    road.deliver()
    (dead,) = ops.deliveries("dead")
    with pytest.raises(Exception, match="Say why"):
        ops.discard_deliveries([dead["id"]], " ", "ada")
    assert ops.discard_deliveries([dead["id"]], "sent by hand", "ada")["done"] == [dead["id"]]
    assert ops.deliveries() == []
    assert road.spool.batches("routed") == []
    rows = road.rows("select sop_instance_uid, words from deliveries where outcome = 'discarded'")
    assert {r["sop_instance_uid"] for r in rows} == {"1.3", "1.6"}
    assert {r["words"] for r in rows} == {"ada: sent by hand"}


def test_what_is_not_there_is_said_and_the_others_are_done(road: Road, ops: Operations) -> None:
    Sink.answer = each_third("0xC000", Outcome.REFUSED)
    road.deliver()
    (dead,) = ops.deliveries("dead")
    answer = ops.retry_deliveries(["../../etc/passwd.0", "gone.0", dead["id"]], "ada")
    assert answer["done"] == [dead["id"]]
    assert [f["id"] for f in answer["failed"]] == ["../../etc/passwd.0", "gone.0"]


def test_only_one_worker_delivers_a_delivery(road: Road) -> None:
    began, go_on = threading.Event(), threading.Event()

    def answer(destination: str, one: Outgoing) -> Receipt:
        began.set()
        assert go_on.wait(20)
        return Receipt(one.index, Outcome.CONFIRMED)

    Sink.answer = answer
    ((_, delivery),) = road.spool.outbox.entries("peer")
    peer = road.configuration.destination("peer")
    assert peer is not None
    worker = threading.Thread(target=flow.deliver, args=(road.spool, delivery, peer, road.recorder, road.stop))
    worker.start()
    assert began.wait(20)
    assert flow.deliver(Spool(road.spool.root, node="n1"), delivery, peer, road.recorder, road.stop) is None
    go_on.set()
    worker.join()
    assert sent("peer") == Counter(UIDS)


def test_equal_results_for_one_destination_go_once(tmp_path: Path) -> None:
    rules = [{"name": f"r{n}", "priority": n, "destinations": ["peer"]} for n in (1, 2)]
    rules.append(
        {
            "name": "changed",
            "priority": 3,
            "destinations": ["peer"],
            "morphs": [{"kind": "set", "tag": "PatientID", "value": "X"}],
        }
    )
    road = Road(tmp_path, {**configuration(), "rulesets": [{"name": "m", "priority": 1, "rules": rules}]})
    receive(road.spool, [("1.1", instance("1.1"))])
    road.route()
    road.deliver()
    assert sent("peer") == Counter({"1.1": 2})
    assert len({data for _, _, data in Sink.given}) == 2


def test_held_is_released_after_the_repair_and_keeps_both_stories(tmp_path: Path) -> None:
    road = Road(tmp_path, configuration())
    receive(road.spool, [("1.1", b"\x08\x00\x16\x00UI\xff\xff no data set"), ("1.2", instance("1.2"))])
    road.route()
    (box,) = road.spool.batches("held")
    (file,) = box.glob("*.dcm")
    head = encode_head(CT, "1.1", ExplicitVRLittleEndian)
    file.unlink()
    file.write_bytes(head + split(instance("1.1")))
    assert road.spool.release("held", box.name) == f"{box.name}-r1"
    road.route()
    road.deliver()
    assert "1.1" in sent("peer")
    rows = road.rows('select outcome from instances where index = 1 order by "at"')
    assert [r["outcome"] for r in rows] == ["held", "routed"]


@given(attempts=st.integers(1, 5000), jitter=st.floats(0, 1, exclude_max=True), asked=st.none() | st.floats(0, 5000))
def test_back_off_grows_is_bounded_and_respects_what_the_peer_asked(
    attempts: int, jitter: float, asked: float | None
) -> None:
    policy = RetryPolicy(first_seconds=5, longest_seconds=900)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    due = flow.next_due(policy, attempts, now, asked, jitter)
    assert now + timedelta(seconds=max(4.0, asked or 0)) <= due
    assert due <= now + timedelta(seconds=max(900 * 1.2, asked or 0))
    if attempts > 1 and not asked:
        earlier = flow.next_due(policy, attempts - 1, now, None, jitter)
        assert due >= earlier


def test_what_the_engine_did_not_foresee_holds_that_image_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = Road(tmp_path, configuration())
    decide = type(road.decider.rulebook).decide

    def sometimes(self: Any, header: Any, *args: Any) -> Any:
        if header.sop_instance_uid == "1.2":
            raise KeyError("Doe^Jane")
        return decide(self, header, *args)

    monkeypatch.setattr(type(road.decider.rulebook), "decide", sometimes)
    receive(road.spool, [(uid, instance(uid)) for uid in UIDS])
    road.route()
    road.deliver()
    assert sent("peer") == Counter(set(UIDS) - {"1.2"})
    (row,) = road.rows("select sop_instance_uid, held_reason from instances where outcome = 'held'")
    assert row["sop_instance_uid"] == "1.2"
    assert row["held_reason"].startswith("Internal error while deciding (KeyError at test_deliver.py")
    assert "Doe" not in row["held_reason"]
