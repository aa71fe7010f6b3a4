"""What becomes of an image for each thing that a DICOM node may do: seen here, and written in docs/reference/outcomes-dimse.md.
`WRITE_OUTCOMES=1 pytest tests/dimse/test_outcomes.py` writes the page anew.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
from collections.abc import Callable

from engine.destinations.dimse import Dimse
from engine.dicom.network.command import C_STORE_RSP, Command
from engine.dicom.network.messages import Messages
from engine.dicom.network.negotiation import accept
from engine.dicom.network.pdu import Associate, ContextResult, encode_abort, encode_reject
from engine.dicom.network.wire import Wire
from engine.errors import Permanent, Retry
from engine.model import Outcome, Receipt
from tests.dimse.support import made, scripted
from tests.peers import free_port
from tests.running import ROOT

PAGE = ROOT / "docs" / "reference" / "outcomes-dimse.md"
HEAD = """# What becomes of an image: C-STORE

Made by `tests/dimse/test_outcomes.py`, which sends an image to a node that does each of this and writes down what comes of it.
"Tried again" is with growing pauses (`retry`), "dead letter" waits for a person, with these words.

| the node | the image | in words |
|---|---|---|
"""
WORDS = {Outcome.CONFIRMED: "confirmed", Outcome.RETRY: "tried again", Outcome.REFUSED: "dead letter"}
STATUSES = (
    0x0000, 0xB000, 0xB006, 0xB007, 0x0111, 0xA700, 0xA702, 0xA900, 0xC000, 0xC123, 0x0105, 0x0106, 0x0110, 0x0112, 0x0115,
    0x0117, 0x0120, 0x0122, 0x0124, 0x0210, 0x0211, 0x0212, 0x0213, 0xFFFF,
)  # fmt: skip
REJECTIONS = ((1, 1, 1), (1, 1, 2), (1, 1, 3), (1, 1, 7), (1, 2, 2), (2, 1, 1), (2, 3, 1), (2, 3, 2))
Script = Callable[[socket.socket], None]
Turn = Callable[[Messages, int, Command], None]


def stored(turn: Turn, result: int = 0) -> Script:
    """Accepts the association, its contexts with `result`, and does `turn` when it has an image."""

    def script(connection: socket.socket) -> None:
        wire = Wire(connection, 10)
        request = asked(wire)
        answer = accept(request, 16384)[0]
        if result:
            refused = tuple(ContextResult(c.id, result, c.transfer_syntaxes[0]) for c in request.proposed)
            answer = Associate(request.called_ae, request.calling_ae, 16384, results=refused, titles=request.titles)
        wire.send(answer.encode())
        messages = Messages(wire, 16384, request.max_length)
        with contextlib.suppress(Exception):  # however the sender ends it
            while True:
                context, command = messages.command()
                for _ in messages.data_set(context):
                    pass
                turn(messages, context, command)

    return script


def asked(wire: Wire) -> Associate:
    _, length = wire.head()
    return Associate.decode(wire.exactly(length))


def answered(status: int) -> Script:
    return stored(lambda m, c, r: m.send(c, Command(C_STORE_RSP, responded_to=r.message_id, status=status)))


def instead(said: bytes) -> Script:
    """Says this in answer to the association request, and closes."""

    def script(connection: socket.socket) -> None:
        wire = Wire(connection, 10)
        asked(wire)
        wire.finish(said)

    return script


def silent(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            pass


def cases() -> dict[str, Script]:
    out = {f"answers 0x{status:04X}": answered(status) for status in STATUSES}
    out["answers another message"] = stored(lambda m, c, r: m.send(c, Command(C_STORE_RSP, responded_to=999, status=0)))
    for result, source, reason in REJECTIONS:
        how = "for good" if result == 1 else "for now"
        out[f"rejects the association {how} (source {source}, reason {reason})"] = instead(encode_reject(result, source, reason))
    out["does not accept the SOP class"] = stored(lambda *_: None, 3)
    out["does not accept the transfer syntax"] = stored(lambda *_: None, 4)
    out["accepts the connection, and stays silent"] = silent
    out["accepts the association, takes the image, and stays silent"] = stored(lambda m, c, r: m.wire.wait(5))
    out["closes when it is asked for an association"] = instead(b"")
    out["speaks another protocol"] = instead(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    out["closes after the image, without an answer"] = stored(lambda m, c, r: m.wire.cut())
    out["closes in the middle of a PDU"] = stored(lambda m, c, r: m.wire.finish(b"\x04\0\0\0\x10\0\0\0"))
    out["aborts when it is asked for an association"] = instead(encode_abort(2, 0))
    out["aborts after the image (the node itself)"] = stored(lambda m, c, r: m.wire.finish(encode_abort(0, 0)))
    out["aborts after the image (unexpected PDU)"] = stored(lambda m, c, r: m.wire.finish(encode_abort(2, 2)))
    out["asks for release instead of an answer"] = stored(lambda m, c, r: m.wire.finish(b"\x05\0\0\0\0\4\0\0\0\0"))
    return out


def fate(host: str, port: int, seconds: float = 60) -> tuple[str, str]:
    receipts: list[Receipt] = []
    to = Dimse(name="pacs", host=host, port=port, ae_title="PACS", acse_timeout=seconds, dimse_timeout=seconds)
    try:
        to.deliver([made(0)], receipts.append, threading.Event())
    except Retry as error:
        return "tried again", str(error)
    except Permanent as error:
        return "dead letter", str(error)
    [receipt] = receipts
    return WORDS[receipt.outcome], receipt.words


def test_the_page_says_what_happens() -> None:
    rows: dict[str, tuple[str, str]] = {}
    for name, script in cases().items():
        with scripted(script) as port:
            rows[name] = fate("127.0.0.1", port, 1 if "silent" in name else 60)
    rows["is not there (closed port)"] = fate("127.0.0.1", free_port())
    rows["has no such name"] = (fate("nowhere.invalid", 104)[0], "...")  # the system's own words
    text = HEAD + "".join(f"| {name} | {what} | {_clean(words)} |\n" for name, (what, words) in rows.items())
    if os.environ.get("WRITE_OUTCOMES"):
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text


def _clean(words: str) -> str:
    words = re.sub(r"port \d+", "port 11112", words.replace("127.0.0.1", "pacs"))
    return words.replace("|", "\\|")
