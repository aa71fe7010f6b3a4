"""Storage commitment: with Orthanc, which reports on an association of its own, and with a peer that reports on ours."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_role, evt
from pynetdicom.events import Event

from engine.destinations._commitment import Committer, StorageCommitment
from engine.destinations.base import Outgoing
from engine.destinations.dimse import Dimse
from engine.errors import Permanent, Retry
from engine.model import Commitment, Outcome, Receipt, Report
from engine.spool.commitments import SpoolCommitments
from tests.dimse.support import CT, FolderIntake, Running, collect, made, part10, pydicom_files, running
from tests.peers import free_port, orthanc

COMMITMENT = UID("1.2.840.10008.1.20.1")
INSTANCE = UID("1.2.840.10008.1.20.1.1")
STOP = threading.Event()


def images() -> list[Outgoing]:
    return [
        part10(f, i) for i, f in enumerate(f for f in pydicom_files() if f.name in ("CT_small.dcm", "MR_small.dcm"))
    ]


def to(at: int, **commitment: Any) -> Dimse:
    return Dimse(
        name="archive", host="127.0.0.1", port=at, ae_title="ARCHIVE", calling_ae_title="AXIOM",
        storage_commitment=commitment, dimse_timeout=20, acse_timeout=20,
    )  # fmt: skip


def attempt(
    destination: Dimse, outgoing: Sequence[Outgoing], commitments: SpoolCommitments
) -> tuple[list[Receipt], str]:
    """The receipts, and the words of the Retry that it ended with."""
    receipts, report = collect()
    try:
        destination.attempt(outgoing, report, STOP, commitments)
    except Retry as e:
        return receipts, str(e)
    return receipts, ""


class Archive:
    """A pynetdicom archive: what it answers is a test's to say."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.asked: list[Dataset] = []
        self.action_status = 0x0000
        self.report_here = True
        self.failed: dict[str, int] = {}

    def store(self, event: Event) -> int:
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    def action(self, event: Event) -> tuple[int, None]:
        asked = event.action_information
        self.asked.append(asked)
        if self.report_here and not self.action_status:
            threading.Thread(target=self._report, args=(event.assoc, asked), daemon=True).start()
        return self.action_status, None

    def _report(self, association: Any, asked: Dataset) -> None:
        kind, report = self.report_of(asked)
        association.send_n_event_report(report, kind, COMMITMENT, INSTANCE)

    def report_of(self, asked: Dataset) -> tuple[int, Dataset]:
        report = Dataset()
        report.TransactionUID = asked.TransactionUID
        report.ReferencedSOPSequence, report.FailedSOPSequence = [], []
        for one in asked.ReferencedSOPSequence:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = (
                one.ReferencedSOPClassUID,
                one.ReferencedSOPInstanceUID,
            )
            reason = self.failed.get(one.ReferencedSOPInstanceUID)
            if reason is None:
                report.ReferencedSOPSequence.append(item)
            else:
                item.FailureReason = reason
                report.FailedSOPSequence.append(item)
        if not report.FailedSOPSequence:
            del report.FailedSOPSequence
        return 2 if self.failed else 1, report

    def report_to(self, port: int, asked: Dataset, **changes: Any) -> int:
        """On an association of its own, as SCP of the class (PS3.4 J.3.3.1.1); gives the status that it hears."""
        ae = AE("ARCHIVE")
        ae.add_requested_context(COMMITMENT)
        association = ae.associate("127.0.0.1", port, ae_title="AXIOM", ext_neg=[build_role(COMMITMENT, scp_role=True)])
        assert association.is_established and association.accepted_contexts
        kind, report = self.report_of(asked)
        for name, value in changes.items():
            setattr(report, name, value)
        status, _ = association.send_n_event_report(report, kind, COMMITMENT, INSTANCE)
        association.release()
        return int(status.Status)


@contextmanager
def archive(*, offers: bool = True) -> Iterator[tuple[Archive, int]]:
    peer, ae, port = Archive(), AE("ARCHIVE"), free_port()
    for f in images():
        ae.add_supported_context(f.sop_class_uid)
    ae.add_supported_context(CT)
    if offers:
        ae.add_supported_context(COMMITMENT)
    handlers = [(evt.EVT_C_STORE, peer.store), (evt.EVT_N_ACTION, peer.action)]
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield peer, port
    finally:
        server.shutdown()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "in", FolderIntake(tmp_path / "in"), network_timeout=30) as one:
        yield one


def test_orthanc_commits_on_an_association_of_its_own(tmp_path: Path, listener: Running) -> None:
    settings = {"DicomModalities": {"axiom": ["AXIOM", "127.0.0.1", listener.port]}}
    commitments = listener.intake.commitments
    with orthanc(tmp_path / "orthanc", ae_title="ARCHIVE", **settings) as (port, _):
        receipts, words = attempt(to(port, wait_seconds=60), images(), commitments)
        assert (words, [r.outcome for r in receipts]) == ("", [Outcome.CONFIRMED] * 2)
        assert all(r.words == "stored and committed" and r.size for r in receipts)
        assert not list(commitments.open("archive")), "nothing is awaited any more"

        def pretend(outgoing: Sequence[Outgoing], report: Report) -> None:
            for one in outgoing:
                report(Receipt(one.index, Outcome.CONFIRMED, "0x0000"))

        receipts, report = collect()
        peer = to(port)._peer()
        committer = Committer(StorageCommitment(wait_seconds=60), peer, "archive", commitments, pretend, STOP)
        committer.attempt([images()[0], made(7, uid="1.2.3.4.5")], report)
        there, lost = sorted(receipts, key=lambda r: r.index)
        assert there.outcome is Outcome.CONFIRMED
        assert (lost.outcome, lost.code) == (Outcome.RETRY, "0x0112"), "Orthanc does not have it: it is sent again"


def test_the_report_may_come_on_the_same_association(tmp_path: Path) -> None:
    commitments = SpoolCommitments(tmp_path / "commitments")
    with archive() as (peer, port):
        first, second = images()
        peer.failed = {second.sop_instance_uid: 0x0122}
        receipts, words = attempt(to(port, wait_seconds=60), [first, second], commitments)
        assert words == ""
        assert [(r.outcome, r.code) for r in receipts] == [(Outcome.CONFIRMED, "0x0000"), (Outcome.REFUSED, "0x0122")]
        assert receipts[1].words == "not committed: Refused: SOP Class not supported"
        peer.failed = {second.sop_instance_uid: 0x0213}
        [receipt], _ = attempt(to(port, wait_seconds=60), [second], commitments)
        assert (receipt.outcome, receipt.code) == (Outcome.RETRY, "0x0213")


def test_a_late_report_is_found_by_a_later_attempt_and_nothing_is_sent_twice(listener: Running) -> None:
    commitments = listener.intake.commitments
    with archive() as (peer, port):
        peer.report_here = False
        destination = to(port, wait_seconds=0)
        for _ in range(3):
            receipts, words = attempt(destination, images(), commitments)
            assert receipts == [] and "2 images are stored there, and not committed yet" in words
        assert len(peer.stored) == 2 and len(peer.asked) == 1, "waiting sends nothing"
        peer.failed = {images()[1].sop_instance_uid: 0x0110}
        assert peer.report_to(listener.port, peer.asked[0]) == 0x0000
        peer.failed, peer.report_here = {}, True
        fresh = SpoolCommitments(listener.intake.folder / "commitments")  # another process
        receipts, words = attempt(to(port, wait_seconds=60), images(), fresh)
        assert words == "" and [(r.index, r.outcome) for r in receipts] == [
            (0, Outcome.CONFIRMED), (1, Outcome.RETRY), (1, Outcome.CONFIRMED),
        ]  # fmt: skip
        assert peer.stored[2:] == [images()[1].sop_instance_uid], "only what the archive had lost"
        assert not list(fresh.open("archive"))


def test_without_a_report_in_time_it_is_sent_and_asked_for_again(tmp_path: Path) -> None:
    commitments = SpoolCommitments(tmp_path / "commitments")
    with archive() as (peer, port):
        peer.report_here = False
        attempt(to(port, wait_seconds=0), images(), commitments)
        [asked] = commitments.open("archive")
        commitments.ask(asked._replace(asked_at=time.time() - 4000))
        attempt(to(port, wait_seconds=0, report_seconds=3600), images(), commitments)
        assert len(peer.stored) == 4 and len(peer.asked) == 2
        [again] = commitments.open("archive")
        assert again.transaction_uid != asked.transaction_uid


def test_another_content_is_another_image(tmp_path: Path) -> None:
    """The same UID in a later batch, with other bytes: the commitment for the first is none for the second."""
    commitments = SpoolCommitments(tmp_path / "commitments")
    with archive() as (peer, port):
        peer.report_here = False
        attempt(to(port, wait_seconds=0), [made(0, uid="1.2.9")], commitments)
        attempt(to(port, wait_seconds=0), [made(0, uid="1.2.9", data=b"\x08\0\x05\0CS\2\0X ")], commitments)
        assert peer.stored == ["1.2.9", "1.2.9"] and len(peer.asked) == 2


def test_an_archive_that_cannot_commit_is_named_and_nothing_counts_as_delivered(tmp_path: Path) -> None:
    commitments = SpoolCommitments(tmp_path / "commitments")
    with archive(offers=False) as (_, port):
        receipts, report = collect()
        with pytest.raises(Permanent, match="offers no storage commitment"):
            to(port).attempt(images(), report, STOP, commitments)
        [tick] = [t for t in to(port).check() if t.name == "storage commitment"]
        assert tick.ok is False and "offers no storage commitment" in tick.words
        assert receipts == [] and not list(commitments.open("archive"))
    with archive() as (peer, port):
        [tick] = [t for t in to(port).check() if t.name == "storage commitment"]
        assert tick.ok and "ARCHIVE offers it" in tick.words
        peer.action_status = 0x0213
        receipts, words = attempt(to(port), images(), commitments)
        assert receipts == [] and "commits nothing: Failure: Resource limitation" in words
        assert not list(commitments.open("archive"))
        receipts, words = attempt(to(port, port=free_port()), images(), commitments)
        assert receipts == [] and "Nothing listens on" in words


def test_reports_that_nobody_awaits_leave_no_trace(listener: Running) -> None:
    folder = listener.intake.folder / "commitments"
    asked = Dataset()
    asked.TransactionUID, asked.ReferencedSOPSequence = "2.25.1", []
    peer = Archive()
    assert peer.report_to(listener.port, asked) == 0x0110
    assert "no such transaction" in str(listener.status["last_error"])
    listener.intake.commitments.ask(Commitment("2.25.1", "archive", time.time(), {"x": "1.2"}))
    assert peer.report_to(listener.port, asked, TransactionUID="") == 0x0115
    assert peer.report_to(listener.port, asked) == 0x0000
    assert sorted(p.name for p in folder.iterdir()) == ["2.25.1.asked", "2.25.1.reported"]


def test_who_asks_us_for_a_commitment_hears_that_we_give_none(listener: Running) -> None:
    ae = AE("MODALITY")
    ae.add_requested_context(COMMITMENT)
    ae.add_requested_context(CT)
    association = ae.associate("127.0.0.1", listener.port, ae_title="AXIOM")
    assert association.is_established
    assert [c.abstract_syntax for c in association.accepted_contexts] == [CT]
    association.release()


def test_old_requests_of_destinations_that_are_gone_are_cleared_away(tmp_path: Path) -> None:
    commitments = SpoolCommitments(tmp_path / "commitments")
    commitments.ask(Commitment("2.25.7", "gone", time.time() - 40 * 86_400, {"x": "1.2"}))
    commitments.ask(Commitment("2.25.8", "other", time.time(), {"x": "1.2"}))
    assert not list(commitments.open("archive"))
    assert [p.name for p in (tmp_path / "commitments").iterdir()] == ["2.25.8.asked"]
