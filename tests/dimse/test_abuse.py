"""Peers that break the rules: their association ends, nothing half is kept, others are not disturbed."""

from __future__ import annotations

import socket
import struct
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.dicom.network.command import C_STORE_RSP, Command
from engine.dicom.network.messages import COMMAND, DATA_SET, LAST, pdv_head
from engine.dicom.network.pdu import MAX_ASSOCIATE
from engine.dicom.network.wire import ConnectionLost
from tests.dimse.support import Caller, Running, running
from tests.peers import wait_until

ABORT = 7


def others_are_well(listener: Running) -> None:
    with Caller(listener.port, calling="GOOD") as caller:
        assert caller.store(uid="1.9.9").status == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + bytes(60),  # a TLS hello
        b"\x04\0\0\0\0\4abcd",  # P-DATA before an association
        struct.pack(">BBI", 1, 0, 0xFFFFFFFF),
        struct.pack(">BBI", 1, 0, MAX_ASSOCIATE + 1),
        struct.pack(">BBI", 1, 0, 3) + b"abc",
        bytes(1000),
    ],
)
def test_what_does_not_begin_as_it_should_is_aborted(tmp_path: Path, sent: bytes) -> None:
    with running(tmp_path / "in") as listener, socket.create_connection(("127.0.0.1", listener.port), 10) as peer:
        peer.sendall(sent)
        answer = peer.recv(100)
        assert answer[0] == ABORT
        assert peer.recv(1) == b""
        others_are_well(listener)
        assert "aborted" in str(listener.status["last_error"])


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (struct.pack(">BBI", 4, 0, 0x7FFFFFFF), 6),  # far more than agreed
        (struct.pack(">BBI", 4, 0, 0), 6),
        (struct.pack(">BBIIBB", 4, 0, 6, 100, 1, 2), 6),  # a PDV longer than its PDU
        (struct.pack(">BBIIBB", 4, 0, 6, 0, 1, 2), 6),
        (struct.pack(">BBI", 0x99, 0, 0), 1),
        (struct.pack(">BBII", 2, 0, 4, 0), 2),
        (struct.pack(">BBII", 6, 0, 4, 0), 2),
        (pdv_head(1, DATA_SET | LAST, 2) + b"xx", 6),  # a data set without a command
        (pdv_head(1, COMMAND | LAST, 20) + b"\xff" * 20, 6),  # no command set
        (pdv_head(1, COMMAND | LAST, 0), 6),
        (b"".join(pdv_head(1, COMMAND, 16000) + bytes(16000) for _ in range(5)), 6),  # a command without an end
        (pdv_head(1, COMMAND, 2) + b"xx" + pdv_head(3, COMMAND | LAST, 2) + b"xx", 6),
    ],
)
def test_broken_pdus_are_aborted_with_their_reason(tmp_path: Path, sent: bytes, reason: int) -> None:
    with running(tmp_path / "in") as listener, Caller(listener.port) as caller:
        assert caller.store().status == 0
        caller.wire.send(sent)
        kind, body = caller.ended()
        assert (kind, body[2:]) == (ABORT, bytes((2, reason)))
        wait_until(lambda: listener.intake.all_sealed)
        assert [b.count for b in listener.intake.batches] == [1], "what was answered stays"
        others_are_well(listener)


@pytest.mark.parametrize(
    "then",
    [
        pdv_head(1, COMMAND | LAST, 2) + b"xx",
        pdv_head(3, DATA_SET | LAST, 2) + b"xx",
        struct.pack(">BBI", 4, 0, 0xFFFFFF),
        b"\x05\0\0\0\0\4\0\0\0\0",
        b"\x07\0\0\0\0\4\0\0\0\0",
    ],
)
def test_what_breaks_off_within_a_data_set_is_thrown_away(tmp_path: Path, then: bytes) -> None:
    with running(tmp_path / "in") as listener, Caller(listener.port, calling="BAD") as caller:
        caller.begin()
        caller.data(b"x" * 5000, last=False)
        caller.wire.send(then)
        wait_until(lambda: listener.intake.discarded == 1)
        wait_until(lambda: listener.status["associations"] == 0)
        assert listener.intake.files == []
        assert list(listener.intake.folder.iterdir()) == []
        others_are_well(listener)


@pytest.mark.parametrize("cut_at", [3, 10, 2000])
def test_closing_within_a_pdu(tmp_path: Path, cut_at: int) -> None:
    pdu = pdv_head(1, DATA_SET, 5000) + bytes(5000)
    with running(tmp_path / "in") as listener:
        with Caller(listener.port) as caller:
            caller.begin()
            caller.wire.send(pdu + pdu[:cut_at])
        wait_until(lambda: listener.intake.discarded == 1)
        assert listener.intake.files == []
        others_are_well(listener)


def test_single_bytes_do_not_hold_an_association(tmp_path: Path) -> None:
    with running(tmp_path / "in", network_timeout=0.5) as listener, Caller(listener.port) as caller:
        caller.begin()
        began = time.monotonic()
        caller.wire.send(pdv_head(1, DATA_SET, 10_000))
        with pytest.raises(ConnectionLost):
            while time.monotonic() - began < 60:
                caller.wire.send(b"x")
                threading.Event().wait(0.02)
        wait_until(lambda: listener.intake.discarded == 1)


def test_single_bytes_do_not_hold_a_connection(tmp_path: Path) -> None:
    with running(tmp_path / "in", network_timeout=0.3) as listener:
        with socket.create_connection(("127.0.0.1", listener.port), 10) as peer:
            peer.sendall(b"\x01\0")
            assert peer.recv(10) == b""
        others_are_well(listener)


def test_many_connections_that_say_nothing_keep_nobody_out(tmp_path: Path) -> None:
    with running(tmp_path / "in", max_associations=2) as listener:
        silent = [socket.create_connection(("127.0.0.1", listener.port), 10) for _ in range(140)]
        try:
            others_are_well(listener)
            assert silent[0].recv(1) == b"", "the one that has waited longest made room"
            assert listener.status["associations"] == 0 or listener.status["refused"] == 0
        finally:
            for one in silent:
                one.close()


def test_the_peers_abort_ends_it_and_keeps_what_was_answered(tmp_path: Path) -> None:
    with running(tmp_path / "in") as listener, Caller(listener.port) as caller:
        assert caller.store().status == 0
        caller.wire.send(b"\x07\0\0\0\0\4\0\0\2\0")
        wait_until(lambda: listener.intake.all_sealed)
        assert listener.status["associations"] == 0


def test_a_response_that_nobody_asked_for_is_aborted(tmp_path: Path) -> None:
    with running(tmp_path / "in") as listener, Caller(listener.port) as caller:
        caller.messages.send(1, Command(C_STORE_RSP, responded_to=1, status=0))
        assert caller.ended()[0] == ABORT


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with running(tmp_path_factory.mktemp("fuzz") / "in") as listener:
        yield listener


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=200), st.booleans())
def test_whatever_comes_the_listener_lives(lasting: Running, sent: bytes, associated: bool) -> None:
    before = len(lasting.intake.files)
    if associated:
        with Caller(lasting.port) as caller:
            caller.wire.send(sent)
    else:
        with socket.create_connection(("127.0.0.1", lasting.port), 10) as peer:
            peer.sendall(sent)
    others_are_well(lasting)
    assert len(lasting.intake.files) == before + 1
    assert lasting.thread.is_alive()
