"""DIMSE messages on an association: command sets and data sets in P-DATA-TF fragments (PS3.8 9.3.5, E; PS3.7 6.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from engine.dicom.network.command import Command, decode_command, encode_command
from engine.dicom.network.pdu import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    DATA,
    RELEASE_RP,
    RELEASE_RQ,
    ProtocolError,
)
from engine.dicom.network.wire import ConnectionLost, Wire

__all__ = ["COMMAND", "DATA_SET", "LAST", "PDV_HEAD", "Messages", "PeerAborted", "Released", "abort_words", "pdv_head"]

COMMAND = 0x01
"""Bit 0 of the message control header: the fragment is of a command set."""
DATA_SET = 0x00
LAST = 0x02
"""Bit 1: the fragment ends its command or data set."""
PDV_HEAD = 12
"""Bytes before the fragment in a P-DATA-TF with one PDV: PDU type and length, PDV length, context, control header."""

_MAX_COMMAND = 64 * 1024
_SLACK = 1024  # some peers count the PDU's or PDV's head out of the maximum length
_KNOWN = (ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, RELEASE_RP)


class Released(Exception):
    """The peer asks to end the association (A-RELEASE-RQ)."""


class PeerAborted(ConnectionLost):
    """The peer aborted the association."""


class Fragment(NamedTuple):
    """The head of one presentation data value; `length` bytes of it follow on the wire."""

    context: int
    is_command: bool
    last: bool
    length: int


def pdv_head(context: int, control: int, length: int) -> bytes:
    """The 12 bytes before a fragment that has a PDU to itself."""
    return struct.pack(">BBIIBB", DATA, 0, length + 6, length + 2, context, control)


class Messages:
    """Reads and writes DIMSE messages on one established association.

    `max_pdu` is what we told the peer; `peer_max_pdu` what it told us (0: any). Reading raises Released, PeerAborted,
    ConnectionLost, or ProtocolError for what must be answered with an A-ABORT.
    """

    def __init__(self, wire: Wire, max_pdu: int, peer_max_pdu: int) -> None:
        self.wire = wire
        self._max_pdu = max_pdu
        self.fragment_size = max(2, (min(peer_max_pdu or max_pdu, max_pdu) - 6) & ~1)
        """The most bytes of a command or data set that fit in one P-DATA-TF to the peer; even, as some insist on."""
        self._left = 0  # bytes of the current PDU not yet read

    def _fragment(self) -> Fragment:
        if not self._left:
            self._left = self._data_pdu()
        if self._left < 6:
            raise ProtocolError("a P-DATA-TF PDU ends within a PDV")
        length, context, control = struct.unpack(">IBB", self.wire.exactly(6))
        if length < 2 or length + 4 > self._left:
            raise ProtocolError("a PDV says it is longer than its PDU, or shorter than its own head")
        self._left -= length + 4
        return Fragment(context, bool(control & COMMAND), bool(control & LAST), length - 2)

    def _data_pdu(self) -> int:
        kind, length = self.wire.head()
        if kind == DATA:
            if length > self._max_pdu + _SLACK:
                raise ProtocolError(f"a P-DATA-TF PDU of {length} bytes came; {self._max_pdu} were agreed on")
            return length
        if kind in (RELEASE_RQ, ABORT) and length == 4:
            body = self.wire.exactly(length)
            if kind == RELEASE_RQ:
                raise Released
            raise PeerAborted(abort_words(body[2], body[3]))
        if kind in _KNOWN:
            raise ProtocolError(f"a PDU of type {kind:02X}H came out of turn", ProtocolError.UNEXPECTED_PDU)
        raise ProtocolError(f"a PDU of type {kind:02X}H came, which is none", ProtocolError.UNRECOGNIZED_PDU)

    def command(self) -> tuple[int, Command]:
        """The next command and the presentation context that it came on."""
        collected = bytearray()
        context: int | None = None
        while True:
            fragment = self._fragment()
            if not fragment.is_command or context not in (None, fragment.context):
                raise ProtocolError("something else came where (the rest of) a command was due")
            if len(collected) + fragment.length > _MAX_COMMAND:
                raise ProtocolError("a command set is longer than 64 KB")
            context = fragment.context
            collected += self.wire.exactly(fragment.length)
            if fragment.last:
                return context, decode_command(bytes(collected))

    def data_set(self, context: int) -> Iterator[memoryview]:
        """The data set that follows a command, as it comes; each view holds until the next step."""
        some = self.wire.some
        while True:
            fragment = self._fragment()
            if fragment.is_command or fragment.context != context:
                raise ProtocolError("something else came where (the rest of) a data set was due")
            left = fragment.length
            while left:
                chunk = some(left)
                left -= len(chunk)
                yield chunk
            if fragment.last:
                return

    def encode(self, context: int, command: Command) -> bytes:
        """A command as P-DATA-TF PDUs no longer than the peer takes."""
        return self._encode(context, COMMAND, encode_command(command))

    def encode_data_set(self, context: int, data_set: bytes) -> bytes:
        """A small data set, such as an identifier, likewise."""
        return self._encode(context, DATA_SET, data_set)

    def _encode(self, context: int, kind: int, data: bytes) -> bytes:
        size = self.fragment_size
        parts = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
        return b"".join(
            pdv_head(context, kind | (LAST if i == len(parts) else 0), len(part)) + part for i, part in enumerate(parts, 1)
        )

    def send(self, context: int, command: Command) -> None:
        self.wire.send(self.encode(context, command))


def abort_words(source: int, reason: int) -> str:
    """An A-ABORT in words (PS3.8 Table 9-26)."""
    if source != 2:
        return "the peer aborted the association"
    return f"the peer aborted the association: {_ABORT_REASONS.get(reason, f'reason {reason}')}"


_ABORT_REASONS = {
    0: "no reason given",
    1: "it did not recognize a PDU",
    2: "a PDU came that it did not expect",
    4: "a PDU parameter that it did not recognize",
    5: "a PDU parameter that it did not expect",
    6: "an invalid PDU parameter value",
}
