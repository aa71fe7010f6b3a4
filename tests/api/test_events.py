"""Live events over a real connection: what happens comes, once; who comes back misses nothing; sign-out ends it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
import pytest

from engine.api import events as module
from engine.settings import Settings
from tests.api.site import PASSWORD, Site
from tests.flow.road import Road, Sink, instance, receive
from tests.peers import wait_until

CONFIGURATION: dict[str, Any] = {
    "destinations": [{"name": "pacs", "kind": "test_sink"}],
    "rulesets": [{"name": "main", "priority": 1, "rules": [{"name": "all", "priority": 1, "destinations": ["pacs"]}]}],
}

pytestmark = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)


class Listener:
    """One stream, read in a thread."""

    def __init__(self, client: httpx.Client, last: str = "") -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.status = 0
        self.over = False
        self.comments = 0
        self._answer: httpx.Response | None = None
        headers = {"Last-Event-ID": last} if last else {}
        self._thread = threading.Thread(target=self._read, args=(client, headers), daemon=True)
        self._thread.start()
        wait_until(lambda: self.status, what="an answer")

    def _read(self, client: httpx.Client, headers: dict[str, str]) -> None:
        fields: dict[str, str] = {}
        try:
            with client.stream("GET", "/events", headers=headers, timeout=60) as answer:
                self._answer = answer
                self.status = answer.status_code
                for line in answer.iter_lines():
                    self.comments += line.startswith(":")
                    name, _, value = line.partition(": ")
                    if line and name:
                        fields[name] = value
                    elif not line and "event" in fields:
                        self.events.append((fields["id"], fields["event"], orjson.loads(fields["data"])))
                        fields = {}
        except (httpx.HTTPError, httpx.StreamError, OSError):
            pass
        self.over = True

    def names(self) -> list[str]:
        return [name for _, name, _ in self.events]

    def wait_for(self, name: str) -> dict[str, Any]:
        wait_until(lambda: name in self.names(), what=f"{name} among {self.names()}")
        return next(data for _, n, data in self.events if n == name)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.3)


@pytest.fixture
def road(site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Road]:
    monkeypatch.setattr(Sink, "given", [])
    monkeypatch.setattr(Sink, "answer", None)
    site.store.save(CONFIGURATION, author="test")
    yield Road(settings.home, CONFIGURATION)
    site.parts.events.stop()


@contextmanager
def listening(site: Site, username: str = "ada", last: str = "") -> Iterator[Listener]:
    with site.signed_in(username, "User") as client:
        yield Listener(client, last)


def deliver(road: Road, uid: str) -> None:
    receive(road.spool, [(uid, instance(uid, patient="P-CANARY"))])
    road.route()
    road.deliver()


def test_what_happens_comes_and_nothing_of_a_patient(site: Site, road: Road) -> None:
    with listening(site) as one, listening(site, "eve") as other:
        assert one.wait_for("hello")["revision"] == 1
        other.wait_for("hello")
        deliver(road, "1.2.1")
        for listener in (one, other):
            assert listener.wait_for("received")["sources"] == {"modalities": 1}
            assert listener.wait_for("delivered")["destinations"] == {"pacs": 1}
            assert listener.wait_for("study-delivered")["studies"] == ["1.2.826.9"]
        document = site.store.document()[1]
        document["destinations"][0]["enabled"] = False
        site.store.save(document, author="test")
        assert one.wait_for("revision") == {"revision": 2}
        assert one.wait_for("destination") == {"name": "pacs", "enabled": False, "state": "paused"}
        assert len({number for number, _, _ in one.events[1:]}) == len(one.events) - 1
        assert "CANARY" not in str(one.events)
        wait_until(lambda: one.comments >= 3, what="heartbeats")


def test_who_comes_back_gets_what_was_missed(site: Site, road: Road) -> None:
    with listening(site) as first, listening(site, "eve") as witness:
        last = first.wait_for("hello") and first.events[0][0]
        witness.wait_for("hello")
        deliver(road, "1.2.1")
        witness.wait_for("study-delivered")
        with listening(site, "bob", last) as back:
            back.wait_for("study-delivered")
            assert "reset" not in back.names()
            assert [e for e in back.events if e[1] != "bye"] == witness.events[1 : len(back.events) + 1]
        with listening(site, "bob", "0000-7") as stranger:
            stranger.wait_for("reset")


def test_sign_out_ends_it(site: Site, road: Road) -> None:
    tokens = site.tokens("ada")
    client = site.anonymous(Authorization=f"Bearer {tokens['access_token']}")
    listener = Listener(client)
    listener.wait_for("hello")
    with site.anonymous(Authorization=f"Bearer {tokens['access_token']}") as other:
        other.post("/auth/logout", json={"refresh_token": tokens["refresh_token"]}).raise_for_status()
    listener.wait_for("bye")
    wait_until(lambda: listener.over, what="the end of the stream")


def test_listeners_are_bounded_and_counted_out_when_they_leave(site: Site, road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_EACH", 2)
    monkeypatch.setattr(module, "MOST", 3)
    with listening(site) as one, listening(site) as two:
        assert (one.status, two.status) == (200, 200)
        with listening(site) as three:
            assert three.status == 429
        with listening(site, "eve") as four, listening(site, "bob") as five:
            assert (four.status, five.status) == (200, 503)
    site.person("gone")
    with site.signed_in("gone") as client:
        for _ in range(4):
            with client.stream("GET", "/events") as answer:
                wait_until(lambda: site.parts.events._readers.total() <= 3, what="the others to be counted out")
                assert answer.status_code in (200, 503, 429)
            wait_until(lambda: not site.parts.events._readers["gone"], what="this one to be counted out")


def test_it_is_not_for_strangers(site: Site) -> None:
    with site.anonymous() as client:
        assert client.get("/events").status_code == 401
    assert PASSWORD
