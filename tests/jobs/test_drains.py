"""The drain of deliveries: it ends when it is old, unless that would hold up what waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.destinations.base import Outgoing
from engine.jobs import drains
from engine.jobs.context import Context
from engine.model import Outcome, Receipt
from engine.settings import Settings
from tests.flow.road import SENDER, Sink, instance, receive
from tests.peers import wait_until

DOCUMENT = {
    "sources": [{"name": "modalities", "kind": "dimse_listener", "ae_title": "AXIOM", "port": 11112}],
    "destinations": [{"name": n, "kind": "test_sink"} for n in ("slow", "quick")],
    "rulesets": [{"name": "main", "priority": 1, "rules": [
        {"name": n, "priority": p, "when": {"tag": "PatientID", "op": "eq", "value": n}, "destinations": [n]}
        for p, n in enumerate(("slow", "quick"), 1)
    ]}],
}  # fmt: skip


@pytest.fixture
def context(home: Path) -> Iterator[Context]:
    made = Context(Settings(home=home))
    made.store.save(DOCUMENT, author="test", reason="test")
    made.spool.make()
    Sink.given.clear()
    yield made
    Sink.answer = None


def test_an_old_drain_with_a_slow_delivery_goes_on_starting_others(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drains, "LAUNCH_SECONDS", 0.3)
    monkeypatch.setattr(drains, "GRACE_SECONDS", 0.3)
    over = threading.Event()

    def answer(destination: str, outgoing: Outgoing) -> Receipt:
        if destination == "slow":
            begun.set()
            assert over.wait(100)
        return Receipt(outgoing.index, Outcome.CONFIRMED)

    begun = threading.Event()
    Sink.answer = answer
    receive(context.spool, [("1.2.3", instance("1.2.3", patient="slow"))], SENDER)
    drains.drain_ready(context)
    drain = threading.Thread(target=drains.drain_deliveries, args=(context,))
    drain.start()
    assert begun.wait(60)
    for n in range(3):  # one after the other, so that each finds the drain at another age
        uid = f"1.2.4.{n}"
        receive(context.spool, [(uid, instance(uid, patient="quick"))], SENDER)
        drains.drain_ready(context)
        wait_until(lambda uid=uid: ("quick", uid) in [g[:2] for g in Sink.given], what="the other destination")
    assert drain.is_alive()
    over.set()
    drain.join(60)
    assert not drain.is_alive()
    assert ("slow", "1.2.3") in [g[:2] for g in Sink.given]


def test_an_old_drain_that_has_nothing_left_ends(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drains, "LAUNCH_SECONDS", 0.0)
    receive(context.spool, [("1.2.3", instance("1.2.3", patient="quick"))], SENDER)
    drains.drain_ready(context)
    assert drains.drain_deliveries(context) == 0
    assert not Sink.given
