"""Asks a DICOM store of Google's Cloud Healthcare API (QIDO-RS) and fetches from it (WADO-RS), in full and as stored there.

Guarantee: as that of `dicomweb`: an instance counts when it is on disk; a study is marked fetched when Google's message was
whole and held as many instances as Google had counted. A quota that is used up (429) makes it wait as long as Google says.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from engine.connection.google_store import GoogleDicomStore
from engine.connection.probe import Step, reach, try_steps
from engine.connection.tls import TlsClient
from engine.model import Intake, Tick
from engine.security.secret_references import SecretReference
from engine.sources._dicomweb import fetch, metadata, search, try_query
from engine.sources._query import Batches, Match, Progress, Query, QuerySource, Retrieved

__all__ = ["GoogleHealthcare"]

_LARGEST_PAGE = {"study": 5000, "series": 5000, "instance": 50_000}


class GoogleHealthcare(GoogleDicomStore, QuerySource):
    """A DICOM store in Google Cloud."""

    label: ClassVar[str] = "Google Cloud Healthcare"
    kind: Literal["google_healthcare"] = "google_healthcare"

    service_account: SecretReference | None = Field(default=None, examples=["file:/run/secrets/google.json"])
    """Where the JSON key of a service account is that may read there (healthcare.dicomStores.dicomWebRead); none: this
    machine's own identity (application default credentials)."""
    look_first: bool = False
    """Metadata first: the headers are asked for, and a study is fetched only when a rule (live or in shadow) matches one of
    its images. A study that none matches stays there, counted as unmatched; a later rule gets it by a back-fill."""

    def query(self, query: Query, stop: threading.Event) -> Iterator[Match]:
        size = min(self.page_size, _LARGEST_PAGE.get(query.level, self.page_size))
        with self.client() as client:
            yield from search(client, query, size, stop)

    def retrieve(self, match: Match, intake: Intake, stop: threading.Event, progress: Progress) -> Retrieved:
        with self.client() as client, Batches(intake, self.association(match)) as batches:
            return fetch(client, match, batches, stop, progress)

    @property
    def looks_first(self) -> bool:
        return self.look_first

    def metadata(self, match: Match, stop: threading.Event) -> Iterator[Mapping[str, Any]]:
        with self.client() as client:
            yield from metadata(client, match)

    def check(self) -> list[Tick]:
        return try_steps([*reach(self.endpoint, self.http, TlsClient()), Step("query right", lambda: try_query(self))])
