"""A sender that knows which images it was promised: pynetdicom, reconnecting as often as it must."""

from __future__ import annotations

import threading
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.association import Association

__all__ = ["AnsweredSender"]


class AnsweredSender(threading.Thread):
    """Sends files until each was answered 0x0000, whatever happens to the peer in between.

    `answered` holds the UIDs that were promised; `broken` how many associations ended in the middle.
    """

    def __init__(self, files: list[Path], port: int, called: str = "AXIOM") -> None:
        super().__init__(daemon=True)
        self._left = [dcmread(f) for f in files]
        self._port, self._called = port, called
        self.answered: set[str] = set()
        self.broken = 0
        self.give_up = threading.Event()

    def run(self) -> None:
        while self._left and not self.give_up.is_set():
            association = self._connect()
            if association is None:
                self.give_up.wait(0.2)
                continue
            try:
                self._send(association)
            finally:
                if association.is_established:
                    association.release()

    def _connect(self) -> Association | None:
        ae = AE("CHAOS")
        ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 5
        for uid, syntax in sorted({(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in self._left}):
            ae.add_requested_context(uid, syntax)
        association = ae.associate("127.0.0.1", self._port, ae_title=self._called)
        return association if association.is_established else None

    def _send(self, association: Association) -> None:
        while self._left and not self.give_up.is_set():
            ds = self._left[0]
            try:
                status = association.send_c_store(ds)
            except (RuntimeError, ValueError):
                status = None  # the association ended between two images
            if status and status.get("Status") == 0x0000:
                self.answered.add(str(ds.SOPInstanceUID))
                self._left.pop(0)
            elif status:
                self.give_up.wait(0.1)  # refused for the moment (A700): the same one again
            else:
                self.broken += 1
                return
