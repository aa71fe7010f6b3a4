"""The nouns: what flows through the engine, frozen. No behaviour beyond what a noun can say of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Protocol

__all__ = [
    "Association", "AwaitedMove", "Change", "Commitment", "CommitmentReport", "Commitments", "Gather", "Incoming", "Intake",
    "OpenBatch", "Outcome", "Receipt", "Report", "ReportOne", "Tick", "Verdict",
]


@dataclass(frozen=True, slots=True)
class Association:
    """What is known of the sender of a batch. Rules match on these (`calling_ae called_ae source_ip tls_subject user`)."""

    source: str
    """The configured source's name."""
    source_kind: str
    """Its kind: `dimse_listener`, `stow_rs`, ..."""
    calling_ae: str = ""
    called_ae: str = ""
    source_ip: str = ""
    """The peer's address, textual; an IPv4-mapped IPv6 address is given as IPv4."""
    user: str = ""
    """The signed-in user or API key of a STOW request or an upload."""
    tls_subject: str = ""
    """The subject of the peer's TLS certificate, RFC 4514."""
    study_instances: int = 0
    """How many instances the study has in all, where the source knows it (from a query or a retrieve); 0: unknown."""


class Incoming(Protocol):
    """One instance being received: a file that does not count until `commit` returns."""

    fd: int
    """Open for writing, positioned after the file meta: the data set's bytes are appended here as they come."""
    file: Path
    """Where its bytes stand until `commit`, for who must look at them before."""

    def commit(self) -> None:
        """Make it durable (file and folder entry fsynced). Only after this may the peer hear success."""

    def discard(self) -> None:
        """Throw it away: the transfer broke off or was refused."""


class OpenBatch(Protocol):
    """The batch of one association, STOW request or retrieved study, while it is being received. One thread uses it."""

    count: int
    """Instances committed so far."""

    def receive(self, head: bytes) -> Incoming:
        """Begin an instance; `head` is the preamble, `DICM` and file meta. Raises OutOfSpace below the watermark."""

    def commit_all(self, incomings: Sequence[Any]) -> list[OSError | None]:
        """Make several instances of this batch durable at once, for who answers for many in one go.

        None for each that counts now; what failed is discarded, with its error. Raises OSError when none counts.
        """

    def seal(self) -> None:
        """End the batch and hand it to routing (nothing committed: it leaves no trace). May be called twice."""


class AwaitedMove(Protocol):
    """A C-MOVE that this node has asked for and whose images come in through a listener, in another process."""

    association: Association
    """Who asked: the query source."""
    move_id: int
    """The Message ID that the C-MOVE has to carry: no other move that is awaited on this node has it."""

    def arrived(self, sop_instance_uid: str) -> None:
        """Note that an instance of it is durable."""

    def instances(self) -> set[str]:
        """The SOP Instance UIDs that have arrived."""

    def done(self) -> None:
        """Nobody waits for it any more."""


class Commitment(NamedTuple):
    """An archive was asked to take responsibility for images that it has stored (PS3.4 J)."""

    transaction_uid: str
    destination: str
    asked_at: float
    """Seconds since 1970."""
    images: dict[str, str]
    """A mark of each image and of the content that it was sent with, and its SOP Instance UID."""


class CommitmentReport(NamedTuple):
    """What the archive said: the SOP Instance UIDs that it is responsible for now, and why it is not for others."""

    committed: frozenset[str]
    failed: dict[str, int]
    """SOP Instance UID and Failure Reason (0008,1197)."""


class Commitments(Protocol):
    """Where a delivery and the listener that an archive reports to meet: durable, and shared by processes."""

    def ask(self, commitment: Commitment) -> None:
        """Note a request, before it is made."""

    def open(self, destination: str) -> Iterable[Commitment]:
        """What a destination was asked for and is not forgotten."""

    def report(self, transaction_uid: str, report: CommitmentReport) -> bool:
        """Note an answer; False when nobody has asked."""

    def reported(self, transaction_uid: str) -> CommitmentReport | None:
        """The answer, if it has come."""

    def forget(self, transaction_uid: str) -> None:
        """Nobody waits for it any more."""


class Intake(Protocol):
    """Where a source puts what it receives: the spool's front door, handed to `Source.run`."""

    max_instances: int
    """A batch is sealed by its source when it holds this many (250): sending starts before receiving ends."""

    @property
    def commitments(self) -> Commitments:
        """Where the reports of archives go."""

    def open(self, association: Association) -> OpenBatch:
        """Begin a batch. Raises OutOfSpace below the watermark."""

    def await_move(self, association: Association, peer_ae: str) -> AwaitedMove:
        """Announce a C-MOVE to `peer_ae` (called AE title) by `association`; `done` ends it."""

    def awaited(self, originator: str, move_id: int, calling_ae: str) -> AwaitedMove | None:
        """The announced move that a C-STORE from `calling_ae` belongs to, by what it says of its originator."""


class Tick(NamedTuple):
    """One line of a `check()`: what was tried, whether it went well (None: not applicable), and in words."""

    name: str
    ok: bool | None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one rule said of one instance, and why."""

    ruleset: str
    rule: str
    state: str
    """`shadow` or `live` (a rule that is `off` says nothing)."""
    matched: bool
    reasons: tuple[str, ...]
    """The parts that decided, each with the value seen: "Modality eq CT: is MR"."""
    destinations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gather:
    """How a rule's matches are gathered, to be delivered together."""

    level: str
    """`series` or `study`."""
    quiet: float
    """Seconds without a further image after which it is delivered."""
    at_most: float
    """Seconds after its first image when it is delivered anyway."""


@dataclass(frozen=True, slots=True)
class Change:
    """One tag before and after: `path` as a person writes it, values as text (None: was or is not there)."""

    path: str
    tag: str
    """Eight hex digits of the (innermost) element, "00100010"."""
    vr: str
    before: str | None
    after: str | None
    morph: str
    """The morph's kind."""
    carries: bool = False
    """Whether the values may come out of a tag that tells who the patient is, whatever the tag they stand in."""


class Outcome(StrEnum):
    """How one instance fared at a destination."""

    CONFIRMED = "confirmed"
    """The peer has it: never sent again."""
    RETRY = "retry"
    """Not now: sent again after a back-off."""
    REFUSED = "refused"
    """No, for good: to the dead letters."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The peer's answer for one instance."""

    index: int
    """`Outgoing.index`."""
    outcome: Outcome
    code: str = ""
    """The peer's own status: "0x0000", "0xA700", "409"."""
    words: str = ""
    """What it means, with the peer's own comment: shown to people."""
    location: str = ""
    """Where it is now, if the destination can say (a path, an object name, a URL)."""
    seconds: float = 0.0
    size: int = 0
    """Bytes sent."""


ReportOne = Callable[[Receipt], None]
"""A `Report` for those that speak of one instance at a time."""


class Report(Protocol):
    """Called by a destination as soon as an instance's fate is known: that line in the ledger is what survives a crash."""

    def __call__(self, receipt: Receipt, /, *together: Receipt) -> None:
        """`together`: those that fare alike, as the images of one archive; a crash keeps all of them or none."""
