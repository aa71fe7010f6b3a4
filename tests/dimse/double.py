"""An archive that does what a test tells it, message by message: for what no real one does on demand."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from engine.dicom.network.command import C_STORE_RQ, Command, Counts
from engine.dicom.network.identifier import encode_identifier
from engine.dicom.network.messages import DATA_SET, LAST, Messages, pdv_head
from engine.dicom.network.pdu import Associate, ContextResult, Role
from engine.dicom.network.wire import ConnectionLost, Wire
from tests.dimse.support import CT, scripted

__all__ = ["Archive", "Script", "archive"]


@dataclass
class Archive:
    """An archive that does what a test tells it, message by message, on one association."""

    wire: Wire
    messages: Messages
    request: Associate
    context: int = 3
    seen: list[Command] = field(default_factory=list)

    def answer(self, request: Command, status: int, data: bytes = b"", comment: str = "", **counts: int) -> None:
        fields = {"responded_to": request.message_id, "has_data_set": bool(data), "sop_class_uid": request.sop_class_uid}
        command = Command(request.field | 0x8000, status=status, comment=comment, counts=Counts(**counts), **fields)  # type: ignore[arg-type]
        self.messages.send(self.context, command)
        if data:
            self.data(self.context, data)

    def data(self, context: int, data: bytes) -> None:
        self.wire.send(pdv_head(context, DATA_SET | LAST, len(data)) + data)

    def match(self, uid: str) -> bytes:
        return encode_identifier({0x00080052: "STUDY", 0x0020000D: uid, 0x00100010: ""}, "1.2.840.10008.1.2.1", "")

    def store(self, uid: str, sop_class: str = CT) -> Command:
        """Send an image on the association that asked; gives the answer."""
        context = next(c.id for c in self.request.proposed if c.abstract_syntax == sop_class)
        self.messages.send(
            context, Command(C_STORE_RQ, message_id=9, has_data_set=True, sop_class_uid=sop_class, sop_instance_uid=uid)
        )
        self.data(context, b"\x08\0\x05\0CS\0\0")
        return self.messages.command()[1]


Script = Callable[[Archive, Command], None]


@contextlib.contextmanager
def archive(script: Script) -> Iterator[int]:
    """A server that accepts everything asked, and does `script` with each request."""

    def serve(connection: socket.socket) -> None:
        wire = Wire(connection, 20)
        _, length = wire.head()
        request = Associate.decode(wire.exactly(length))
        results = tuple(ContextResult(c.id, 0, c.transfer_syntaxes[0]) for c in request.proposed)
        roles = tuple(Role(role.sop_class_uid, scu=False, scp=True) for role in request.roles)
        wire.send(
            Associate(request.called_ae, request.calling_ae, 16384, results=results, roles=roles, titles=request.titles).encode()
        )
        messages = Messages(wire, 131072, request.max_length)
        one = Archive(wire, messages, request)
        with contextlib.suppress(ConnectionLost, Exception):
            while True:
                context, command = messages.command()
                if command.has_data_set:
                    for _ in messages.data_set(context):
                        pass
                one.seen.append(command)
                script(one, command)

    with scripted(serve) as port:
        yield port
