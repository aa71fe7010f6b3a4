"""What the listener refuses, and that the sender is told so: never success for what was not stored."""

from __future__ import annotations

import errno
import logging
import socket
from pathlib import Path

import pytest
from pydantic import ValidationError

from engine.dicom.network.command import Command
from engine.dicom.network.wire import peer_ip
from engine.errors import OutOfSpace, Refuse, Retry
from engine.model import Association
from engine.sources.dimse_listener import DimseListener
from tests.dimse.support import CT, EXPLICIT, IMPLICIT, Caller, FolderBatch, FolderIntake, running
from tests.peers import dcmtk, echoscu, free_port, wait_until


def test_calling_ae_titles(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(tmp_path / "in", calling_ae_titles=["CT01", "MR01"]) as listener:
        assert echoscu(listener.port, calling="MR01")
        done = dcmtk("echoscu", "-v", "-aet", "EVIL", "127.0.0.1", listener.port, check=False)
        assert done.returncode != 0
        assert "Calling AE Title Not Recognized" in done.stderr + done.stdout
        assert listener.status["refused"] == 1
        assert listener.status["last_error"] == (
            "refused an association from EVIL at 127.0.0.1 to ANY-SCP: this calling AE title is not allowed"
        )
        assert str(listener.status["last_error"]) in caplog.text


def test_called_ae_title(tmp_path: Path) -> None:
    with running(tmp_path / "in", require_called_ae=True, ae_title="AXIOM") as listener:
        assert echoscu(listener.port, called="AXIOM")
        with Caller(listener.port, called="WRONG") as caller:
            assert caller.rejection == (1, 1, 7)


@pytest.mark.parametrize(
    ("ranges", "let_in"),
    [(["127.0.0.0/8"], True), (["::1", "127.0.0.1"], True), (["10.0.0.0/8", "fd00::/8"], False)],
)
def test_ip_ranges(tmp_path: Path, ranges: list[str], let_in: bool) -> None:
    with running(tmp_path / "in", ip_ranges=ranges) as listener, Caller(listener.port) as caller:
        assert caller.rejection == (() if let_in else (1, 1, 1))


def test_ipv6_listens_to_ipv4_too_and_says_so_in_ipv4(tmp_path: Path) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with running(tmp_path / "in", host="::", ip_ranges=["127.0.0.1"]) as listener:
        with Caller(listener.port) as caller:
            assert caller.store().status == 0
        assert listener.intake.batches[0].association.source_ip == "127.0.0.1"
        assert str(listener.status["address"]) == f"[::]:{listener.port}"


def test_peer_ip() -> None:
    assert peer_ip("::ffff:10.1.2.3") == "10.1.2.3"
    assert peer_ip("fe80::1%eth0") == "fe80::1"


def test_one_association_too_many(tmp_path: Path) -> None:
    with running(tmp_path / "in", max_associations=2) as listener:
        with Caller(listener.port) as one, Caller(listener.port) as two, Caller(listener.port) as three:
            assert three.rejection == (2, 3, 2)
            assert "2 associations are open already" in str(listener.status["last_error"])
            assert one.store(uid="1.2.1").status == two.store(uid="1.2.2").status == 0
        wait_until(lambda: listener.status["associations"] == 0)
        for _ in range(20):  # a place is free as soon as the peer hears that its association is over
            assert echoscu(listener.port)


def test_a_released_association_makes_room_before_the_peer_hears_of_it(tmp_path: Path) -> None:
    with running(tmp_path / "in", max_associations=1) as listener:
        for i in range(30):
            with Caller(listener.port) as caller:
                assert caller.rejection == ()
                assert caller.store(uid=f"1.2.{i}").status == 0
                caller.wire.send(b"\x05\0\0\0\0\4\0\0\0\0")
                assert caller.ended()[0] == 6
        assert listener.status["refused"] == 0


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"uid": ""}, 0x0117),
        ({"uid": "1.2.x"}, 0x0117),
        ({"uid": "1" * 65}, 0x0117),
        ({"uid": "../../etc"}, 0x0117),
        ({"sop_class": ""}, 0x0122),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.4"}, 0x0122),
        ({"sop_class": "1.2.840.10008.1.1"}, 0x0122),
        ({"context": 9}, 0x0122),
        ({"data": b""}, 0xC000),
    ],
)
def test_an_instance_that_is_not_right(tmp_path: Path, fields: dict[str, object], status: int) -> None:
    with running(tmp_path / "in") as listener, Caller(listener.port) as caller:
        response = caller.store(**fields)  # type: ignore[arg-type]
        assert response.status == status
        assert response.comment
        assert response.responded_to == 7
        assert caller.store(uid="1.2.4").status == 0, "the association goes on"
        assert len(listener.intake.files) == 1
        assert listener.status["instances"] == 1


def test_no_data_set_at_all(tmp_path: Path) -> None:
    with running(tmp_path / "in") as listener, Caller(listener.port) as caller:
        caller.begin(has_data_set=False)
        assert caller.response().status == 0xC000
        assert caller.store().status == 0


def test_unknown_commands_are_not_recognized(tmp_path: Path) -> None:
    with running(tmp_path / "in") as listener, Caller(listener.port) as caller:
        caller.messages.send(1, Command(0x0020, 4, has_data_set=True, sop_class_uid=CT))  # C-FIND-RQ
        caller.data(b"\x08\0\x05\0CS\0\0")
        answer = caller.response()
        assert (answer.field, answer.responded_to, answer.status) == (0x8020, 4, 0x0211)
        assert caller.store().status == 0


def full(batch: FolderBatch) -> None:
    raise OutOfSpace("The spool has 3 MB free, below its watermark.")


def refused(batch: FolderBatch) -> None:
    raise Refuse("not this one", 0xC123)


def broken(batch: FolderBatch) -> None:
    raise RuntimeError("/secret/path")


def no_room(batch: FolderBatch) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("fault", "status", "comment"),
    [
        (full, 0xA700, "The spool has 3 MB free, below its watermark."),
        (no_room, 0xA700, "no space is left on the disk of the spool"),
        (refused, 0xC123, "not this one"),
        (broken, 0x0110, "could not be stored: RuntimeError"),
    ],
)
@pytest.mark.parametrize("step", ["before_receive", "before_commit"])
def test_what_cannot_be_stored_is_a_failure_and_the_association_goes_on(
    tmp_path: Path, fault: object, status: int, comment: str, step: str
) -> None:
    with running(tmp_path / "in") as listener, Caller(listener.port) as caller:
        setattr(listener.intake, step, fault)
        caller.begin(uid="1.2.1")
        for _ in range(20):
            caller.data(b"x" * 10_000, last=False)
        caller.data(b"x")
        response = caller.response()
        assert (response.status, response.comment) == (status, comment)
        assert listener.intake.files == []
        assert listener.intake.discarded == (step == "before_commit")
        assert comment in str(listener.status["last_error"])
        setattr(listener.intake, step, lambda batch: None)
        assert caller.store(uid="1.2.2").status == 0
        assert listener.status["instances"] == 1


def test_out_of_space_when_the_batch_would_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(self: FolderIntake, association: Association) -> FolderBatch:
        raise OutOfSpace("full")

    with running(tmp_path / "in") as listener:
        with monkeypatch.context() as patch, Caller(listener.port) as caller:
            patch.setattr(FolderIntake, "open", no)
            assert caller.store().status == 0xA700
        with Caller(listener.port) as caller:
            assert caller.store().status == 0


def test_no_patient_data_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO),
        running(tmp_path / "in") as listener,
        Caller(listener.port) as caller,
    ):
        assert caller.store(uid="1.2.777").status == 0
        listener.intake.before_receive = broken
        assert caller.store(uid="1.2.778").status == 0x0110
    assert "1.2.77" not in caplog.text
    assert "CALLER at 127.0.0.1" in caplog.text


def test_transfer_syntaxes_can_be_limited(tmp_path: Path) -> None:
    pairs = [(CT, "1.2.840.10008.1.2.4.50"), (CT, EXPLICIT)]
    allowed = [EXPLICIT, IMPLICIT]
    with running(tmp_path / "in", transfer_syntaxes=allowed) as listener, Caller(listener.port, pairs) as caller:
        assert caller.answer is not None
        assert [r.result for r in caller.answer.results] == [4, 0]


def test_a_port_in_use_is_said_and_tried_again(tmp_path: Path) -> None:
    with running(tmp_path / "in") as listener:
        other = DimseListener(name="other", port=listener.port)
        with pytest.raises(Retry, match=f"Port {listener.port} on 127.0.0.1 is in use"):
            other.run(listener.intake, listener.stop, {})  # type: ignore[arg-type]
        address, port = other.check()
        assert (address.ok, port.ok) == (True, True), "a listener of ours gives the port up when it is changed"


def test_check() -> None:
    assert [tick.ok for tick in DimseListener(name="in", port=free_port()).check()] == [True, True]
    ticks = DimseListener(name="in", host="no-such-host.invalid", port=free_port()).check()
    assert [tick.ok for tick in ticks] == [False, None]
    ticks = DimseListener(name="in", host="192.0.2.1", port=free_port()).check()
    assert [tick.ok for tick in ticks] == [True, False]
    assert "no address 192.0.2.1" in ticks[1].words


def test_a_bad_range_is_refused_in_words() -> None:
    with pytest.raises(ValidationError, match=r"Write an address or a range like 10\.1\.0\.0/16"):
        DimseListener(name="in", ip_ranges=["10.1.0.1/16"])
