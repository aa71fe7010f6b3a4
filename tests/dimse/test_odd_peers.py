"""Peers that break off, stay silent or talk nonsense: what they confirmed stays, the rest is tried again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.destinations.dimse import Dimse
from engine.dicom.network.command import C_STORE_RSP, Command
from engine.dicom.network.messages import COMMAND, LAST, Messages, pdv_head
from engine.dicom.network.negotiation import accept
from engine.dicom.network.pdu import Associate, encode_abort, encode_reject
from engine.dicom.network.wire import Wire
from engine.errors import Permanent, Retry
from engine.model import Outcome, Receipt
from tests.dimse.support import collect, made, scripted

Turn = Callable[[Messages, int, Command], None]


def acceptor(turn: Turn) -> Callable[[socket.socket], None]:
    """Accepts what is proposed and does `turn` with each C-STORE, its data set taken."""

    def script(connection: socket.socket) -> None:
        wire = Wire(connection, 10)
        _, length = wire.head()
        request = Associate.decode(wire.exactly(length))
        wire.send(accept(request, 16384)[0].encode())
        messages = Messages(wire, 16384, request.max_length)
        while True:
            context, command = messages.command()
            for _ in messages.data_set(context):
                pass
            turn(messages, context, command)

    def quiet(connection: socket.socket) -> None:
        try:
            script(connection)
        except Exception:  # however the sender ends it
            connection.close()

    return quiet


def answer(messages: Messages, context: int, command: Command, status: int = 0) -> None:
    messages.send(context, Command(C_STORE_RSP, responded_to=command.message_id, status=status))


def failing(port: int, count: int = 4, **fields: object) -> tuple[list[Receipt], Exception]:
    """Deliver `count` instances, which must fail; gives the receipts and the error."""
    receipts, report = collect()
    given = {"name": "odd", "host": "127.0.0.1", "port": port, "ae_title": "ODD", "dimse_timeout": 2, "acse_timeout": 2}
    with pytest.raises((Retry, Permanent)) as raised:
        Dimse(**given | fields).deliver([made(i) for i in range(count)], report, threading.Event())  # type: ignore[arg-type]
    return receipts, raised.value


def after_two(then: Turn) -> Turn:
    def turn(messages: Messages, context: int, command: Command) -> None:
        if (command.message_id or 0) <= 2:
            answer(messages, context, command)
        else:
            then(messages, context, command)

    return turn


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (lambda m, c, r: m.wire.wait(5), "sent nothing for 1 seconds"),
        (lambda m, c, r: m.wire.cut(), "the peer closed the connection"),
        (lambda m, c, r: m.wire.finish(encode_abort(2, 1)), "aborted the association: it did not recognize a PDU"),
        (lambda m, c, r: m.wire.finish(encode_abort(0, 0)), "the peer aborted the association"),
        (lambda m, c, r: m.wire.finish(b"\x05\0\0\0\0\4\0\0\0\0"), "released the association without an answer"),
        (lambda m, c, r: m.wire.finish(b"nonsense, and more of it"), "is none"),
        (lambda m, c, r: m.send(c, Command(C_STORE_RSP, responded_to=99, status=0)), "does not belong to the request"),
        (lambda m, c, r: m.send(c, Command(C_STORE_RSP, responded_to=3)), "has no status"),
        (lambda m, c, r: m.wire.finish(pdv_head(c, COMMAND | LAST, 2) + b"xx"), "command set"),
    ],
)
def test_what_was_confirmed_stays_and_the_rest_is_tried_again(then: Turn, words: str) -> None:
    with scripted(acceptor(after_two(then))) as port:
        # short only where the time itself is what is told: the first two have to be answered within it
        receipts, error = failing(port, dimse_timeout=1 if "sent nothing" in words else 30)
    assert [(r.index, r.outcome) for r in receipts] == [(0, Outcome.CONFIRMED), (1, Outcome.CONFIRMED)]
    assert isinstance(error, Retry)
    assert words in str(error)


def test_a_peer_that_aborts_while_we_send_is_heard() -> None:
    def script(connection: socket.socket) -> None:
        wire = Wire(connection, 10)
        _, length = wire.head()
        wire.send(accept(Associate.decode(wire.exactly(length)), 16384)[0].encode())
        wire.finish(encode_abort(2, 2))

    with scripted(script) as port:
        receipts, report = collect()
        with pytest.raises(Retry, match=r"aborted the association|broke|closed"):
            Dimse(name="odd", host="127.0.0.1", port=port, ae_title="ODD").deliver(
                [made(0, data=bytes(20_000_000))], report, threading.Event()
            )
    assert receipts == []


@pytest.mark.parametrize(
    ("reply", "words", "kind"),
    [
        (encode_reject(1, 1, 7), "rejected the association for good: called AE title not recognized", Permanent),
        (encode_reject(2, 3, 1), "rejected the association for now: temporary congestion", Retry),
        (encode_reject(1, 3, 99), "reason 99 of source 3", Permanent),
        (encode_abort(2, 0), "no reason given", Retry),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "instead of an answer", Retry),
        (b"\x02\0\0\0\0\2xx", "too short", Retry),
        (b"\x02\0\xff\xff\xff\xff", "instead of an answer", Retry),
        (b"", "closed the connection", Retry),
    ],
)
def test_other_answers_to_a_request(reply: bytes, words: str, kind: type[Exception]) -> None:
    def script(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(reply)

    with scripted(script) as port:
        receipts, error = failing(port)
    assert receipts == []
    assert type(error) is kind
    assert words in str(error)


def test_no_answer_to_a_request() -> None:
    with scripted(lambda connection: threading.Event().wait(1) or None) as port:
        _, error = failing(port, acse_timeout=0.2)
    assert isinstance(error, Retry)
    assert "No association with ODD: the peer sent nothing for 0.2 seconds" in str(error)


def test_a_syntax_that_was_not_proposed_is_not_accepted() -> None:
    def script(connection: socket.socket) -> None:
        wire = Wire(connection, 5)
        _, length = wire.head()
        request = Associate.decode(wire.exactly(length))
        wire.send(accept(request, 16384)[0].encode().replace(b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2"))
        wire.wait(5)

    with scripted(script) as port:
        receipts, report = collect()
        odd = Dimse(
            name="odd", host="127.0.0.1", port=port, ae_title="ODD", acse_timeout=1, transfer_syntax={"fall_back": False}
        )
        odd.deliver([made(0)], report, threading.Event())
    assert [(r.outcome, r.code) for r in receipts] == [(Outcome.REFUSED, "0x0122")]


@pytest.fixture(scope="module")
def babbler():  # type: ignore[no-untyped-def]
    words = [b""]

    def turn(messages: Messages, context: int, command: Command) -> None:
        messages.wire.finish(words[0], seconds=0.1)

    with scripted(acceptor(turn)) as port:
        yield port, words


@settings(max_examples=60, deadline=None)
@given(said=st.binary(max_size=60))
def test_whatever_a_peer_answers_it_is_an_error_in_words(babbler: tuple[int, list[bytes]], said: bytes) -> None:
    port, words = babbler
    words[0] = said
    receipts, error = failing(port, count=1)
    assert receipts == []
    assert isinstance(error, Retry)
    assert "broke off" in str(error)
