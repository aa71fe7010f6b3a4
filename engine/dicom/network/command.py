"""DIMSE command sets: group 0000 in Implicit VR Little Endian (PS3.7 6.3, 9.3, E.1)."""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple

from engine.dicom.network.pdu import ProtocolError, peer_text

__all__ = [
    "C_CANCEL_RQ", "C_ECHO_RQ", "C_ECHO_RSP", "C_FIND_RQ", "C_FIND_RSP", "C_GET_RQ", "C_GET_RSP", "C_MOVE_RQ", "C_MOVE_RSP",
    "C_STORE_RQ", "C_STORE_RSP", "NOTHING_SAID", "N_ACTION_RQ", "N_ACTION_RSP", "N_EVENT_REPORT_RQ", "N_EVENT_REPORT_RSP",
    "Command", "Counts", "decode_command", "encode_command",
]

C_STORE_RQ: Final = 0x0001
C_STORE_RSP: Final = 0x8001
C_GET_RQ: Final = 0x0010
C_GET_RSP: Final = 0x8010
C_FIND_RQ: Final = 0x0020
C_FIND_RSP: Final = 0x8020
C_MOVE_RQ: Final = 0x0021
C_MOVE_RSP: Final = 0x8021
C_ECHO_RQ: Final = 0x0030
C_ECHO_RSP: Final = 0x8030
C_CANCEL_RQ: Final = 0x0FFF
N_EVENT_REPORT_RQ: Final = 0x0100
N_EVENT_REPORT_RSP: Final = 0x8100
N_ACTION_RQ: Final = 0x0130
N_ACTION_RSP: Final = 0x8130

_WITH_PRIORITY = (C_STORE_RQ, C_GET_RQ, C_FIND_RQ, C_MOVE_RQ)
_NO_DATA_SET = 0x0101
_MEDIUM = 0  # priority
_COMMENT_LENGTH = 64  # VR LO


class Counts(NamedTuple):
    """Sub-operations of a C-MOVE or C-GET (PS3.7 9.3.3.2); None where the peer does not say."""

    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None

    @property
    def total(self) -> int | None:
        """All sub-operations, None when the peer said none of the counts."""
        said = [n for n in self if n is not None]
        return sum(said) if said else None


NOTHING_SAID: Final = Counts()


class Command(NamedTuple):
    """The elements that our services need; others are skipped on reading. None and "" mean absent."""

    field: int
    """(0000,0100) Command Field."""
    message_id: int | None = None
    responded_to: int | None = None
    """(0000,0120) Message ID Being Responded To."""
    has_data_set: bool = False
    """(0000,0800) Command Data Set Type is not 0101H."""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    status: int | None = None
    comment: str = ""
    """(0000,0902) Error Comment; cut to 64 characters on encoding."""
    move_destination: str = ""
    """(0000,0600) the AE title that a C-MOVE sends to."""
    originator: str = ""
    """(0000,1030) in a C-STORE that a C-MOVE caused: who asked for it."""
    originator_id: int | None = None
    """(0000,1031) the Message ID of that C-MOVE."""
    counts: Counts = NOTHING_SAID
    requested_class_uid: str = ""
    """(0000,0003) in an N-ACTION: of the class that is asked."""
    requested_instance_uid: str = ""
    """(0000,1001) and of its instance."""
    action_type: int | None = None
    """(0000,1008)"""
    event_type: int | None = None
    """(0000,1002)"""


_NUMBERS: Final = {
    0x0100: "field", 0x0110: "message_id", 0x0120: "responded_to", 0x0900: "status", 0x1002: "event_type",
    0x1008: "action_type", 0x1031: "originator_id",
}  # fmt: skip
_TEXTS: Final = {
    0x0002: "sop_class_uid", 0x0003: "requested_class_uid", 0x0600: "move_destination", 0x0902: "comment",
    0x1000: "sop_instance_uid", 0x1001: "requested_instance_uid", 0x1030: "originator",
}  # fmt: skip
_COUNTS: Final = range(0x1020, 0x1024)


def encode_command(command: Command) -> bytes:
    """The command set with its group length."""
    one = command
    parts = [
        _uid(0x0002, one.sop_class_uid) if one.sop_class_uid else b"",
        _uid(0x0003, one.requested_class_uid) if one.requested_class_uid else b"",
        _us(0x0100, one.field),
        _us(0x0110, one.message_id),
        _us(0x0120, one.responded_to),
        _ae(0x0600, one.move_destination) if one.move_destination else b"",
        _us(0x0700, _MEDIUM) if one.field in _WITH_PRIORITY else b"",
        _us(0x0800, 0x0001 if one.has_data_set else _NO_DATA_SET),
        _us(0x0900, one.status),
        _comment(one.comment) if one.comment else b"",
        _uid(0x1000, one.sop_instance_uid) if one.sop_instance_uid else b"",
    ]
    if one.requested_instance_uid or one.event_type is not None or one.action_type is not None:
        parts += [_uid(0x1001, one.requested_instance_uid), _us(0x1002, one.event_type), _us(0x1008, one.action_type)]
    if one.counts is not NOTHING_SAID:
        parts += [_us(element, count) for element, count in zip(_COUNTS, one.counts, strict=True)]
    if one.originator or one.originator_id is not None:
        parts += [_ae(0x1030, one.originator), _us(0x1031, one.originator_id)]
    body = b"".join(parts)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def decode_command(data: bytes) -> Command:
    """Read a command set. Raises ProtocolError when it is malformed or has no Command Field."""
    found: dict[str, Any] = {}
    counts: dict[int, int | None] = {}
    at, size = 0, len(data)
    while at < size:
        if at + 8 > size:
            raise ProtocolError("the command set is cut off")
        group, element, length = _HEAD(data, at)
        at += 8
        if group or at + length > size:
            raise ProtocolError("the command set is not in Implicit VR Little Endian, or is cut off")
        raw = data[at : at + length]
        at += length
        if element in _NUMBERS:
            found[_NUMBERS[element]] = _number(raw)
        elif element in _TEXTS:
            found[_TEXTS[element]] = peer_text(raw)
        elif element == 0x0800:
            found["has_data_set"] = _number(raw) not in (None, _NO_DATA_SET)
        elif element in _COUNTS:
            counts[element] = _number(raw)
    if found.get("field") is None:
        raise ProtocolError("the command set has no Command Field (0000,0100)")
    if counts:
        found["counts"] = Counts(*(counts.get(element) for element in _COUNTS))
    return Command(**found)


_HEAD: Final = struct.Struct("<HHI").unpack_from


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, element, len(value)) + value


def _us(element: int, value: int | None) -> bytes:
    return b"" if value is None else struct.pack("<HHIH", 0, element, 2, value)


def _ae(element: int, title: str) -> bytes:
    value = title.encode("ascii", "replace")[:16]
    return _element(element, value + b" " * (len(value) % 2)) if value else b""


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode("ascii", "replace")
    return _element(element, value + b"\0" * (len(value) % 2)) if value else b""


def _comment(text: str) -> bytes:
    value = text.encode("ascii", "replace").replace(b"\\", b"/")[:_COMMENT_LENGTH]
    return _element(0x0902, value + b" " * (len(value) % 2))


def _number(raw: bytes) -> int | None:
    return int.from_bytes(raw, "little") if len(raw) == 2 else None
