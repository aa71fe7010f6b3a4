"""Archives at fault: silent, broken off, out of resources, deaf to a cancel; each is told in words, and in time."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from engine.dicom.file_meta import encode_head
from engine.dicom.network.command import (
    C_CANCEL_RQ,
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    Command,
)
from engine.dicom.network.identifier import encode_identifier
from engine.dicom.network.models import COMMON_STORAGE, MODELS
from engine.dicom.network.query_scu import QueryScu
from engine.dicom.network.retrieve_scu import MOST_CLASSES, storage_contexts
from engine.errors import OutOfSpace, Permanent, Retry
from engine.sources._query import Match, Query
from engine.sources.dimse_qr import DimseQr
from tests.dimse.double import Archive, archive
from tests.dimse.support import CT, Caller, FolderIntake, running, scripted

STOP = threading.Event()
STUDY = Match("study", {"0020000D": {"vr": "UI", "Value": ["1.2.3"]}, "00080062": {"vr": "UI", "Value": [CT]}})


def source(port: int, **fields: Any) -> DimseQr:
    given = {"name": "archive", "host": "127.0.0.1", "port": port, "ae_title": "ARCHIVE"}
    return DimseQr(**given | {"dimse_timeout": 1.0, "acse_timeout": 1.0} | fields)


def ask(one: DimseQr, **fields: Any) -> list[Match]:
    return list(one.query(Query("study", **fields), STOP))


def fetch(one: DimseQr, intake: FolderIntake, match: Match = STUDY) -> Any:
    return one.retrieve(match, intake, STOP, lambda *_: None)


def silent(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            pass


def test_a_peer_that_accepts_the_connection_and_says_nothing() -> None:
    with scripted(silent) as port, pytest.raises(Retry, match="the peer sent nothing for 1 seconds"):
        ask(source(port))


def test_a_peer_that_is_silent_after_it_accepted_the_association(tmp_path: Path) -> None:
    with archive(lambda *_: None) as port:
        with pytest.raises(Retry, match="broke off: the peer sent nothing for 1 seconds"):
            ask(source(port))
        with pytest.raises(Retry, match="neither an answer nor an image for 1 seconds"):
            fetch(source(port), FolderIntake(tmp_path))
        with pytest.raises(Retry, match="neither an answer nor an image for 1 seconds"):
            fetch(source(port, retrieve_by="move"), FolderIntake(tmp_path))


def test_a_peer_that_closes_in_the_middle_of_a_pdu_keeps_the_matches_before() -> None:
    def script(one: Archive, command: Command) -> None:
        one.answer(command, 0xFF00, one.match("1.2.3"))
        one.wire.send(b"\x04\0\0\0\x10\0\0\0")
        one.wire.cut()

    found = []
    with archive(script) as port, pytest.raises(Retry, match="broke off"):
        for match in source(port).query(Query("study"), STOP):
            found.append(match.study_instance_uid)
    assert found == ["1.2.3"]


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (0xA700, Retry, "0xA700 Refused: Out of resources: disk full"),
        (0xA701, Retry, "unable to calculate the number of matches"),
        (0xA702, Retry, "unable to perform sub-operations"),
        (0xA801, Permanent, "Move destination unknown: disk full. Enter our move destination there"),
        (0x0122, Permanent, "SOP Class not supported"),
        (0x0124, Permanent, "Not authorized"),
        (0xFE00, Retry, "cancel"),
    ],
)
def test_each_failure_has_its_words(tmp_path: Path, status: int, error: type[Exception], words: str) -> None:
    with archive(lambda one, command: one.answer(command, status, comment="disk full")) as port:
        with pytest.raises(error, match=words):
            fetch(source(port, retrieve_by="move"), FolderIntake(tmp_path))
        with pytest.raises(error):
            fetch(source(port), FolderIntake(tmp_path))
        with pytest.raises(error):
            ask(source(port))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0xA900, "Identifier does not match SOP Class"),
        (0xC001, "0xC001 Failed: Unable to process: disk full"),
        (0x0000, "sent no image"),
    ],
)
def test_what_speaks_of_one_study_is_its_own_failure(tmp_path: Path, status: int, words: str) -> None:
    """Others may well be fetched: it is no word about the archive."""
    with archive(lambda one, command: one.answer(command, status, comment="disk full" if status else "")) as port:
        for way in ("get", "move"):
            done = fetch(source(port, retrieve_by=way), FolderIntake(tmp_path))
            assert (done.received, done.whole) == (0, False)
            assert words in done.words


def test_some_images_fail_and_the_others_stay(tmp_path: Path) -> None:
    def script(one: Archive, command: Command) -> None:
        if command.field == C_GET_RQ:
            one.store("1.2.3.1")
            one.answer(command, 0xFF00, remaining=1, completed=1, failed=0, warning=0)
            failed = encode_identifier({0x00080058: "1.2.3.2"}, "1.2.840.10008.1.2.1", "")
            one.answer(command, 0xB000, failed, completed=1, failed=1, warning=0)

    intake = FolderIntake(tmp_path)
    with archive(script) as port:
        done = fetch(source(port), intake)
    assert (done.received, done.expected, done.failed, done.whole) == (1, 2, 1, False)
    assert "0xB000 Warning: Sub-operations complete, one or more failures: 1 of 2 could not be sent" in done.words
    assert [b.sealed for b in intake.batches] == [True]


def test_what_came_before_a_get_broke_off_is_kept(tmp_path: Path) -> None:
    def script(one: Archive, command: Command) -> None:
        if command.field == C_GET_RQ:
            assert one.store("1.2.3.1").status == 0
            one.wire.cut()

    intake = FolderIntake(tmp_path)
    with archive(script) as port, pytest.raises(Retry, match="broke off"):
        fetch(source(port), intake)
    assert len(intake.files) == 1
    assert intake.all_sealed


def test_an_image_that_cannot_be_kept_is_answered_with_a_failure(tmp_path: Path) -> None:
    """No room on our side: the archive hears A700, and who asked that it is no fault of the archive's."""
    answers = []

    def script(one: Archive, command: Command) -> None:
        if command.field == C_GET_RQ:
            answers.append(one.store("1.2.3.1").status)
            one.answer(command, 0xB000, completed=0, failed=1, warning=0)

    def full(_: object) -> None:
        raise OutOfSpace("the spool is full")

    with archive(script) as port, pytest.raises(OutOfSpace, match="the spool is full"):
        fetch(source(port), FolderIntake(tmp_path, before_receive=full))
    assert answers == [0xA700]


@pytest.mark.parametrize("obeys", [True, False])
def test_a_limit_cancels_and_ends_whether_the_peer_obeys_or_not(obeys: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.dicom.network.query_scu.CANCEL_SECONDS", 0.5)
    cancelled = threading.Event()

    def script(one: Archive, command: Command) -> None:
        if command.field != C_FIND_RQ:
            return
        for n in range(4 if obeys else 10**9):
            one.answer(command, 0xFF00, one.match(f"1.2.{n + 1}"))
        _, cancel = one.messages.command()
        assert (cancel.field, cancel.responded_to) == (C_CANCEL_RQ, command.message_id)
        cancelled.set()
        one.answer(command, 0xFE00)

    with archive(script) as port:
        found = ask(source(port, dimse_timeout=20), limit=3)
    assert [m.study_instance_uid for m in found] == ["1.2.1", "1.2.2", "1.2.3"]
    assert cancelled.is_set() == obeys


def test_a_retrieval_that_is_told_to_stop_cancels_it(tmp_path: Path) -> None:
    stop = threading.Event()
    fields = []

    def script(one: Archive, command: Command) -> None:
        fields.append(command.field)
        if command.field == C_MOVE_RQ:
            one.answer(command, 0xFF00, remaining=5, completed=0, failed=0, warning=0)
            stop.set()
            _, cancel = one.messages.command()
            fields.append(cancel.field)
            one.answer(command, 0xFE00, remaining=5, completed=0, failed=0, warning=0)

    with archive(script) as port:
        done = source(port, retrieve_by="move", dimse_timeout=20).retrieve(STUDY, FolderIntake(tmp_path), stop, lambda *_: None)
    assert fields == [C_MOVE_RQ, C_CANCEL_RQ]
    assert not done.whole
    assert "cancelled" in done.words


def test_a_move_that_is_said_to_be_whole_and_did_not_come_is_not_whole(tmp_path: Path) -> None:
    def script(one: Archive, command: Command) -> None:
        one.answer(command, 0x0000, completed=3, failed=0, warning=0)

    with archive(script) as port:
        done = fetch(source(port, retrieve_by="move", settle_seconds=0), FolderIntake(tmp_path))
        assert (done.received, done.expected, done.whole) == (0, 3, False)
        assert "says that it sent 3 images to AXIOM, and 0 came" in done.words
        trusted = fetch(source(port, retrieve_by="move", says_originator=False), FolderIntake(tmp_path))
    assert (trusted.received, trusted.expected, trusted.whole) == (3, 3, True)


def test_a_move_waits_for_images_that_come_after_its_answer(tmp_path: Path) -> None:
    """The archive ends first and sends then; what it sends belongs to the source that asked."""
    intake = FolderIntake(tmp_path / "in")
    with running(tmp_path / "in", intake) as listener:

        def script(one: Archive, command: Command) -> None:
            one.answer(command, 0x0000, completed=2, failed=0, warning=0)
            with Caller(listener.port, calling="ARCHIVE") as caller:
                for uid in ("1.2.3.1", "1.2.3.2"):
                    caller.store(uid, originator="AXIOM", originator_id=command.message_id)
                caller.store("1.2.9.9", originator="OTHER", originator_id=command.message_id)

        with archive(script) as port:
            done = fetch(source(port, retrieve_by="move", settle_seconds=30), intake)
    assert (done.received, done.expected, done.whole) == (2, 2, True)
    by_source = {b.association.source: b.count for b in intake.batches}
    assert by_source == {"archive": 2, "in": 1}


def test_more_classes_than_an_association_holds_take_several(tmp_path: Path) -> None:
    """The second association asks for the classes that had no place in the first."""
    classes = [f"1.2.826.0.1.3680043.9.{n}" for n in range(MOST_CLASSES + 10)]
    last = classes[-1]

    def script(one: Archive, command: Command) -> None:
        offered = {c.abstract_syntax for c in one.request.proposed}
        assert len(one.request.proposed) <= 128
        sent = 0
        for uid, sop_class in (("1.2.3.1", classes[0]), ("1.2.3.2", last)):
            if sop_class in offered:
                assert one.store(uid, sop_class).status == 0
                sent += 1
        one.answer(command, 0xB000, completed=sent, failed=2 - sent, warning=0)

    match = Match("study", {**STUDY.attributes, "00080062": {"vr": "UI", "Value": classes}})
    intake = FolderIntake(tmp_path)
    with archive(script) as port:
        done = fetch(source(port), intake, match)
    assert (done.received, done.expected, done.failed, done.whole) == (2, 2, 0, True)


def test_contexts_for_receiving_never_are_more_than_an_association_holds() -> None:
    for classes in (COMMON_STORAGE, COMMON_STORAGE[:1], COMMON_STORAGE[:40], ()):
        contexts = storage_contexts(classes, 5)
        ids = [c.id for c in contexts]
        assert len(set(ids)) == len(ids) <= 126
        assert all(n % 2 and 5 <= n <= 255 for n in ids)
        assert {c.abstract_syntax for c in contexts} == set(classes)


def test_a_slow_answer_ends_with_the_time_it_was_given() -> None:
    def script(one: Archive, command: Command) -> None:
        for n in range(1000):
            one.answer(command, 0xFF00, one.match(f"1.2.{n + 1}"))
            STOP.wait(0.05)  # slow, and never silent

    with archive(script) as port:
        one = source(port, dimse_timeout=30)
        scu = QueryScu(one.peer(), [MODELS["study"].find])
        with pytest.raises(Retry, match="did not finish its answer in time"):
            list(scu.find(MODELS["study"].find, {0x00080052: "STUDY", 0x0020000D: ""}, seconds=0.5))


def test_a_file_head_says_what_came(tmp_path: Path) -> None:
    def script(one: Archive, command: Command) -> None:
        one.store("1.2.3.1")
        one.answer(command, 0x0000, completed=1, failed=0, warning=0)

    intake = FolderIntake(tmp_path)
    with archive(script) as port:
        assert fetch(source(port), intake).whole
    head = encode_head(CT, "1.2.3.1", "1.2.840.10008.1.2.1", "ARCHIVE")
    assert intake.files[0].read_bytes().startswith(head)
