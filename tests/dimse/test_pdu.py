"""The bytes of PDUs and command sets, held against pynetdicom's, and against anything at all."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom._uid_dict import UID_dictionary
from pynetdicom.dsutils import decode as decode_ds
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, A_RELEASE_RP, A_RELEASE_RQ
from pynetdicom.presentation import AllStoragePresentationContexts

from engine.dicom.network.command import C_STORE_RQ, C_STORE_RSP, Command, decode_command, encode_command
from engine.dicom.network.negotiation import AcceptedContext, accept, protocol_refusal
from engine.dicom.network.pdu import (
    Associate,
    ContextResult,
    ProposedContext,
    ProtocolError,
    Role,
    encode_abort,
    encode_reject,
    encode_release_rp,
    encode_release_rq,
)
from engine.dicom.network.uids import VERIFICATION, is_storage, is_uid, uid_name
from tests.dimse.support import CT, EXPLICIT, IMPLICIT

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
REQUEST = Associate(
    called_ae="AXIOM", calling_ae="CT 01", max_length=131072, roles=(Role(CT, scu=True, scp=False),),
    proposed=(ProposedContext(1, CT, (EXPLICIT, IMPLICIT)), ProposedContext(255, VERIFICATION, (IMPLICIT,))),
)  # fmt: skip


def test_pynetdicom_reads_our_request() -> None:
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(REQUEST.encode())
    assert (pdu.called_ae_title, pdu.calling_ae_title) == ("AXIOM", "CT 01")
    assert [(c.context_id, c.abstract_syntax, list(c.transfer_syntax)) for c in pdu.presentation_context] == [
        (1, CT, [EXPLICIT, IMPLICIT]),
        (255, VERIFICATION, [IMPLICIT]),
    ]
    assert pdu.user_information.maximum_length == 131072
    assert pdu.user_information.role_selection[CT].scu_role == 1
    assert pdu.encode() == REQUEST.encode()


def test_a_request_is_read_as_it_was_written() -> None:
    read = Associate.decode(REQUEST.encode()[6:])
    assert (read.called_ae, read.calling_ae, read.max_length) == ("AXIOM", "CT 01", 131072)
    assert (read.proposed, read.roles) == (REQUEST.proposed, REQUEST.roles)


def test_pynetdicom_reads_our_answer() -> None:
    request = Associate.decode(REQUEST.encode()[6:])
    answer, _ = accept(request, 65536)
    pdu = A_ASSOCIATE_AC()
    pdu.decode(answer.encode())
    assert [(c.context_id, c.result, c.transfer_syntax) for c in pdu.presentation_context] == [
        (1, 0, EXPLICIT),
        (255, 0, IMPLICIT),
    ]
    assert answer.encode()[10:74] == REQUEST.encode()[10:74], "the AE titles go back unchanged"
    roles = pdu.user_information.role_selection
    assert (roles[CT].scu_role, roles[CT].scp_role) == (1, 0)


def test_the_short_pdus_are_pynetdicoms() -> None:
    for ours, theirs in (
        (encode_release_rq(), A_RELEASE_RQ()),
        (encode_release_rp(), A_RELEASE_RP()),
        (encode_abort(2, 6), A_ABORT_RQ()),
        (encode_reject(2, 3, 2), A_ASSOCIATE_RJ()),
    ):
        theirs.decode(ours)
        assert theirs.encode() == ours
    assert (theirs.result, theirs.source, theirs.reason_diagnostic) == (2, 3, 2)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_as_association_pdu(data: bytes) -> None:
    for body in (data, REQUEST.encode()[6:80] + data):
        try:
            Associate.decode(body)
        except ProtocolError as e:
            assert str(e)


@given(st.data())
def test_a_damaged_request_is_read_or_refused(data: st.DataObject) -> None:
    body = bytearray(REQUEST.encode()[6:])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        request = Associate.decode(bytes(body[: data.draw(st.integers(0, len(body)))]))
    except ProtocolError as e:
        assert str(e)
    else:
        answer, accepted = accept(request, 16384)
        Associate.decode(answer.encode()[6:])
        assert len(answer.results) == len(request.proposed) >= len(accepted)


@pytest.mark.parametrize("ids", [(1, 1), (2,), (0,)])
def test_context_ids_must_be_odd_and_different(ids: tuple[int, ...]) -> None:
    pdu = Associate("A", "B", 0, tuple(ProposedContext(i, CT, (EXPLICIT,)) for i in ids)).encode()
    with pytest.raises(ProtocolError, match="odd and different"):
        Associate.decode(pdu[6:])


def test_titles_of_a_peer_cannot_break_a_log_line() -> None:
    body = bytearray(REQUEST.encode()[6:])
    body[20:36] = b"EVIL\r\nfake\x1b[0m\xff "
    assert Associate.decode(bytes(body)).calling_ae == "EVIL??fake?[0m?"


def test_every_standard_storage_class_is_storage_and_no_other_service_is() -> None:
    assert all(is_storage(str(c.abstract_syntax)) for c in AllStoragePresentationContexts)
    for uid, (name, kind, _, _, _) in UID_dictionary.items():
        if kind in ("SOP Class", "Meta SOP Class", "Service Class"):
            storage = "Storage" in name and not any(
                other in name for other in ("Commitment", "Media Storage", "Storage Service Class")
            )
            assert is_storage(uid) == (storage or not name), f"{name} {uid}"


def test_private_and_future_classes_are_storage() -> None:
    assert is_storage("1.3.12.2.1107.5.9.1")
    assert is_storage("1.2.840.10008.5.1.4.1.1.999.1")
    assert not is_storage("")
    assert not is_storage("1.2.x")
    assert is_uid("1" * 64)
    assert not is_uid("1" * 65)
    assert not is_uid("1.2\n")
    assert uid_name(CT) == f"CT Image Storage ({CT})"
    assert uid_name("1.9.9") == "1.9.9"


def test_what_an_acceptor_answers_to_each_context() -> None:
    proposed = (
        ProposedContext(1, CT, ("1.2.3.99.1", EXPLICIT)),
        ProposedContext(3, FIND, (IMPLICIT,)),
        ProposedContext(5, CT, ()),
        ProposedContext(7, "1.3.12.2", (EXPLICIT, IMPLICIT)),
        ProposedContext(9, "1.3.12.3", (EXPLICIT,)),
    )
    roles = (Role("1.3.12.3", scu=False, scp=True),)
    answer, accepted = accept(Associate("A", "B", 0, proposed, roles=roles), 16384)
    assert [r.result for r in answer.results] == [
        ContextResult.ACCEPTED, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED,
        ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, ContextResult.ACCEPTED, ContextResult.USER_REJECTION,
    ]  # fmt: skip
    assert accepted == {1: AcceptedContext(CT, "1.2.3.99.1"), 7: AcceptedContext("1.3.12.2", EXPLICIT)}
    _, accepted = accept(Associate("A", "B", 0, proposed), 16384, [IMPLICIT])
    assert accepted == {7: AcceptedContext("1.3.12.2", IMPLICIT)}


def test_what_cannot_be_spoken_is_rejected() -> None:
    assert protocol_refusal(REQUEST) is None
    version = protocol_refusal(Associate("A", "B", 0, REQUEST.proposed, protocol_version=2))
    context = protocol_refusal(Associate("A", "B", 0, REQUEST.proposed, application_context="1.2.3"))
    assert version is not None
    assert version[0] == (1, 2, 2)
    assert context is not None
    assert context[0] == (1, 1, 2)


def test_pydicom_reads_our_command_sets() -> None:
    request = Command(C_STORE_RQ, message_id=5, has_data_set=True, sop_class_uid=CT, sop_instance_uid="1.2.3")
    ds = decode_ds(BytesIO(encode_command(request)), True, True)
    assert (ds.CommandField, ds.MessageID, ds.AffectedSOPClassUID, ds.AffectedSOPInstanceUID) == (1, 5, CT, "1.2.3")
    assert (ds.Priority, ds.CommandDataSetType) == (0, 1)
    assert ds.CommandGroupLength == len(encode_command(request)) - 12


@given(
    field=st.integers(0, 0xFFFF), message_id=st.none() | st.integers(0, 0xFFFF),
    responded_to=st.none() | st.integers(0, 0xFFFF), has_data_set=st.booleans(),
    sop_class_uid=st.from_regex(r"([0-9.]{1,64})?", fullmatch=True),
    sop_instance_uid=st.from_regex(r"([0-9.]{1,64})?", fullmatch=True), status=st.none() | st.integers(0, 0xFFFF),
    comment=st.from_regex(r"([!-\[\]-~]{1,64})?", fullmatch=True),
)  # fmt: skip
def test_a_command_is_read_as_it_was_written(**fields: object) -> None:
    command = Command(**fields)  # type: ignore[arg-type]
    assert decode_command(encode_command(command)) == command


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_as_command(data: bytes) -> None:
    for body in (data, encode_command(Command(C_STORE_RSP, responded_to=1, status=0)) + data):
        try:
            decode_command(body)
        except ProtocolError as e:
            assert str(e)


def test_a_long_comment_is_cut_to_what_its_vr_holds() -> None:
    read = decode_command(encode_command(Command(C_STORE_RSP, comment="ä\\" + "x" * 100)))
    assert read.comment == "?/" + "x" * 62
