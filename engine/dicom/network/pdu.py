"""The PDUs that open and end an association, as bytes (PS3.8 9.3, PS3.7 D.3.3). P-DATA is handled in `messages`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from engine.dicom.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from engine.dicom.network.uids import APPLICATION_CONTEXT
from engine.errors import AxiomError

__all__ = [
    "ABORT", "ASSOCIATE_AC", "ASSOCIATE_RJ", "ASSOCIATE_RQ", "DATA", "MAX_ASSOCIATE", "RELEASE_RP", "RELEASE_RQ",
    "Associate", "ContextResult", "ProposedContext", "ProtocolError", "Role", "encode_abort", "encode_reject",
    "encode_release_rp", "encode_release_rq", "peer_text",
]

ASSOCIATE_RQ: Final = 0x01
ASSOCIATE_AC: Final = 0x02
ASSOCIATE_RJ: Final = 0x03
DATA: Final = 0x04
RELEASE_RQ: Final = 0x05
RELEASE_RP: Final = 0x06
ABORT: Final = 0x07

MAX_ASSOCIATE = 512 * 1024
"""The longest A-ASSOCIATE PDU that is read: 128 contexts with every transfer syntax known take some 350 KB."""

_APPLICATION, _CONTEXT_RQ, _CONTEXT_AC, _USER = 0x10, 0x20, 0x21, 0x50
_ABSTRACT, _TRANSFER = 0x30, 0x40
_MAX_LENGTH, _IMPLEMENTATION_UID, _ROLE, _IMPLEMENTATION_NAME = 0x51, 0x52, 0x54, 0x55


class ProtocolError(AxiomError):
    """The peer broke the protocol; the association is aborted with `reason` (PS3.8 Table 9-26)."""

    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    INVALID_PARAMETER = 6

    def __init__(self, words: str, reason: int = INVALID_PARAMETER) -> None:
        super().__init__(words)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """One presentation context of an A-ASSOCIATE-RQ (PS3.8 9.3.2.2)."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContextResult:
    """One presentation context of an A-ASSOCIATE-AC (PS3.8 9.3.3.2)."""

    ACCEPTED = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4

    id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Role:
    """SCP/SCU role selection (PS3.7 D.3.3.4)."""

    sop_class_uid: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class Associate:
    """An A-ASSOCIATE-RQ (with `proposed`) or -AC (with `results`).

    Items that we have no use for are skipped on reading: extended negotiation, user identity and the asynchronous
    window all have an absent answer as their default.
    """

    called_ae: str
    calling_ae: str
    max_length: int
    """The longest P-DATA-TF that its sender takes; 0: any (PS3.8 D.1)."""
    proposed: tuple[ProposedContext, ...] = ()
    results: tuple[ContextResult, ...] = ()
    roles: tuple[Role, ...] = ()
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1
    implementation_version: str = IMPLEMENTATION_VERSION_NAME
    titles: bytes = field(default=b"", repr=False)
    """The 64 bytes with both AE titles as received: an answer carries them back unchanged (PS3.8 9.3.3)."""

    def encode(self) -> bytes:
        """The whole PDU: -RQ when it proposes contexts, else -AC."""
        items = [_item(_APPLICATION, self.application_context.encode("ascii"))]
        for proposed in self.proposed:
            syntaxes = [_item(_ABSTRACT, proposed.abstract_syntax.encode("ascii"))]
            syntaxes += [_item(_TRANSFER, uid.encode("ascii")) for uid in proposed.transfer_syntaxes]
            items.append(_item(_CONTEXT_RQ, bytes((proposed.id, 0, 0, 0)) + b"".join(syntaxes)))
        for one in self.results:
            syntax = _item(_TRANSFER, one.transfer_syntax.encode("ascii"))
            items.append(_item(_CONTEXT_AC, bytes((one.id, 0, one.result, 0)) + syntax))
        user = [
            _item(_MAX_LENGTH, struct.pack(">I", self.max_length)),
            _item(_IMPLEMENTATION_UID, IMPLEMENTATION_CLASS_UID.encode("ascii")),
            *(_item(_ROLE, _encode_role(role)) for role in self.roles),
            _item(_IMPLEMENTATION_NAME, self.implementation_version.encode("ascii")),
        ]
        items.append(_item(_USER, b"".join(user)))
        titles = self.titles or _ae_field(self.called_ae) + _ae_field(self.calling_ae) + bytes(32)
        body = struct.pack(">HH", self.protocol_version, 0) + titles + b"".join(items)
        return struct.pack(">BBI", ASSOCIATE_RQ if self.proposed else ASSOCIATE_AC, 0, len(body)) + body

    @classmethod
    def decode(cls, body: bytes) -> Associate:
        """Read what follows the 6 bytes of PDU type and length. Raises ProtocolError when it is malformed."""
        if len(body) < 68:
            raise ProtocolError(f"an A-ASSOCIATE PDU of {len(body)} bytes is too short")
        max_length, version, application = 0, "", ""
        proposed: list[ProposedContext] = []
        results: list[ContextResult] = []
        roles: list[Role] = []
        for kind, value in _items(body, 68):
            if kind == _APPLICATION:
                application = peer_text(value)
            elif kind == _CONTEXT_RQ:
                proposed.append(_decode_proposed(value))
            elif kind == _CONTEXT_AC:
                results.append(_decode_result(value))
            elif kind == _USER:
                for sub, content in _items(value, 0):
                    if sub == _MAX_LENGTH and len(content) == 4:
                        max_length = int.from_bytes(content, "big")
                    elif sub == _ROLE:
                        roles.append(_decode_role(content))
                    elif sub == _IMPLEMENTATION_NAME:
                        version = peer_text(content)
        ids = [context.id for context in proposed]
        if len(set(ids)) != len(ids) or any(one % 2 == 0 for one in ids):
            raise ProtocolError("presentation context IDs must be odd and different from each other")
        return cls(
            called_ae=peer_text(body[4:20]),
            calling_ae=peer_text(body[20:36]),
            max_length=max_length,
            proposed=tuple(proposed),
            results=tuple(results),
            roles=tuple(roles),
            application_context=application,
            protocol_version=int.from_bytes(body[:2], "big"),
            implementation_version=version,
            titles=body[4:68],
        )


def encode_reject(result: int, source: int, reason: int) -> bytes:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return struct.pack(">BBIBBBB", ASSOCIATE_RJ, 0, 4, 0, result, source, reason)


def encode_release_rq() -> bytes:
    """A-RELEASE-RQ (PS3.8 9.3.6)."""
    return struct.pack(">BBII", RELEASE_RQ, 0, 4, 0)


def encode_release_rp() -> bytes:
    """A-RELEASE-RP (PS3.8 9.3.7)."""
    return struct.pack(">BBII", RELEASE_RP, 0, 4, 0)


def encode_abort(source: int, reason: int) -> bytes:
    """A-ABORT (PS3.8 9.3.8): `source` 0 for the service user, 2 for the provider, whose `reason` then counts."""
    return struct.pack(">BBIBBBB", ABORT, 0, 4, 0, 0, source, reason)


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def _items(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at < len(data):
        if at + 4 > len(data):
            raise ProtocolError("an item of the A-ASSOCIATE PDU is cut off")
        kind, _, length = struct.unpack_from(">BBH", data, at)
        at += 4
        if at + length > len(data):
            raise ProtocolError(f"the item {kind:02X}H of the A-ASSOCIATE PDU says it is longer than what holds it")
        yield kind, data[at : at + length]
        at += length


def _decode_proposed(value: bytes) -> ProposedContext:
    if len(value) < 4:
        raise ProtocolError("a presentation context item is too short")
    abstract, transfer = "", []
    for kind, content in _items(value, 4):
        if kind == _ABSTRACT:
            abstract = peer_text(content)
        elif kind == _TRANSFER:
            transfer.append(peer_text(content))
    return ProposedContext(value[0], abstract, tuple(transfer))


def _decode_result(value: bytes) -> ContextResult:
    if len(value) < 4:
        raise ProtocolError("a presentation context item is too short")
    transfer = [peer_text(content) for kind, content in _items(value, 4) if kind == _TRANSFER]
    return ContextResult(value[0], value[2], transfer[0] if transfer else "")


def _encode_role(role: Role) -> bytes:
    uid = role.sop_class_uid.encode("ascii")
    return struct.pack(">H", len(uid)) + uid + bytes((role.scu, role.scp))


def _decode_role(value: bytes) -> Role:
    length = int.from_bytes(value[:2], "big")
    if len(value) != length + 4:
        raise ProtocolError("a role selection item has the wrong length")
    return Role(peer_text(value[2 : 2 + length]), value[-2] == 1, value[-1] == 1)


def peer_text(raw: bytes) -> str:
    """Text of the peer's, safe to show and log: padding removed, what is not printable ASCII replaced by `?`."""
    return raw.strip(b" \0").translate(_PRINTABLE).decode("ascii")


_PRINTABLE = bytes(c if 32 <= c < 127 else ord("?") for c in range(256))


def _ae_field(title: str) -> bytes:
    return title.encode("ascii", "replace")[:16].ljust(16)
