"""Receiving from real senders: everything that they send arrives, byte for byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pynetdicom._config
import pytest
from pydantic import ValidationError
from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, build_role
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from engine.dicom.file_meta import encode_head
from engine.dicom.network.command import C_ECHO_RQ, C_STORE_RQ, Command, encode_command
from engine.dicom.network.messages import COMMAND, DATA_SET, LAST, pdv_head
from engine.dicom.network.wire import ConnectionLost
from engine.sources.dimse_listener import DimseListener
from tests.dimse.support import (
    CT,
    EXPLICIT,
    IMPLICIT,
    Caller,
    Running,
    data_set_of,
    part10,
    pydicom_files,
    running,
)
from tests.peers import dcmdump, dcmtk, echoscu, storescp, storescu, wait_until

PRIVATE_CLASS = "1.3.12.2.1107.5.9.1"
PRIVATE_SYNTAX = "1.2.840.113619.5.2"


def by_uid(files: list[Path]) -> dict[str, list[bytes]]:
    out: dict[str, list[bytes]] = {}
    for file in files:
        out.setdefault(part10(file).sop_instance_uid, []).append(data_set_of(file))
    return {uid: sorted(sets) for uid, sets in out.items()}


def send_raw(port: int, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Send with pynetdicom, the data sets' bytes as they stand in the files; gives the statuses."""
    monkeypatch.setattr(pynetdicom._config, "STORE_SEND_CHUNKED_DATASET", True)
    ae = AE("PYNETDICOM")
    for pair in dict.fromkeys((part10(f).sop_class_uid, part10(f).transfer_syntax_uid) for f in files):
        ae.add_requested_context(pair[0], [pair[1]])
    association = ae.associate("127.0.0.1", port, ae_title="AXIOM")
    assert association.is_established
    with held_reactor(association):
        statuses = [association.send_c_store(str(f)).Status for f in files]
    association.release()
    return statuses


@contextlib.contextmanager
def held_reactor(association: Association) -> Iterator[None]:
    """Keep pynetdicom's reactor thread still: seen paused when it is not, it may take the answer that a send waits for.

    That happens about once in some thousand fast answers, and the send then waits in vain for 30 seconds.
    """
    checkpoint = association._reactor_checkpoint
    checkpoint.clear()
    association._is_paused = False
    wait_until(lambda: association._is_paused)
    checkpoint.set = lambda: None
    try:
        yield
    finally:
        del checkpoint.set
        checkpoint.set()


def test_echo_by_dcmtk_and_pynetdicom(tmp_path: Path) -> None:
    with running(tmp_path / "in") as listener:
        assert echoscu(listener.port)
        ae = AE("PYNETDICOM")
        ae.add_requested_context("1.2.840.10008.1.1")
        association = ae.associate("127.0.0.1", listener.port)
        assert association.send_c_echo().Status == 0
        association.release()
        assert association.is_released
        assert listener.intake.batches == []


def test_everything_that_can_be_negotiated_is_answered_or_left_out(tmp_path: Path) -> None:
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 5
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field, identity.secondary_field = 2, b"user", b"password"
    identity.positive_response_requested = True
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = CT, b"\2\0\3\0\1\0"
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = CT, "1.2.840.10008.4.2"
    ae = AE("PYNETDICOM")
    ae.add_requested_context(CT, EXPLICIT)
    ae.add_requested_context("1.2.840.10008.5.1.4.1.1.4", EXPLICIT)
    items = [window, identity, extended, common, build_role(CT, scu_role=True, scp_role=True)]
    with running(tmp_path / "in") as listener:
        association = ae.associate("127.0.0.1", listener.port, ext_neg=items)
        assert association.is_established
        assert association.acceptor.asynchronous_operations == (1, 1)
        assert association.acceptor.user_identity is None
        assert [(c.as_scu, c.as_scp) for c in association.accepted_contexts] == [(True, False)] * 2
        association.release()


def test_every_test_file_of_pydicom_arrives_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = list(pydicom_files())
    syntaxes = {part10(f).transfer_syntax_uid for f in files}
    assert len(syntaxes) > 10
    with running(tmp_path / "in") as listener:
        assert set(send_raw(listener.port, files, monkeypatch)) == {0}
        wait_until(lambda: listener.intake.all_sealed)
        assert by_uid(listener.intake.files) == by_uid(files)
        assert listener.status["instances"] == len(files)
    for file in listener.intake.files:
        meta = read_file_meta_info(file)
        assert meta.SourceApplicationEntityTitle == "PYNETDICOM"
        assert str(meta.TransferSyntaxUID) in syntaxes


def test_what_storescu_sends_is_kept_as_storescp_keeps_it(tmp_path: Path) -> None:
    proposals = {"CT_small.dcm": (), "test-SR.dcm": (), "MR_small_RLE.dcm": ("-xr",), "JPEG2000.dcm": ("-xw",)}
    with running(tmp_path / "in") as listener, storescp(tmp_path / "pacs") as theirs:
        for file in pydicom_files():
            if file.name in proposals:
                storescu([file], listener.port, options=proposals[file.name])
                storescu([file], theirs.port, options=proposals[file.name])
        wait_until(lambda: listener.intake.all_sealed)
        assert len(listener.intake.files) == len(proposals)
        assert by_uid(listener.intake.files) == by_uid(theirs.files)
        a = listener.intake.batches[0].association
        assert (a.source, a.source_kind, a.calling_ae, a.called_ae, a.source_ip) == (
            "in", "dimse_listener", "STORESCU", "AXIOM", "127.0.0.1",
        )  # fmt: skip
        assert all("TransferSyntax" in dcmdump(file) for file in listener.intake.files)


@pytest.mark.parametrize(
    ("option", "syntax"),
    [("-xe", EXPLICIT), ("-xi", IMPLICIT), ("-xd", "1.2.840.10008.1.2.1.99")],
)
def test_what_storescu_proposes_first_is_taken(tmp_path: Path, option: str, syntax: str) -> None:
    ct = next(f for f in pydicom_files() if f.name == "CT_small.dcm")
    with running(tmp_path / "in") as listener:
        dcmtk("storescu", option, "127.0.0.1", listener.port, ct)
        wait_until(lambda: listener.intake.all_sealed)
        [file] = listener.intake.files
        assert part10(file).transfer_syntax_uid == syntax
        assert (dcmread(file).pixel_array == dcmread(ct).pixel_array).all()


def test_private_class_in_private_syntax(tmp_path: Path) -> None:
    data = bytes(range(256)) * 40
    with running(tmp_path / "in") as listener, Caller(listener.port, [(PRIVATE_CLASS, PRIVATE_SYNTAX)]) as caller:
        assert caller.store(data=data, sop_class=PRIVATE_CLASS).status == 0
        [file] = listener.intake.files
        assert file.read_bytes() == encode_head(PRIVATE_CLASS, "1.2.3", PRIVATE_SYNTAX, "CALLER") + data


def test_128_contexts(tmp_path: Path) -> None:
    pairs = [(f"{PRIVATE_CLASS}.{i}", EXPLICIT) for i in range(128)]
    with running(tmp_path / "in") as listener, Caller(listener.port, pairs) as caller:
        assert caller.answer is not None
        assert [r.result for r in caller.answer.results] == [0] * 128
        for i in (0, 64, 127):
            assert caller.store(sop_class=pairs[i][0], uid=f"1.2.{i}", context=2 * i + 1).status == 0
        assert len(listener.intake.files) == 3


def test_a_service_that_is_not_storage_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    pairs = [("1.2.840.10008.5.1.4.1.2.2.1", IMPLICIT), (CT, EXPLICIT)]
    with running(tmp_path / "in") as listener, Caller(listener.port, pairs) as caller:
        assert caller.answer is not None
        assert [r.result for r in caller.answer.results] == [3, 0]
        assert caller.store(context=3).status == 0


def test_fragments_of_every_size(tmp_path: Path) -> None:
    """A command in single bytes, several PDVs in one PDU, an empty last fragment."""
    command = encode_command(Command(C_STORE_RQ, 1, has_data_set=True, sop_class_uid=CT, sop_instance_uid="1.2.3"))
    data = bytes(range(251)) * 7 + b"\0"

    def pdv(control: int, content: bytes) -> bytes:
        return pdv_head(1, control, len(content))[6:] + content

    with running(tmp_path / "in") as listener, Caller(listener.port) as caller:
        for i, byte in enumerate(command):
            caller.wire.send(pdv_head(1, COMMAND | (LAST if i == len(command) - 1 else 0), 1) + bytes([byte]))
        body = b"".join(pdv(DATA_SET, data[at : at + 100]) for at in range(0, len(data), 100)) + pdv(DATA_SET | LAST, b"")
        caller.wire.send(b"\x04\0" + len(body).to_bytes(4, "big") + body)
        assert caller.response().status == 0
        half = len(command) // 2
        body = pdv(COMMAND, command[:half]) + pdv(COMMAND | LAST, command[half:]) + pdv(DATA_SET, data[:9])
        caller.wire.send(b"\x04\0" + len(body).to_bytes(4, "big") + body + pdv_head(1, LAST, len(data) - 9) + data[9:])
        assert caller.response().status == 0
        assert [f.read_bytes()[-len(data) :] for f in listener.intake.files] == [data, data]


@pytest.mark.parametrize("max_pdu", [4096, 16384])
def test_small_pdus_are_agreed_on(tmp_path: Path, max_pdu: int, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [f for f in pydicom_files() if part10(f).transfer_syntax_uid == EXPLICIT and f.stat().st_size > 30_000][:3]
    with running(tmp_path / "in", max_pdu=max_pdu) as listener:
        storescu(files, listener.port)
        assert set(send_raw(listener.port, files, monkeypatch)) == {0}
        wait_until(lambda: listener.intake.all_sealed)
        assert len(listener.intake.files) == 6


def test_four_associations_at_once(tmp_path: Path) -> None:
    def send(number: int, listener: Running) -> None:
        with Caller(listener.port, calling=f"CT0{number}") as caller:
            for i in range(50):
                assert caller.store(uid=f"1.2.{number}.{i}", data=bytes([number, i]) * 5000).status == 0

    with running(tmp_path / "in") as listener:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: send(n, listener), range(4)))
        wait_until(lambda: listener.intake.all_sealed)
        assert listener.status["instances"] == 200
        assert {b.association.calling_ae: b.count for b in listener.intake.batches} == {
            f"CT0{i}": 50 for i in range(4)
        }
        assert {f.read_bytes()[-10000:] for f in listener.intake.files} == {
            bytes([n, i]) * 5000 for n in range(4) for i in range(50)
        }


def test_a_batch_is_handed_on_when_it_is_full_quiet_or_its_association_ends(tmp_path: Path) -> None:
    with running(tmp_path / "in", batch_quiet_seconds=0.2) as listener:
        listener.intake.max_instances = 2
        with Caller(listener.port) as caller:
            for i in range(3):
                assert caller.store(uid=f"1.2.{i}").status == 0
            wait_until(lambda: listener.intake.all_sealed, what="a quiet association's batch")
            assert [b.count for b in listener.intake.batches] == [2, 1]
            assert caller.store(uid="1.2.9").status == 0, "the association is still open"
            assert listener.status["associations"] == 1
        wait_until(lambda: listener.intake.all_sealed, what="a broken association's batch")
        assert [b.count for b in listener.intake.batches] == [2, 1, 1]


def test_an_association_that_only_sits_there_is_ended(tmp_path: Path) -> None:
    with running(tmp_path / "in", idle_timeout=1, batch_quiet_seconds=0.1) as listener:
        with Caller(listener.port) as caller:
            assert caller.store().status == 0
            assert caller.ended()[0] == 7
        wait_until(lambda: listener.status["associations"] == 0)
        assert listener.intake.all_sealed


def test_listening_stops_at_once_and_associations_may_end_by_themselves(tmp_path: Path) -> None:
    with running(tmp_path / "in", drain_seconds=20) as listener, Caller(listener.port) as caller:
        assert caller.store(uid="1.2.1").status == 0
        listener.stop.set()
        wait_until(lambda: listener.status["state"] == "stopping")
        with pytest.raises(ConnectionRefusedError):
            Caller(listener.port)
        assert caller.store(uid="1.2.2").status == 0, "what is open goes on"
        with running(tmp_path / "again", port=listener.port) as successor:
            assert echoscu(successor.port), "the port is free for its successor"
        caller.wire.send(b"\x05\0\0\0\0\4\0\0\0\0")
        assert caller.ended()[0] == 6
        listener.end()
        assert listener.status["state"] == "stopped"
        assert [b.count for b in listener.intake.batches] == [2]
        assert listener.intake.all_sealed


def test_when_its_time_is_over_an_association_is_ended_between_images(tmp_path: Path) -> None:
    with running(tmp_path / "in", drain_seconds=0.1) as listener, Caller(listener.port) as caller:
        assert caller.store(uid="1.2.1").status == 0
        caller.begin(uid="1.2.2")
        caller.data(b"x" * 1000, last=False)
        wait_until(lambda: listener.intake.number == 2)
        listener.stop.set()
        listener.thread.join(0.6)
        assert listener.thread.is_alive(), "it waits for the end of the image"
        caller.data(b"y" * 1000)
        assert caller.response().status == 0
        assert caller.ended()[0] == 7
        listener.end()
        assert [b.count for b in listener.intake.batches] == [2]


def test_an_image_that_never_ends_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with running(tmp_path / "in", drain_seconds=0, network_timeout=0.5) as listener, Caller(listener.port) as caller:
        caller.begin()
        wait_until(lambda: listener.intake.number == 1)
        stop = threading.Event()

        def trickle() -> None:
            with contextlib.suppress(ConnectionLost):
                while not stop.wait(0.05):
                    caller.data(b"xx", last=False)

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        listener.end()
        stop.set()
        thread.join(5)
        assert listener.intake.files == []
        assert listener.intake.discarded == 1


def test_echo_on_a_storage_context_and_cancel_are_harmless(tmp_path: Path) -> None:
    with running(tmp_path / "in") as listener, Caller(listener.port) as caller:
        caller.messages.send(1, Command(0x0FFF, responded_to=1))
        caller.messages.send(1, Command(C_ECHO_RQ, 3))
        answer = caller.response()
        assert (answer.field, answer.responded_to, answer.status) == (0x8030, 3, 0)


def test_a_check_knows_its_own_running_listener_from_a_stranger(tmp_path: Path) -> None:
    with running(tmp_path) as listener:
        ticks = {t.name: t for t in listener.config.check()}
        assert ticks["port"].ok is True
        assert "takes over when saved" in ticks["port"].words
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        ticks = {t.name: t for t in DimseListener(name="m", port=stranger.getsockname()[1]).check()}
        assert ticks["port"].ok is False
        assert "in use" in ticks["port"].words


@pytest.mark.parametrize("host", ["x" * 250, "a..b", "ä" * 80])
def test_a_host_that_no_machine_can_have_is_refused_at_save(host: str) -> None:
    with pytest.raises(ValidationError, match="host"):
        DimseListener(name="m", host=host, port=1)


def test_a_check_of_a_host_that_is_not_there_is_a_tick_not_an_error() -> None:
    assert DimseListener(name="m", host="no-such-host.invalid", port=1).check()[0].ok is False
