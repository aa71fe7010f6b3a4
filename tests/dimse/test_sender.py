"""Sending to real peers: data sets go out as they are, in whatever the peer takes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.events import Event

from engine.destinations.base import Outgoing
from engine.destinations.dimse import Dimse
from engine.dicom.content import Content, Slice
from engine.dicom.network.store_scu import _Reader
from engine.errors import Permanent, Retry
from engine.model import Outcome, Receipt
from tests.dimse.support import (
    CT,
    EXPLICIT,
    IMPLICIT,
    collect,
    data_set_of,
    made,
    part10,
    pydicom_files,
    running,
)
from tests.peers import StoreSCP, dcmdump, free_port, wait_until

MR = "1.2.840.10008.5.1.4.1.1.4"


def to(port: int, **fields: object) -> Dimse:
    given = {"name": "pacs", "host": "127.0.0.1", "port": port, "ae_title": "PACS"} | fields
    return Dimse(**given)  # type: ignore[arg-type]


def deliver(destination: Dimse, outgoing: list[Outgoing]) -> list[Receipt]:
    receipts, report = collect()
    destination.deliver(outgoing, report, threading.Event())
    return receipts


@contextmanager
def pynetdicom_scp(
    handler: object, contexts: list[tuple[str, list[str]]], maximum_pdu_size: int = 16382
) -> Iterator[int]:
    ae = AE("PACS")
    ae.maximum_pdu_size = maximum_pdu_size
    for sop_class, syntaxes in contexts:
        ae.add_supported_context(sop_class, syntaxes)
    port = free_port()
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, handler)])
    assert server is not None
    try:
        yield port
    finally:
        server.shutdown()


def test_every_test_file_of_pydicom_leaves_byte_for_byte(tmp_path: Path) -> None:
    outgoing = [part10(f, i) for i, f in enumerate(pydicom_files())]
    with running(tmp_path / "in") as listener:
        receipts = deliver(to(listener.port), outgoing)
        assert [(r.index, r.outcome, r.code) for r in receipts] == [
            (o.index, Outcome.CONFIRMED, "0x0000") for o in outgoing
        ]
        assert [r.size for r in receipts] == [o.data_set.length for o in outgoing]
        wait_until(lambda: listener.intake.all_sealed)
        assert len(listener.intake.batches) == 1, "one association for a delivery"
        for sent, file in zip(outgoing, listener.intake.files, strict=True):
            assert file.read_bytes().endswith(sent.data_set.read())
            assert len(file.read_bytes()) - sent.data_set.length < 600


def test_dcmtk_gets_the_same_bytes(storescp: StoreSCP) -> None:
    files = [f for f in pydicom_files() if f.name in ("CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "test-SR.dcm")]
    receipts = deliver(to(storescp.port), [part10(f, i) for i, f in enumerate(files)])
    assert {r.outcome for r in receipts} == {Outcome.CONFIRMED}
    assert sorted(data_set_of(f) for f in storescp.files) == sorted(data_set_of(f) for f in files)
    assert all("(0002,0013) SH [AXIOM" not in dcmdump(f) for f in storescp.files)


def test_header_bytes_and_a_slice_of_the_file_leave_as_one_data_set(tmp_path: Path) -> None:
    file = tmp_path / "pixels"
    file.write_bytes(bytes(range(256)) * 4000)
    content = Content((b"new header", Slice(file, 100, 500_000), b"", b"between", Slice(file, 0, 33), Slice(file, 5, 0)))
    with running(tmp_path / "in") as listener:
        [receipt] = deliver(to(listener.port), [made(0, data=content)])
        assert receipt.outcome is Outcome.CONFIRMED
        assert listener.intake.files[0].read_bytes().endswith(content.read())


@given(st.lists(st.binary(max_size=40), max_size=6), st.lists(st.integers(1, 50), min_size=1))
def test_a_reader_gives_the_content_in_portions_of_any_size(pieces: list[bytes], sizes: list[int]) -> None:
    content, out = Content(tuple(pieces)), b""
    reader = _Reader(content)
    left, turn = reader.length, 0
    while left:
        buffer = memoryview(bytearray(min(left, sizes[turn % len(sizes)])))
        reader.fill(buffer)
        out, left, turn = out + bytes(buffer), left - len(buffer), turn + 1
    assert out == content.read()


@pytest.mark.parametrize("max_pdu", [256, 4096, 16382, 0])
def test_the_peers_longest_pdu_is_kept_to(max_pdu: int) -> None:
    longest, got = [0], []

    def take(event: Event) -> int:
        got.append(event.request.DataSet.getvalue())
        return 0x0000

    def see(event: Event) -> None:
        if type(event.pdu).__name__ == "P_DATA_TF":
            longest[0] = max(longest[0], event.pdu.pdu_length)

    ae = AE("PACS")
    ae.maximum_pdu_size = max_pdu
    ae.add_supported_context(CT, EXPLICIT)
    port, data = free_port(), bytes(range(256)) * 2000
    server = ae.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, take), (evt.EVT_PDU_RECV, see)]
    )
    try:
        [receipt] = deliver(to(port, max_pdu=65536), [made(0, data=data)])
    finally:
        server.shutdown()
    assert receipt.outcome is Outcome.CONFIRMED
    assert got == [data]
    assert longest[0] == (max_pdu or 65536)


def test_more_than_128_contexts_take_several_associations(tmp_path: Path) -> None:
    outgoing = [made(i, sop_class=f"1.3.12.2.{i % 150}") for i in range(300)]
    with running(tmp_path / "in") as listener:
        receipts = deliver(to(listener.port), outgoing)
        assert sorted(r.index for r in receipts) == list(range(300))
        wait_until(lambda: listener.intake.all_sealed)
        assert [b.count for b in listener.intake.batches] == [128, 128, 44], "64 classes, each as received and as a fallback"


def test_what_the_peer_does_not_accept_is_refused_in_words_and_the_rest_goes(tmp_path: Path) -> None:
    with running(tmp_path / "in", transfer_syntaxes=[EXPLICIT]) as listener:
        one, two, three = deliver(to(listener.port), [made(0, syntax=IMPLICIT), made(1), made(2, sop_class="1.2.840.10008.1.9")])
    assert (one.outcome, one.code) == (Outcome.REFUSED, "0x0122")
    assert one.words == (
        f"the peer does not accept CT Image Storage ({CT}) in Implicit VR Little Endian ({IMPLICIT}): "
        "the transfer syntax is not supported"
    )
    assert two.outcome is Outcome.CONFIRMED
    assert "the SOP class is not supported" in three.words


def test_a_peer_that_accepts_nothing_ends_it_with_refusals(tmp_path: Path) -> None:
    with running(tmp_path / "in", transfer_syntaxes=[EXPLICIT]) as listener:
        receipts = deliver(to(listener.port), [made(i, syntax=IMPLICIT) for i in range(3)])
    assert [r.outcome for r in receipts] == [Outcome.REFUSED] * 3


def test_what_has_no_valid_uid_cannot_be_sent_and_the_rest_goes(tmp_path: Path) -> None:
    odd = [made(0, sop_class=""), made(1, syntax="1.2.ä"), made(2, uid="1.2 3"), made(3)]
    with running(tmp_path / "in") as listener:
        receipts = deliver(to(listener.port), odd)
        assert len(listener.intake.files) == 1
    assert [(r.index, r.outcome) for r in receipts] == [
        (0, Outcome.REFUSED), (1, Outcome.REFUSED), (2, Outcome.REFUSED), (3, Outcome.CONFIRMED),
    ]  # fmt: skip
    assert "not valid" in receipts[0].words


def test_each_third_refused_with_a700_and_c000() -> None:
    count = [0]

    def handle(event: Event) -> Dataset:
        status = Dataset()
        status.Status = (0x0000, 0xA700, 0xC000)[count[0] % 3]
        if status.Status:
            status.ErrorComment = ("", "disk full", "bad image")[count[0] % 3]
        count[0] += 1
        return status

    with pynetdicom_scp(handle, [(CT, [EXPLICIT])]) as port:
        receipts = deliver(to(port), [made(i) for i in range(30)])
    assert [(r.outcome, r.code, r.words) for r in receipts[:3]] == [
        (Outcome.CONFIRMED, "0x0000", "Success"),
        (Outcome.RETRY, "0xA700", "Refused: Out of resources: disk full"),
        (Outcome.REFUSED, "0xC000", "Error: Cannot understand: bad image"),
    ]
    assert [r.outcome for r in receipts] == [Outcome.CONFIRMED, Outcome.RETRY, Outcome.REFUSED] * 10
    assert [r.index for r in receipts] == list(range(30))


@pytest.mark.parametrize(
    ("status", "outcome", "words"),
    [
        (0x0111, Outcome.CONFIRMED, "Failure: Duplicate SOP Instance"),
        (0xB000, Outcome.CONFIRMED, "Warning: Coercion of data elements"),
        (0xB006, Outcome.CONFIRMED, "Warning: Elements discarded"),
        (0xB007, Outcome.CONFIRMED, "Warning: Data Set does not match SOP Class"),
        (0xB123, Outcome.CONFIRMED, "Warning (0xB123)"),
        (0x0110, Outcome.RETRY, "Failure: Processing failure"),
        (0x0213, Outcome.RETRY, "Failure: Resource limitation"),
        (0xA7FF, Outcome.RETRY, "Refused: Out of resources"),
        (0x0122, Outcome.REFUSED, "Refused: SOP Class not supported"),
        (0x0124, Outcome.REFUSED, "Refused: Not authorized"),
        (0xA900, Outcome.REFUSED, "Error: Data Set does not match SOP Class"),
        (0xC211, Outcome.REFUSED, "Error: Cannot understand"),
        (0x0999, Outcome.REFUSED, "Failure (0x0999)"),
    ],
)
def test_statuses(status: int, outcome: Outcome, words: str) -> None:
    with pynetdicom_scp(lambda event: status, [(CT, [EXPLICIT])]) as port:
        [receipt] = deliver(to(port), [made(0)])
    assert (receipt.outcome, receipt.code, receipt.words) == (outcome, f"0x{status:04X}", words)


def test_a_full_peer_is_spared_the_rest() -> None:
    receipts, report = collect()
    with (
        pynetdicom_scp(lambda event: 0xA700, [(CT, [EXPLICIT])]) as port,
        pytest.raises(Retry, match="Out of resources") as raised,
    ):
        to(port).deliver([made(i) for i in range(50)], report, threading.Event())
    assert raised.value.code == "0xA700"
    assert [r.outcome for r in receipts] == [Outcome.RETRY] * 10


def test_stop_is_heeded_between_instances(tmp_path: Path) -> None:
    stop, receipts = threading.Event(), []

    def report(receipt: Receipt) -> None:
        receipts.append(receipt)
        if receipt.index == 2:
            stop.set()

    with running(tmp_path / "in") as listener:
        to(listener.port).deliver([made(i) for i in range(9)], report, stop)
        wait_until(lambda: listener.intake.all_sealed)
        assert [b.count for b in listener.intake.batches] == [3]
    assert [r.index for r in receipts] == [0, 1, 2]


def test_a_file_that_is_too_short_or_gone_costs_that_instance_alone(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(bytes(400_000))
    outgoing = [
        made(0),
        made(1, data=Content((Slice(short, 0, 500_000),))),
        made(2),
        made(3, data=Content((Slice(tmp_path / "gone", 0, 10),))),
        made(4),
    ]
    with running(tmp_path / "in") as listener:
        receipts = deliver(to(listener.port), outgoing)
        wait_until(lambda: listener.intake.all_sealed)
        assert len(listener.intake.files) == 3
    assert [(r.index, r.outcome) for r in receipts] == [
        (0, Outcome.CONFIRMED), (1, Outcome.REFUSED), (2, Outcome.CONFIRMED), (3, Outcome.REFUSED), (4, Outcome.CONFIRMED),
    ]  # fmt: skip
    assert "ends before its slice does" in receipts[1].words


def test_nobody_there() -> None:
    with pytest.raises(Retry, match=r"Nothing listens on 127\.0\.0\.1 port"):
        deliver(to(free_port()), [made(0)])
    with pytest.raises(Retry, match="does not resolve"):
        deliver(to(free_port(), host="no-such-host.invalid"), [made(0)])
    with socket.socket() as full:  # a backlog of none: the kernel leaves further connections without an answer
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            waiting.append(one)
        with pytest.raises(Retry, match=r"did not answer within 0\.2 seconds"):
            deliver(to(port, connect_timeout=0.2), [made(0)])
        for one in waiting:
            one.close()


def test_rejections(tmp_path: Path) -> None:
    with running(tmp_path / "in", calling_ae_titles=["OTHER"]) as listener:
        with pytest.raises(Permanent, match=r"for good: calling AE title not recognized .*calling AXIOM") as refused:
            deliver(to(listener.port), [made(0)])
        assert refused.value.code == "rejected-permanent"
    with running(tmp_path / "in2", max_associations=1) as listener:
        with socket.create_connection(("127.0.0.1", listener.port)):
            first = deliver(to(listener.port), [made(0)])
        assert first[0].outcome is Outcome.CONFIRMED
        receipts: list[Receipt] = []

        def again(receipt: Receipt) -> None:
            receipts.append(receipt)
            with pytest.raises(Retry, match="for now: local limit exceeded") as busy:
                deliver(to(listener.port), [made(1)])
            assert busy.value.code == "rejected-transient"

        to(listener.port).deliver([made(0)], again, threading.Event())
        assert len(receipts) == 1


def test_check_ticks(storescp: StoreSCP, tmp_path: Path) -> None:
    ticks = to(storescp.port).check()
    assert [(t.name, t.ok) for t in ticks] == [
        ("name resolves", True), ("port open", True), ("association accepted", True), ("C-ECHO", True),
    ]  # fmt: skip
    assert [t.ok for t in to(free_port()).check()] == [True, False, None, None]
    assert [t.ok for t in to(1, host="no-such-host.invalid").check()] == [False, None, None, None]
    with running(tmp_path / "in", calling_ae_titles=["OTHER"]) as listener:
        ticks = to(listener.port).check()
        assert [t.ok for t in ticks] == [True, True, False, None]
        assert "calling AE title not recognized" in ticks[2].words
    with pynetdicom_scp(lambda event: 0, [(MR, [EXPLICIT])]) as port:
        assert [t.ok for t in to(port).check()] == [True, True, True, None]
