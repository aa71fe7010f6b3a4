"""Asks a DICOM archive over C-FIND, and fetches from it over C-GET, or over C-MOVE to a listener of this node.

Guarantee: an image that C-GET brings is answered with success only when it is on disk (fsynced); one that C-MOVE brings is
taken by the listener, under the same promise. A study counts as fetched when the archive's own counts of sub-operations,
and its number of instances where it says one, are reached; what it could not send is told in its words.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from engine.component import AETitle, HostName
from engine.connection.probe import NotApplicable, Step, try_steps
from engine.connection.tls import TlsClient, secured, shown_until
from engine.dicom.charset import encodings
from engine.dicom.network.models import MODELS, Model, Root
from engine.dicom.network.query_scu import QueryScu, calmly
from engine.dicom.network.requestor import Peer, connect, resolve, secure
from engine.dicom.network.retrieve_scu import MOST_CLASSES, RetrieveScu
from engine.dicom.network.status import code_of, status_words
from engine.dicom.network.uids import uid_name
from engine.errors import Permanent, Retry
from engine.model import Association, Intake, Tick
from engine.sources._dimse_query import QUERY_LEVEL, matches
from engine.sources._dimse_retrieve import get, move
from engine.sources._query import Match, Progress, Query, QuerySource, Retrieved

__all__ = ["DimseQr"]

_NOBODY = "2.25.0"  # a Study Instance UID that no study has: asking for it tries the right, not the archive
_OF_THIS_ONE = ("0xC", "0xA9", "0xAA")
"""Statuses that speak of what was asked for, and not of the archive: others may well be fetched from it."""
_CLASSES_IN_STUDY = "SOPClassesInStudy"


def _known(character_set: str) -> str:
    if character_set and encodings(tuple(character_set.split("\\"))) is None:
        raise ValueError("this is no Specific Character Set (PS3.3 C.12.1.1.2), such as ISO_IR 192 or \\ISO 2022 IR 87")
    return character_set


class DimseQr(QuerySource):
    """A DICOM archive with Query/Retrieve: a PACS, a VNA, a workstation."""

    label: ClassVar[str] = "DICOM archive (query and retrieve)"
    kind: Literal["dimse_qr"] = "dimse_qr"

    host: HostName = Field(examples=["127.0.0.1", "pacs.example.org"])
    """The archive's name or address."""
    port: int = Field(ge=1, le=65535, examples=[104, 11112])
    """The TCP port that it listens on."""
    ae_title: AETitle
    """What the archive is called (called AE title)."""
    calling_ae_title: AETitle = "AXIOM"
    """What we call ourselves; many archives let in only titles that they know."""
    root: Root = "study"
    """The information model that is asked: Study Root, or Patient Root (PS3.4 C.6), which asks for patients first."""
    retrieve_by: Literal["get", "move"] = "get"
    """How images are fetched: on the association that asks (C-GET), or by a C-MOVE to a listener of this node."""
    move_destination: AETitle | None = None
    """With C-MOVE: the AE title of this node's listener, as the archive knows it; empty: the calling AE title."""
    says_originator: bool = True
    """With C-MOVE: whether the archive says in each image which C-MOVE it belongs to, as the standard asks. Off: its
    counts are believed, and the images come in under the listener's name."""
    sop_classes: list[Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]] = Field(
        default=[], max_length=MOST_CLASSES, examples=[["1.2.840.10008.5.1.4.1.1.2"]]
    )
    """With C-GET: the SOP classes that may come; empty: those that the archive says the study has, else the common ones."""
    character_set: Annotated[str, Field(max_length=128), AfterValidator(_known)] = Field(
        default="ISO_IR 192", examples=["ISO_IR 100", "\\ISO 2022 IR 87", "GB18030"]
    )
    """The Specific Character Set that it is asked in, and in which it mostly answers; empty: none is said, and filters are
    ASCII. Answers that do not say theirs are read in it."""
    tls: TlsClient | None = None
    """TLS, with a certificate of ours mutual TLS; none: DICOM as plain text. (C-MOVE: the listener has its own.)"""
    connect_timeout: float = Field(default=10.0, gt=0, le=600)
    """Seconds to wait for the TCP connection, and for the TLS handshake."""
    acse_timeout: float = Field(default=30.0, gt=0, le=600)
    """Seconds to wait for the answer to an association request or release."""
    dimse_timeout: float = Field(default=60.0, gt=0, le=3600)
    """Seconds that the archive may be silent while it answers a query, or while it retrieves and no image comes."""
    settle_seconds: float = Field(default=30.0, ge=0, le=3600)
    """With C-MOVE: how long images that the archive has counted are waited for when it says that it has ended."""
    max_pdu: int = Field(default=131_072, ge=4096, le=1_048_576)
    """The longest PDU, in bytes, that we send (never longer than the archive allows) and take."""

    def query(self, query: Query, stop: threading.Event) -> Iterator[Match]:
        peer = self.peer()
        if self.retrieve_by == "get" and query.level == "study":
            query = Query(query.level, query.filters, (*query.fields, _CLASSES_IN_STUDY), query.limit, query.offset)
        most = query.offset + query.limit if query.limit else 0
        with calmly(peer), QueryScu(peer, [self.model.find], character_set=self.character_set) as scu:

            def ask(keys: Mapping[int, str]) -> Iterator[dict[str, Any]]:
                return scu.find(self.model.find, keys)

            with contextlib.closing(matches(query, self.model, ask)) as found:
                for count, match in enumerate(found, 1):
                    if count > query.offset:
                        yield match
                    if count == most or stop.is_set():
                        break

    def retrieve(self, match: Match, intake: Intake, stop: threading.Event, progress: Progress) -> Retrieved:
        fetch = get if self.retrieve_by == "get" else move
        try:
            with calmly(self.peer()):
                return fetch(self, match, intake, stop, progress)
        except Permanent as e:
            if not e.code.startswith(_OF_THIS_ONE):
                raise
            return Retrieved(0, match.instances, 0, str(e))

    def association(self, match: Match | None = None, *, source_ip: str = "") -> Association:
        """Of what the archive sends us: it is the caller."""
        common = super().association(match, source_ip=source_ip)
        return replace(common, calling_ae=self.ae_title.strip(), called_ae=self.calling_ae_title.strip())

    @property
    def model(self) -> Model:
        return MODELS[self.root]

    @property
    def destination(self) -> str:
        """The AE title that a C-MOVE sends to."""
        return (self.move_destination or self.calling_ae_title).strip()

    def peer(self) -> Peer:
        return Peer(
            self.host, self.port, self.ae_title.strip(), self.calling_ae_title.strip(),
            self.connect_timeout, self.acse_timeout, self.dimse_timeout, self.max_pdu, secured(self.tls, self.host),
        )  # fmt: skip

    def check(self) -> list[Tick]:
        return try_steps(
            [
                Step("name resolves", lambda: resolve(self.peer())),
                Step("port open", self._try_port),
                Step("TLS valid", self._try_tls),
                Step("association accepted", self._try_association),
                Step("C-ECHO", self._try_echo),
                Step("query right", self._try_query),
                Step("retrieve right", self._try_retrieve),
            ]
        )

    def _try_port(self) -> str:
        connect(self.peer()).close()
        return f"{self.host} port {self.port}"

    def _try_tls(self) -> str:
        if self.tls is None:
            raise NotApplicable("plain DICOM: everything can be read on the way")
        with secure(self.peer(), connect(self.peer())) as sock:
            if not isinstance(sock, ssl.SSLSocket):
                raise NotApplicable("plain DICOM")
            until = shown_until(sock)
            return f"{sock.version()}, the peer's certificate is valid until {until:%Y-%m-%d}" if until else "no certificate"

    def _try_association(self) -> str:
        with calmly(self.peer()), QueryScu(self.peer(), [self.model.find]) as scu:
            return f"{self.ae_title} takes associations from {self.calling_ae_title} ({scu.peer_version or 'unnamed'})"

    def _try_echo(self) -> str:
        with calmly(self.peer()), QueryScu(self.peer(), []) as scu:
            if not scu.accepted:
                raise NotApplicable("the peer does not answer C-ECHO, which is its right")
            status, comment = scu.echo()
        if status:
            raise Retry(status_words(status, comment), code_of(status))
        return status_words(status, comment)

    def _try_query(self) -> str:
        keys = {QUERY_LEVEL: "STUDY", 0x0020000D: _NOBODY}
        if self.root == "patient":
            keys = {QUERY_LEVEL: "PATIENT", 0x00100020: _NOBODY}
        with calmly(self.peer()), QueryScu(self.peer(), [self.model.find]) as scu:
            for _ in scu.find(self.model.find, keys, seconds=self.dimse_timeout):
                pass
        return uid_name(self.model.find)

    def _try_retrieve(self) -> str:
        if self.retrieve_by == "move":
            with calmly(self.peer()), RetrieveScu(self.peer(), self.model.move) as scu:
                if scu.context_of(self.model.move) is None:
                    raise Permanent("It does not let us ask for a C-MOVE: try C-GET.")
            return f"C-MOVE is accepted; whether it knows {self.destination}, it says only when it is asked to send"
        classes = self.sop_classes or ["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"]
        with calmly(self.peer()), RetrieveScu(self.peer(), self.model.get, storage=classes) as scu:
            if scu.context_of(self.model.get) is None:
                raise Permanent("It does not let us ask for a C-GET: try C-MOVE.")
            if not scu.receivable():
                raise Permanent("It takes a C-GET, and agrees to send none of the image classes on it: try C-MOVE.")
            return f"C-GET is accepted, with {len(scu.receivable())} of {len(classes)} image classes tried"
