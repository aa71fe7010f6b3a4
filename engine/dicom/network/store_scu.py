"""Sending: C-STORE from files on an association that we ask for (PS3.4 B, PS3.7 9.1)."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Sequence

from engine.dicom.content import Content, Slice
from engine.dicom.network.command import C_STORE_RQ, C_STORE_RSP, Command
from engine.dicom.network.messages import DATA_SET, LAST, PDV_HEAD, PeerAborted
from engine.dicom.network.pdu import DATA, ProposedContext, ProtocolError
from engine.dicom.network.requestor import LAST_WORDS_SECONDS, Peer, Requestor
from engine.dicom.network.wire import ConnectionLost

__all__ = ["StoreScu"]

_BUFFER = 256 * 1024


class StoreScu(Requestor):
    """An association with a peer for pairs of abstract and transfer syntax (at most 128), each in its own context."""

    def __init__(self, peer: Peer, pairs: Sequence[tuple[str, str]], sock: socket.socket | None = None) -> None:
        proposed = [ProposedContext(2 * i + 1, abstract, (syntax,)) for i, (abstract, syntax) in enumerate(pairs)]
        super().__init__(peer, proposed, sock=sock)
        self.contexts: dict[tuple[str, str], int] = {}
        """The accepted pairs and their presentation context IDs."""
        self.refusals: dict[tuple[str, str], str] = {}
        """The other pairs, with the reason in words."""
        for context in proposed:
            pair = (context.abstract_syntax, context.transfer_syntaxes[0])
            if context.id in self.accepted:
                self.contexts[pair] = context.id
            else:
                self.refusals[pair] = self.refused[context.id]
        size = self._messages.fragment_size
        self._buffer = memoryview(bytearray(max(_BUFFER, size) + PDV_HEAD))

    def store(self, context: int, sop_class_uid: str, sop_instance_uid: str, data_set: Content) -> tuple[int, str]:
        """C-STORE one instance: the peer's status and Error Comment. Raises OSError or EOFError, too, when the data set
        cannot be read; its message is then incomplete, and the association must be aborted.
        """
        request = Command(
            C_STORE_RQ, message_id=self._next_id(), has_data_set=True,
            sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid,
        )  # fmt: skip
        with contextlib.closing(_Reader(data_set)) as reader:
            try:
                self._send(context, self._messages.encode(context, request), reader)
            except ConnectionLost as e:
                return self._last_words(e)
        return self._response(C_STORE_RSP)

    def _send(self, context: int, command: bytes, reader: _Reader) -> None:
        """The command and the data set in as few sends as the buffer allows, each fragment in its own P-DATA-TF."""
        buffer, size, send = self._buffer, self._messages.fragment_size, self._wire.send
        left, at = reader.length, 0
        if len(command) + PDV_HEAD <= len(buffer):
            buffer[: len(command)] = command
            at = len(command)
        else:
            send(command)
        while True:
            count = min(size, left)
            if at + PDV_HEAD + count > len(buffer):
                send(buffer[:at])
                at = 0
            left -= count
            control = DATA_SET if left else DATA_SET | LAST
            struct.pack_into(">BBIIBB", buffer, at, DATA, 0, count + 6, count + 2, context, control)
            at += PDV_HEAD
            reader.fill(buffer[at : at + count])
            at += count
            if not left:
                send(buffer[:at])
                return

    def _last_words(self, lost: ConnectionLost) -> tuple[int, str]:
        """A peer that ends it while we send may have said why: its answer, or its abort, comes before the bare loss."""
        self._wire.set_timeout(LAST_WORDS_SECONDS)
        try:
            return self._response(C_STORE_RSP)
        except PeerAborted:
            raise
        except (ConnectionLost, ProtocolError):
            raise lost from None


class _Reader:
    """Fills buffers from the pieces of a Content, one after the other."""

    def __init__(self, content: Content) -> None:
        self.length = content.length
        self._pieces = list(reversed(content.pieces))
        self._at = 0  # within the piece that is last in the list
        self._fd = -1

    def fill(self, view: memoryview) -> None:
        """Fill all of `view`. Raises EOFError when a file is shorter than its slice says, OSError."""
        done = 0
        while done < len(view):
            piece = self._pieces[-1]
            length = piece.length if isinstance(piece, Slice) else len(piece)
            count = min(len(view) - done, length - self._at)
            if isinstance(piece, Slice):
                if self._fd < 0:
                    self._fd = os.open(piece.path, os.O_RDONLY | os.O_CLOEXEC)
                count = os.preadv(self._fd, [view[done : done + count]], piece.offset + self._at) if count else 0
                if not count and self._at < length:
                    raise EOFError(f"{piece.path.name} ends before its slice does")
            else:
                view[done : done + count] = piece[self._at : self._at + count]
            done += count
            self._at += count
            if self._at == length:
                self._pieces.pop()
                self._at = 0
                self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
