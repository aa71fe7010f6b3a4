"""Storage commitment of a `dimse` destination: an image counts as delivered when the archive has promised to keep it.

After the C-STOREs the archive is asked (N-ACTION). It reports on the same association, or later on one that it opens to a
listener of ours; until then the delivery is tried again with its usual back-off, which only looks for the report.
"""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

from pydantic import Field

from engine.component import AETitle, ConfigModel
from engine.destinations.base import Outgoing
from engine.dicom.network.commitment import CommitmentScu
from engine.dicom.network.pdu import ProtocolError
from engine.dicom.network.requestor import Peer
from engine.dicom.network.status import code_of, outcome_of, status_words
from engine.dicom.network.wire import ConnectionLost
from engine.errors import Permanent, Retry
from engine.model import Commitment, CommitmentReport, Commitments, Outcome, Receipt, Report, ReportOne

__all__ = ["Committer", "StorageCommitment", "ask_whether_offered"]

_LOOK_EVERY = 0.2
_NOT_OFFERED = (
    "{} offers no storage commitment: name the AE that does, or switch storage commitment off for this destination."
)
_NOT_HERE = 0x0112  # no such object instance: the archive has lost it, so it is sent again


class StorageCommitment(ConfigModel):
    """Asking an archive to take responsibility for what it was sent (PS3.4 J)."""

    ae_title: AETitle | None = None
    """Whom to ask; none: the one that takes the images."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """The port of the one to ask; none: the one that takes the images."""
    wait_seconds: float = Field(default=10.0, ge=0, le=300)
    """How long the association stays open for the report; most archives rather open one of their own to a listener of ours,
    which has to let them in."""
    report_seconds: float = Field(default=3600.0, gt=0, le=604_800)
    """When no report has come after so long, the images are sent and asked for again."""


class Committer:
    """One attempt at a delivery that ends with a commitment. `send` is what C-STOREs."""

    def __init__(
        self,
        settings: StorageCommitment,
        peer: Peer,
        destination: str,
        commitments: Commitments,
        send: Callable[[Sequence[Outgoing], ReportOne], None],
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._peer = _asked_peer(settings, peer)
        self._destination = destination
        self._commitments = commitments
        self._send = send
        self._stop = stop

    def attempt(self, outgoing: Sequence[Outgoing], report: Report) -> None:
        """Settle what was reported, send what has to be, ask for it. Raises Retry while a report is awaited."""
        images = {fingerprint(one): one for one in outgoing}
        waiting = self._settle(images, report)
        stored: dict[int, Receipt] = {}

        def withhold(receipt: Receipt) -> None:
            if receipt.outcome is Outcome.CONFIRMED:
                stored[receipt.index] = receipt
            else:
                report(receipt)

        unsent = list(images.values())
        try:
            if unsent:
                self._send(unsent, withhold)
        finally:
            if stored:  # of an association that broke off, too: what it has taken it can commit
                waiting += self._ask([one for one in unsent if one.index in stored], stored, report)
        if waiting and not self._stop.is_set():
            raise Retry(f"{waiting} images are stored there, and not committed yet: its report is awaited.")

    def _settle(self, images: dict[str, Outgoing], report: Report) -> int:
        """Take out of `images` what was asked for before: reported and so decided, or awaited; gives the number of these."""
        waiting = 0
        for commitment in list(self._commitments.open(self._destination)):
            ours = {mark: images[mark] for mark in commitment.images if mark in images}
            said = self._commitments.reported(commitment.transaction_uid)
            late = time.time() - commitment.asked_at > self._settings.report_seconds
            if said is None and not late:
                waiting += len(ours)
                for mark in ours:
                    del images[mark]
                continue
            if said is not None:
                for mark, one in ours.items():
                    receipt = _receipt(said, one)
                    report(receipt)
                    if receipt.outcome is not Outcome.RETRY:  # those are sent again, now
                        del images[mark]
            if ours or late:
                self._commitments.forget(commitment.transaction_uid)
        return waiting

    def _ask(self, sent: list[Outgoing], stored: dict[int, Receipt], report: Report) -> int:
        """Ask for what was stored; gives how many are still awaited."""
        uid = f"2.25.{uuid.uuid4().int}"
        images = {fingerprint(one): one.sop_instance_uid for one in sent}
        self._commitments.ask(Commitment(uid, self._destination, time.time(), images))
        try:
            said = self._ask_and_wait(uid, sent)
        except (Retry, Permanent):
            self._commitments.forget(uid)
            raise
        except (ConnectionLost, ProtocolError) as e:
            self._commitments.forget(uid)
            raise Retry(f"The images are stored there, but asking for their commitment broke off: {e}.") from e
        if said is None:
            return len(sent)
        for one in sent:
            report(replace(_receipt(said, one), seconds=stored[one.index].seconds, size=stored[one.index].size))
        self._commitments.forget(uid)
        return 0

    def _ask_and_wait(self, uid: str, sent: list[Outgoing]) -> CommitmentReport | None:
        with CommitmentScu(self._peer) as scu:
            if not scu.offered:
                raise Permanent(
                    f"The images are stored there, but {_NOT_OFFERED.format(self._peer.called_ae)}", code_of(0x0122)
                )
            status, comment = scu.ask(uid, [(one.sop_class_uid, one.sop_instance_uid) for one in sent])
            if status:
                words = f"{self._peer.called_ae} has stored the images, but commits nothing: {status_words(status, comment)}"
                raise Retry(words, code_of(status))
            until = time.monotonic() + self._settings.wait_seconds
            while not self._stop.is_set():
                left = until - time.monotonic()
                try:
                    found = scu.report(max(0.0, min(_LOOK_EVERY, left)))
                except ConnectionLost:
                    return self._commitments.reported(uid)  # it will report on an association of its own
                if found is not None and found[0] == uid:
                    return found[1]
                elsewhere = self._commitments.reported(uid)
                if elsewhere is not None or left <= 0:
                    return elsewhere
        return None


def ask_whether_offered(settings: StorageCommitment, peer: Peer) -> str:
    """For checks: in words that it is. Raises Retry or Permanent when it is not, or when nobody answers."""
    asked = _asked_peer(settings, peer)
    with CommitmentScu(asked) as scu:
        if scu.offered:
            return f"{asked.called_ae} offers it; its report needs a listener of ours, which it has to know"
    raise Permanent(_NOT_OFFERED.format(asked.called_ae))


def _asked_peer(settings: StorageCommitment, peer: Peer) -> Peer:
    return replace(peer, called_ae=(settings.ae_title or peer.called_ae).strip(), port=settings.port or peer.port)


def fingerprint(one: Outgoing) -> str:
    """The same at every attempt, and another for another content: a delivery's pieces stay what they are."""
    digest = hashlib.sha256(f"{one.index} {one.sop_instance_uid} {one.transfer_syntax_uid} ".encode())
    for piece in one.data_set.pieces:
        if isinstance(piece, bytes):
            digest.update(piece)
        else:
            digest.update(f"{piece.path.parent.name}/{piece.path.name}:{piece.offset}:{piece.length}".encode())
    return digest.hexdigest()[:32]


def _receipt(said: CommitmentReport, one: Outgoing) -> Receipt:
    """What the archive said of one image; one that it does not mention it does not have."""
    if one.sop_instance_uid in said.committed:
        return Receipt(one.index, Outcome.CONFIRMED, code_of(0), "stored and committed", size=one.data_set.length)
    reason = said.failed.get(one.sop_instance_uid, _NOT_HERE)
    outcome = Outcome.RETRY if reason in (_NOT_HERE, 0x0131) else outcome_of(reason)
    outcome = Outcome.REFUSED if outcome is Outcome.CONFIRMED else outcome
    return Receipt(one.index, outcome, code_of(reason), f"not committed: {status_words(reason)}")
