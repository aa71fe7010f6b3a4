"""What each kind of alert finds, and what it does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.alerts.base import Alert, CertificateFact, DestinationFact, Facts, ListenerFact, SourceFact
from engine.component import kinds
from engine.configuration import load_configuration
from engine.errors import Invalid
from engine.rules.schedule import Schedule
from engine.store.usage import used_by

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)  # a Tuesday
OFFICE = Schedule.model_validate(
    {"name": "office", "ranges": [{"days": ["mon", "tue", "wed", "thu", "fri"], "start": "08:00", "end": "18:00"}]}
)


def alert(kind: str, **fields: Any) -> Alert:
    found = kinds("alert")[kind].model_validate({"name": "a", **fields})
    assert isinstance(found, Alert)
    return found


def subjects(one: Alert, **facts: Any) -> list[str]:
    usual = {"now": NOW, "since": NOW - timedelta(days=30), "free_bytes": 2**40, "schedules": {"office": OFFICE}}
    given = Facts(**{**usual, **facts})  # type: ignore[arg-type]
    return [f.subject for f in one.look(given)]


def ago(**time: float) -> datetime:
    return NOW - timedelta(**time)


def test_a_failing_destination():
    def found(**more: Any) -> list[str]:
        fact = {"name": "pacs", "enabled": True, "waiting": 2, "oldest_seconds": 900.0, "failing_since": ago(minutes=11)} | more
        return subjects(alert("destination_failing", minutes=10), destinations=[DestinationFact(**fact)])

    assert found() == ["destinations/pacs"]
    assert found(failing_since=ago(minutes=9)) == []
    assert found(failing_since=None) == []
    assert found(waiting=0) == [], "somebody gave up what waited"
    assert found(enabled=False) == []
    other = DestinationFact("research", True, 1, 9e9, ago(days=1))
    assert subjects(alert("destination_failing", destinations=["pacs"]), destinations=[other]) == []


def test_a_backlog_by_number_or_by_age():
    many, old = DestinationFact("many", True, 11, 1.0), DestinationFact("old", False, 1, 3601.0)
    facts = {"destinations": [many, old, DestinationFact("well", True, 0, 0.0)]}
    assert subjects(alert("backlog", deliveries=10, minutes=None), **facts) == ["destinations/many"]
    assert subjects(alert("backlog", minutes=60), **facts) == ["destinations/old"]
    with pytest.raises(ValueError, match="say how many"):
        alert("backlog", minutes=None)


@pytest.mark.parametrize(
    ("received", "now", "silent"),
    [
        (ago(hours=1), NOW, False),
        (ago(hours=2), NOW, True),  # since 8:00, when the office opens
        (ago(hours=15), NOW, True),  # since yesterday evening: two hours of today count
        (ago(hours=15), NOW - timedelta(minutes=30), False),  # 9:30: only an hour and a half
        (datetime(2026, 11, 20, 17, 0, tzinfo=UTC), datetime(2026, 11, 23, 8, 30, tzinfo=UTC), False),  # over a weekend: 1.5 h
        (datetime(2026, 11, 20, 17, 0, tzinfo=UTC), datetime(2026, 11, 23, 9, 5, tzinfo=UTC), True),
        (ago(days=1), NOW.replace(hour=20), False),  # nobody is there to miss anything
        (None, NOW, True),
    ],
)
def test_a_silent_source_by_working_hours(received: datetime | None, now: datetime, silent: bool):
    one = alert("nothing_received", hours=2, schedule="office")
    assert bool(subjects(one, now=now, sources=[SourceFact("ct", received)])) is silent


def test_a_silent_source_around_the_clock():
    one = alert("nothing_received", hours=2)
    facts = {"sources": [SourceFact("ct", ago(hours=3)), SourceFact("mr", ago(hours=1))]}
    assert subjects(one, **facts) == ["sources/ct"]
    assert subjects(one, since=ago(minutes=5), sources=[SourceFact("new", None)]) == []


def test_disk_certificates_held_and_listeners():
    assert subjects(alert("disk_low", free_gb=20), free_bytes=19 * 2**30) == ["disk"]
    assert subjects(alert("disk_low", free_gb=20), free_bytes=21 * 2**30) == []
    ends = [CertificateFact("sources/a", f"CN={days}", NOW + timedelta(days=days)) for days in (-1, 20, 22)]
    assert subjects(alert("certificate_expiring", days=21), certificates=ends) == ["sources/a/CN=-1", "sources/a/CN=20"]
    assert subjects(alert("held", images=2), held=3) == ["held"]
    assert subjects(alert("held", images=3), held=3) == []
    listeners = [ListenerFact("ct", False, "Port 104 is taken."), ListenerFact("mr", True)]
    assert subjects(alert("listener_down"), listeners=listeners) == ["sources/ct"]
    assert subjects(alert("listener_down", sources=["mr"]), listeners=listeners) == []


def test_events_are_heard_by_kind_destination_and_source():
    delivery = {
        "t": "delivery", "id": "b.0/1/done", "delivery": "b.0", "batch": "b", "destination": "pacs", "rule": "main/ct",
        "instances": 3, "outcome": "done", "studies": ["1.2"], "seconds": 4.0, "code": "", "refused": 0,
    }  # fmt: skip
    heard = alert("event", events=["study_delivered"]).hear(delivery)
    assert heard is not None
    assert (heard.subject, heard.details["studies"]) == ("study_delivered", ["1.2"])
    assert alert("event", events=["study_delivered"], destinations=["other"]).hear(delivery) is None
    assert alert("event", events=["delivery_dead"]).hear(delivery) is None
    assert alert("event", events=["delivery_dead"]).hear({**delivery, "outcome": "retry"}) is None
    dead = alert("event").hear({**delivery, "outcome": "dead", "code": "0xC000", "refused": 2})
    assert dead is not None
    assert "0xC000" in dead.words
    routed = {"t": "routed", "id": "b/routed", "batch": "b", "source": "ct", "held": 2, "revision": 3}
    assert alert("event", events=["instance_held"]).hear(routed) is not None
    assert alert("event", events=["instance_held"]).hear({**routed, "held": 0}) is None
    assert alert("event", events=["instance_held"], sources=["mr"]).hear(routed) is None


def test_what_an_alert_names_must_be_there():
    document = {"alerts": [{"name": "a", "kind": "nothing_received", "channels": ["x"], "sources": ["y"], "schedule": "z"}]}
    with pytest.raises(Invalid) as caught:
        load_configuration(document)
    assert [p.loc[:3] for p in caught.value.problems] == [
        ("alerts", "a", "channels"), ("alerts", "a", "sources"), ("alerts", "a", "schedule"),
    ]  # fmt: skip


def test_a_channel_that_an_alert_names_is_in_use():
    document = {"alerts": [{"name": "a", "kind": "nothing_received", "channels": ["x"], "sources": ["y"], "schedule": "z"}]}
    for family, name in (("channels", "x"), ("sources", "y"), ("schedules", "z")):
        assert used_by(document, family, name) == ["alerts/a"]
    assert used_by(document, "channels", "y") == []
