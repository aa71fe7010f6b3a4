"""The watch: told once, told again after a while, told when over; over restarts and crashes; on real state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.alerts.disk_low import DiskLow
from engine.jobs import outbox
from engine.jobs.context import Context
from engine.jobs.watch import Watch
from engine.model import Outcome, Receipt
from engine.settings import Settings
from tests.flow.road import Road, Sink, instance, receive
from tests.monitoring.receivers import Receiver, receiver
from tests.peers import wait_until


class Site:
    """A home with its road, a watch that can be started anew, and a clock."""

    def __init__(self, home: Path, hook: Receiver) -> None:
        self.hook = hook
        self.settings = Settings(home=home, allowed_hosts="127.0.0.1", min_free_mb=0)
        self.now = datetime.now(UTC)
        self.context = Context(self.settings)
        self.road = Road(home, {"destinations": [{"name": "pacs", "kind": "test_sink"}], "rulesets": [
            {"name": "main", "priority": 1, "rules": [{"name": "all", "priority": 1, "destinations": ["pacs"]}]}]})  # fmt: skip
        self.watch = Watch(self.context)

    def alerts(self, *alerts: dict[str, Any]) -> None:
        document = self.road.configuration.document()
        document["channels"] = [{"name": "hook", "kind": "webhook", "url": self.hook.url}]
        document["alerts"] = [{"channels": ["hook"], **a} for a in alerts]
        self.context.store.save(document, author="test")

    def restart(self) -> None:
        self.watch.outbox.close()
        self.watch = Watch(self.context)

    def look(self, **later: float) -> None:
        self.now += timedelta(**later)
        self.watch.look(self.now)

    def settle(self, **later: float) -> list[tuple[str, str]]:
        """Look twice (found, then told), and wait until all is sent: (state, subject) of every message so far."""
        self.look(**later)
        self.look(seconds=1)
        wait_until(self._all_sent, what="the outbox")
        return [(m["state"], m["subject"]) for m in self.hook.messages]

    def _all_sent(self) -> bool:
        self.watch.outbox.send_due({c.name: c for c in self.context.configuration().channels})
        return not self.watch.outbox.waiting()


@pytest.fixture
def site(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(Sink, "given", [])
    monkeypatch.setattr(Sink, "answer", None)
    with receiver() as hook:
        found = Site(home, hook)
        yield found
        found.watch.outbox.close()
        found.context.store.close()


FIRING, OVER = ("firing", "destinations/pacs"), ("resolved", "destinations/pacs")


def fail(site: Site, monkeypatch: pytest.MonkeyPatch, code: str = "0xA700") -> None:
    monkeypatch.setattr(Sink, "answer", lambda name, one: Receipt(one.index, Outcome.RETRY, code, "P-CANARY is away"))
    site.road.deliver()


def test_told_once_again_after_a_while_and_when_it_is_over(site: Site, monkeypatch: pytest.MonkeyPatch):
    site.alerts({"name": "pacs-away", "kind": "destination_failing", "minutes": 10, "again_minutes": 60})
    receive(site.road.spool, [("1.2.1", instance("1.2.1", patient="P-CANARY"))])
    site.road.route()
    fail(site, monkeypatch)
    assert site.settle() == [], "not yet"
    assert site.settle(minutes=11) == [FIRING]
    site.restart()
    assert site.settle(minutes=30) == [FIRING], "a restart tells nothing anew"
    assert site.settle(minutes=31) == [FIRING, FIRING]
    monkeypatch.setattr(Sink, "answer", None)
    site.road.deliver()
    assert site.settle() == [FIRING, FIRING, OVER]
    assert site.settle(minutes=100) == [FIRING, FIRING, OVER]
    first, again, over = site.hook.messages
    assert (first["alert"], first["node"], "0xA700" in first["words"]) == ("pacs-away", "node-1", True)
    assert len({first["id"], again["id"], over["id"]}) == 3
    assert first["since"] == over["since"]
    assert "CANARY" not in str(site.hook.posts)


def test_a_receiver_that_is_away_gets_it_later_also_after_a_restart(site: Site):
    site.alerts({"name": "full", "kind": "disk_low", "free_gb": 1e9})
    site.hook.answer = 503
    site.look()
    site.look(seconds=1)
    wait_until(lambda: (site.settings.monitor / "outbox/hook/said").exists(), what="the first try")
    assert site.watch.outbox.waiting() == {"hook": 1}
    site.restart()
    site.hook.answer = 200
    assert site.settle(seconds=1) == [("firing", "disk")]


def test_a_crash_between_telling_and_noting_tells_the_same_message(site: Site, monkeypatch: pytest.MonkeyPatch):
    site.alerts({"name": "full", "kind": "disk_low", "free_gb": 1e9})
    site.look()

    def crash(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(site.watch.state, "save", crash)
        with suppress(KeyboardInterrupt):
            site.look(seconds=1)
    site.restart()
    site.settle(seconds=1)
    site.settle(seconds=1)
    assert len({m["id"] for m in site.hook.messages}) == 1


def test_an_alert_that_is_switched_off_is_over(site: Site):
    site.alerts({"name": "full", "kind": "disk_low", "free_gb": 1e9})
    assert site.settle() == [("firing", "disk")]
    site.alerts({"name": "full", "kind": "disk_low", "free_gb": 1e9, "enabled": False})
    assert site.settle() == [("firing", "disk"), ("resolved", "disk")]


def test_events_are_told_each_and_lost_by_no_restart(site: Site, monkeypatch: pytest.MonkeyPatch):
    events = ["study_delivered", "delivery_dead", "instance_held"]
    site.alerts({"name": "tell", "kind": "event", "events": events})
    receive(site.road.spool, [("1.2.1", instance("1.2.1", patient="P-CANARY"))])
    receive(site.road.spool, [("1.2.2", b"no DICOM at all")])
    site.road.route()
    site.road.deliver()
    site.restart()  # what happened while nobody watched
    monkeypatch.setattr(Sink, "answer", lambda name, one: Receipt(one.index, Outcome.REFUSED, "0xC000", "no"))
    receive(site.road.spool, [("1.2.3", instance("1.2.3"))])
    site.road.route()
    site.road.deliver()
    told = site.settle()
    assert sorted(told) == [("event", "delivery_dead"), ("event", "instance_held"), ("event", "study_delivered")]
    delivered = next(m for m in site.hook.messages if m["subject"] == "study_delivered")
    assert (delivered["details"]["studies"], delivered["details"]["instances"]) == (["1.2.826.9"], 1)
    site.restart()
    assert len(site.settle()) == 3
    assert "CANARY" not in str(site.hook.posts)


def test_a_refused_message_holds_up_no_other(site: Site):
    site.alerts({"name": "full", "kind": "disk_low", "free_gb": 1e9}, {"name": "held", "kind": "held"})
    site.hook.answer = 410
    site.look()
    site.look(seconds=1)
    wait_until(site._all_sent, what="the outbox")
    site.hook.answer = 200
    receive(site.road.spool, [("1.2.2", b"no DICOM at all")])
    site.road.route()
    assert site.settle() == [("firing", "held")]


def test_a_channel_that_is_gone_keeps_nothing(site: Site):
    site.alerts({"name": "full", "kind": "disk_low", "free_gb": 1e9})
    site.hook.answer = 503
    site.look()
    site.look(seconds=1)
    site.context.store.save(site.road.configuration.document(), author="test")
    wait_until(lambda: (site.look(seconds=1), not site.watch.outbox.waiting())[1], what="the outbox")


def test_an_alert_that_fails_by_itself_stops_no_other_and_is_not_over(site: Site, monkeypatch: pytest.MonkeyPatch):
    site.alerts({"name": "full", "kind": "disk_low", "free_gb": 1e9}, {"name": "held", "kind": "held"})
    assert site.settle() == [("firing", "disk")]

    def broken(*_: object) -> list[object]:
        raise ZeroDivisionError

    monkeypatch.setattr(DiskLow, "look", broken)
    receive(site.road.spool, [("1.2.2", b"no DICOM at all")])
    site.road.route()
    assert site.settle() == [("firing", "disk"), ("firing", "held")]


def test_events_for_a_channel_that_is_away_are_bounded_and_alerts_are_not(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outbox, "MOST_EVENTS", 2)
    for n in range(4):
        site.watch.outbox.add("hook", {"id": f"e{n}", "state": "event"})
    site.watch.outbox.add("hook", {"id": "a", "state": "firing"})
    assert site.watch.outbox.waiting() == {"hook": 3}
