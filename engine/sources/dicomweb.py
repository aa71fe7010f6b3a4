"""Asks a DICOMweb server what it has (QIDO-RS) and fetches it (WADO-RS), as it stands there: nothing is transcoded.

Guarantee: an instance counts when it is on disk; a study is marked fetched when the server's message was whole and held as
many instances as the server had counted. What breaks off is fetched again: what came before stays, and comes twice.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from engine.connection.credentials import Authentication
from engine.connection.http import HttpClient, HttpSettings
from engine.connection.probe import Step, reach, try_steps
from engine.connection.tls import TlsClient
from engine.model import Intake, Tick
from engine.sources._dicomweb import fetch, metadata, search, try_query
from engine.sources._query import Batches, Match, Progress, Query, QuerySource, Retrieved

__all__ = ["DicomWeb"]


class DicomWeb(QuerySource):
    """A DICOMweb server: a PACS, an archive, another Orthanc."""

    label: ClassVar[str] = "DICOMweb server (QIDO-RS, WADO-RS)"
    kind: Literal["dicomweb"] = "dicomweb"

    url: str = Field(
        min_length=8, max_length=2000, pattern=r"^https?://[^\s@?#]+$", examples=["https://pacs.example.org/dicom-web"]
    )
    """The server's DICOMweb root: what stands before `/studies`."""
    authentication: Authentication = Authentication()
    """How we sign in there."""
    tls: TlsClient = TlsClient()
    """For https: whose certificates count, and our own; for the token URL too."""
    http: HttpSettings = HttpSettings()
    """Time limits and proxy."""
    look_first: bool = False
    """Metadata first: the headers are asked for, and a study is fetched only when a rule (live or in shadow) matches one of
    its images. A study that none matches stays there, counted as unmatched; a later rule gets it by a back-fill."""
    transfer_syntax: str = Field(default="*", max_length=64, pattern=r"^(\*|[0-9.]*)$", examples=["*"])
    """The transfer syntax asked for: `*` is as the server has it; empty asks for none, for servers that refuse `*`:
    they may then transcode."""

    def query(self, query: Query, stop: threading.Event) -> Iterator[Match]:
        with self._client() as client:
            yield from search(client, query, self.page_size, stop)

    def retrieve(self, match: Match, intake: Intake, stop: threading.Event, progress: Progress) -> Retrieved:
        with self._client() as client, Batches(intake, self.association(match)) as batches:
            return fetch(client, match, batches, stop, progress, self.transfer_syntax)

    @property
    def looks_first(self) -> bool:
        return self.look_first

    def metadata(self, match: Match, stop: threading.Event) -> Iterator[Mapping[str, Any]]:
        with self._client() as client:
            yield from metadata(client, match)

    def check(self) -> list[Tick]:
        return try_steps([*reach(self.url, self.http, self.tls), Step("query right", lambda: try_query(self))])

    def _client(self) -> HttpClient:
        return HttpClient(self.url, self.authentication, self.http, self.tls)
