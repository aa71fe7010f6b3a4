"""Sends to a DICOMweb server by STOW-RS (PS3.18 10.5), images as they are unless asked otherwise, streamed from disk.

Guarantee: confirmed when the server's store response names the instance among the stored ones (with a warning too), or says
that it has it already. A 200 whose body does not name an instance confirms nothing: it is sent again, alone. Out of
resources (A7xx), failures of the moment, 408, 425, 429, 5xx, half answers and silence are tried again, not before
Retry-After; other reasons and statuses are the server's last word. What a request was refused for as a whole is found by
sending less at once, so that an image that the server cannot read or take refuses that image alone. A transfer syntax that
it does not take (C122, 415) is told by its answer, and the next one that the policy allows is tried.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from engine.connection.credentials import Authentication
from engine.connection.http import HttpClient, HttpSettings
from engine.connection.probe import NotApplicable, Step, reach, try_steps
from engine.connection.tls import TlsClient
from engine.destinations._store_response import Failed
from engine.destinations._stow import DUPLICATE, Limits, StowSender, by_reason, empty_request
from engine.destinations._stow_syntax import RewritingSender
from engine.destinations._transfer_syntax import TransferSyntaxPolicy
from engine.destinations.base import Destination, Outgoing
from engine.errors import Permanent
from engine.model import Outcome, Report, Tick

__all__ = ["StowRs"]


class StowRs(Destination):
    """A DICOMweb server: a PACS, an archive, a cloud."""

    label: ClassVar[str] = "DICOMweb server (STOW-RS)"
    kind: Literal["stow_rs"] = "stow_rs"

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
    transfer_syntax: TransferSyntaxPolicy = TransferSyntaxPolicy()
    """Whether images are written in another transfer syntax."""
    instances_per_request: int = Field(default=50, ge=1, le=1000)
    """The most images in one request."""
    megabytes_per_request: int = Field(default=100, ge=1, le=100_000)
    """The most megabytes in one request; an image that is larger goes alone."""
    already_there: Literal["confirm", "refuse"] = "confirm"
    """When the server says that it has an image of that UID already: take that for success (what was in flight at a crash
    is sent twice), or refuse it, so that a person looks whether it is the same."""

    def deliver(self, outgoing: Sequence[Outgoing], report: Report, stop: threading.Event) -> None:
        if not outgoing or stop.is_set():
            return
        with self._client() as client:
            limits = Limits(self.instances_per_request, self.megabytes_per_request << 20)
            rewriting = RewritingSender(self.transfer_syntax, limits, report, stop)
            rewriting.send(outgoing, StowSender(client, limits, rewriting.tell, stop, self._judge))

    def check(self) -> list[Tick]:
        steps = [*reach(self.url, self.http, self.tls), Step("authenticated", self._search), Step("write right", self._store)]
        return try_steps(steps)

    def _judge(self, failed: Failed) -> Outcome:
        if failed.reason in DUPLICATE and self.already_there == "refuse":
            return Outcome.REFUSED
        return by_reason(failed)

    def _client(self) -> HttpClient:
        return HttpClient(self.url, self.authentication, self.http, self.tls)

    def _search(self) -> str:
        """A search for one study: servers that only store need not answer it."""
        with self._client() as client:
            try:
                answer = client.request("GET", "studies", params={"limit": 1}, headers={"Accept": "application/dicom+json"})
            except Permanent as error:
                if error.code in ("401", "403", "407", ""):
                    raise
                raise NotApplicable(f"the server does not search ({error.code}), which is its right") from error
            return f"a search was answered ({answer.status_code})"

    def _store(self) -> str:
        with self._client() as client:
            return empty_request(client)
