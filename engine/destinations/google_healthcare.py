"""Sends to a DICOM store of Google's Cloud Healthcare API, by STOW-RS with Google's sign-in, streamed from disk.

Guarantee: confirmed when the store's answer names the instance among the stored ones; the same instance again is one of
them. Another image with the same UIDs is there (409, told apart from an unreadable image by the answer's body): refused,
or replaced where so configured, which deletes the one that is there first; the new one is kept here until it is confirmed.
Exceeded quota (429) and 5xx are tried again, not before Retry-After; what Google cannot read is refused for that image.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from engine.connection.google_store import GoogleDicomStore
from engine.connection.http import HttpClient
from engine.connection.probe import Step, reach, try_steps
from engine.connection.tls import TlsClient
from engine.destinations._store_response import Failed
from engine.destinations._stow import Limits, StowSender, by_reason, empty_request
from engine.destinations.base import Destination, Outgoing
from engine.errors import Permanent
from engine.model import Outcome, Receipt, Report, Tick
from engine.security.secret_references import SecretReference

__all__ = ["GoogleHealthcare"]

PROCESSING_FAILURE = 0x0110
_DIFFERS = ("already exists", "checksum mismatch")
"""How Google's detail says that other bytes stand under these UIDs."""


class GoogleHealthcare(GoogleDicomStore, Destination):
    """A DICOM store in Google Cloud."""

    label: ClassVar[str] = "Google Healthcare API"
    kind: Literal["google_healthcare"] = "google_healthcare"

    service_account: SecretReference | None = Field(default=None, examples=["file:/run/secrets/google.json"])
    """Where the JSON key of a service account is that may write there (healthcare.dicomStores.dicomWebWrite); none: this
    machine's own identity (application default credentials)."""
    same_uids: Literal["refuse", "replace"] = "refuse"
    """When the store has another image of the same UIDs: refuse the new one, so that a person looks, or replace the
    older one (which needs the right to delete)."""
    instances_per_request: int = Field(default=50, ge=1, le=1000)
    """The most images in one request."""
    megabytes_per_request: int = Field(default=200, ge=1, le=100_000)
    """The most megabytes in one request; an image that is larger goes alone. Google ends a request after an hour."""

    def deliver(self, outgoing: Sequence[Outgoing], report: Report, stop: threading.Event) -> None:
        if not outgoing or stop.is_set():
            return
        other: list[int] = []  # images that stand there with other bytes, to be replaced

        def tell(receipt: Receipt) -> None:
            if self.same_uids == "replace" and receipt.outcome is Outcome.REFUSED and _differs(receipt.words):
                other.append(receipt.index)
            else:
                report(receipt)

        with self.client() as client:
            limits = Limits(self.instances_per_request, self.megabytes_per_request << 20)
            StowSender(client, limits, tell, stop, _judge).send(outgoing)
            again = StowSender(client, Limits(1, 1), report, stop, _judge)
            for one in (o for o in outgoing if o.index in other):
                if stop.is_set():
                    return
                _delete(client, one)
                again.send([one])

    def check(self) -> list[Tick]:
        way = reach(self.endpoint, self.http, TlsClient())
        steps = [*way, Step("authenticated", self._search), Step("write right", self._store)]
        return try_steps(steps)

    def _search(self) -> str:
        """Signing in is what is asked here: a store that may be written and not read answers 403, and knows us."""
        with self.client() as client:
            try:
                client.request("GET", "studies", params={"limit": 1}, headers={"Accept": "application/dicom+json"})
            except Permanent as error:
                if error.code == "403":
                    return "Google knows us; we may not search there, which sending does not need"
                raise
            return "the DICOM store is there, and was searched"

    def _store(self) -> str:
        with self.client() as client:
            return empty_request(client)


def _judge(failed: Failed) -> Outcome:
    """Google says processing failure (0110) of all: in an answer that reads the image it is the last word."""
    return Outcome.REFUSED if failed.reason == PROCESSING_FAILURE else by_reason(failed)


def _differs(words: str) -> bool:
    return any(mark in words for mark in _DIFFERS)


def _delete(client: HttpClient, one: Outgoing) -> None:
    """Delete the image of these UIDs. One that is gone meanwhile is as well."""
    study, series = one.tags.text("StudyInstanceUID"), one.tags.text("SeriesInstanceUID")
    client.request("DELETE", f"studies/{study}/series/{series}/instances/{one.sop_instance_uid}", takes=(404,))
