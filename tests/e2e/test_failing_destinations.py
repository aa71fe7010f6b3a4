"""Destinations that fail, with real peers: one away, one out of resources each third time, one that refuses each third."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from engine.demo.studies import synthetic, write
from tests.peers import free_port, storescu, wait_until
from tests.running import Axiom, running_axiom

CONFIGURATION = """
sources:
- {{name: modalities, kind: dimse_listener, ae_title: AXIOM, port: {listener}}}
destinations:
- {{name: away, kind: dimse, host: 127.0.0.1, port: {away}, ae_title: AWAY, retry: {{first_seconds: 0.2, longest_seconds: 0.5}}}}
- {{name: full, kind: dimse, host: 127.0.0.1, port: {full}, ae_title: FULL, retry: {{first_seconds: 0.2, longest_seconds: 0.5}}}}
- {{name: strict, kind: dimse, host: 127.0.0.1, port: {strict}, ae_title: STRICT}}
- {{name: folder, kind: filesystem, path: {home}/folder, template: "{{SOPInstanceUID}}.dcm"}}
rulesets:
- {{name: main, priority: 1, rules: [{{name: all, priority: 1, destinations: [away, full, strict, folder]}}]}}
"""


class Peer:
    """A storage SCP that answers as it is told and keeps the UIDs of what it took."""

    def __init__(self, port: int, answer: Callable[[int], int]) -> None:
        self.port, self.answer = port, answer
        self.taken: Counter[str] = Counter()
        self.asked = 0
        self._lock = threading.Lock()

    def store(self, event: Any) -> int:
        with self._lock:
            self.asked += 1
            status = self.answer(self.asked)
            if status == 0:
                self.taken[str(event.request.AffectedSOPInstanceUID)] += 1
            return status

    @contextmanager
    def serving(self) -> Iterator[None]:
        ae = AE()
        ae.maximum_pdu_size = 0
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
        ae.add_supported_context(Verification)
        server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self.store)])
        try:
            yield
        finally:
            assert server is not None
            server.shutdown()


@pytest.fixture
def axiom(tmp_path: Path) -> Iterator[Axiom]:
    with running_axiom(tmp_path / "home") as axiom:
        yield axiom


def test_each_failure_is_handled_shown_in_words_and_mended_by_a_click(axiom: Axiom, tmp_path: Path) -> None:
    mended = threading.Event()
    away = Peer(free_port(), lambda n: 0)
    full = Peer(free_port(), lambda n: 0xA700 if n % 3 == 0 else 0)
    strict = Peer(free_port(), lambda n: 0xC000 if n % 3 == 0 and not mended.is_set() else 0)
    axiom.apply(
        CONFIGURATION.format(
            listener=axiom.dimse_port, away=away.port, full=full.port, strict=strict.port, home=axiom.home
        )
    )
    wait_until(lambda: axiom.json("status")["listeners"][0]["state"] == "listening", 30, "the listener")
    files = write(synthetic("MR", 1, 30, rows=32), tmp_path / "in")
    uids = {f.stem for f in files}
    with full.serving(), strict.serving():
        storescu(files, axiom.dimse_port)
        folder = axiom.home / "folder"
        wait_until(lambda: folder.is_dir() and {f.stem for f in folder.glob("*.dcm")} == uids, 20, "the folder")
        wait_until(lambda: set(full.taken) == uids, 40, "A700 to be tried again until all are taken")
        dead = wait_until(lambda: axiom.json("dead", "list"), 20, "dead letters")
        assert [(d["destination"], d["refused"], d["confirmed"], d["last_code"]) for d in dead] == [
            ("strict", 10, 20, "0xC000")
        ]
        assert "annot understand" in dead[0]["last_words"], "PS3.4's own words for Cxxx"

        def only_away_waits() -> bool:  # what a peer has taken is booked a moment later
            shown = {d["name"]: d for d in axiom.json("status")["destinations"]}
            busy = {name: d["waiting"] + d["sending"] for name, d in shown.items()}
            return busy == {"away": 1, "full": 0, "strict": 0, "folder": 0} and "Nothing listens" in shown["away"]["last_error"]

        wait_until(only_away_waits, what="the one that is away to be tried still, and no other")
        mended.set()
        retry_by_click(axiom, [d["id"] for d in dead])
        wait_until(lambda: set(strict.taken) == uids, 20, "the dead letters to be replayed")
        with away.serving():
            wait_until(lambda: set(away.taken) == uids, 20, "the destination that was away")
        wait_until(lambda: axiom.json("status")["waiting"] == axiom.json("status")["dead"] == 0, 20, "nothing left")
    for peer in (away, full, strict):
        assert set(peer.taken.values()) == {1}, "what was confirmed is not sent again"
    assert not axiom.json("dead", "list")


def retry_by_click(axiom: Axiom, ids: list[str]) -> None:
    """What the Deliveries page's button does: POST /deliveries/retry as a signed-in person."""
    with httpx.Client(base_url=f"{axiom.api}/api/v1") as client:
        signed_in = client.post("/auth/login", json={"username": "admin", "password": axiom.password}).json()
        client.headers["Authorization"] = f"Bearer {signed_in['access_token']}"
        new = "Another-password-4711"
        changed = client.post("/auth/password", json={"old_password": axiom.password, "new_password": new})
        assert changed.is_success, changed.text
        signed_in = client.post("/auth/login", json={"username": "admin", "password": new}).json()
        client.headers["Authorization"] = f"Bearer {signed_in['access_token']}"
        answer = client.post("/deliveries/retry", json={"ids": ids})
        assert answer.is_success, answer.text
        assert answer.json()["done"] == ids
