"""Sending by STOW-RS (PS3.18 10.5): instances in requests of bounded size, streamed, each one's fate read from the answer.

What a request as a whole was refused for (a body too large, an image that the peer cannot read) is found out by sending
less: halves, down to one image, so that one image's fault is no other's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import httpx

from engine.connection.http import HttpClient, failure
from engine.connection.multipart import MultipartWriter
from engine.destinations._store_response import Failed, Stored, StoreResponse, parse_store_response
from engine.destinations.base import Outgoing
from engine.dicom.network.status import code_of, outcome_of, status_words
from engine.errors import Permanent, Retry
from engine.model import Outcome, Receipt, ReportOne

__all__ = ["DUPLICATE", "TRANSFER_SYNTAX", "Judge", "Limits", "StowSender", "by_reason", "empty_request"]

DUPLICATE = {0x0111, 0xB00E}
"""Failure reasons that say "it is here already": the standard's duplicate, and Azure's 45070."""
TRANSFER_SYNTAX = 0xC122
"""The failure reason that says that the server does not take this transfer syntax."""
_WORDS = {0xB00E: "the instance is there", TRANSFER_SYNTAX: "Refused: Referenced Transfer Syntax not supported"}
"""Reasons of PS3.18 Table I.2-2 and of Azure that no C-STORE has."""
GIVE_UP_AFTER = 10
"""So many instances in a row that the peer cannot take now: it is spared the rest."""
_JSON, _XML = "application/dicom+json", "application/dicom+xml"
_MAY_BE_ONE = {"400", "409", "413", "415", "422"}
"""Refusals that can be the fault of one image, or of so many at once."""

Judge = Callable[[Failed], Outcome]
"""What an instance's failure means for it."""


class _Unread(Exception):
    """The peer says that it is well, and no store response can be read: its code, and words."""


class Limits(NamedTuple):
    """The most that goes into one request; a single instance may be larger."""

    instances: int
    size: int


class StowSender:
    """One delivery over one client. `judge` decides what a Failure Reason means."""

    def __init__(self, client: HttpClient, limits: Limits, report: ReportOne, stop: threading.Event, judge: Judge) -> None:
        self._client = client
        self._limits = limits
        self._report = report
        self._stop = stop
        self._judge = judge
        self._later = 0
        self._accept = _JSON

    def send(self, outgoing: Iterable[Outgoing], most: int = 1000) -> None:
        """Send all, taken as they are needed, at most so many in a request.

        Raises Retry when the peer cannot take more now, Permanent when it refuses us for good.
        """
        instances, size = self._limits
        for group in _groups(outgoing, Limits(min(instances, most), size)):
            self._send(group)

    def _send(self, group: list[Outgoing]) -> None:
        if self._stop.is_set():
            return
        began = time.monotonic()
        try:
            answer = self._post(group)
        except Permanent as error:
            if error.code == "406" and self._accept == _JSON:
                self._accept = _XML  # the only form that servers of before 2017 have to give (PS3.18 2016, 6.6.1)
                self._send(group)
                return
            if error.code not in _MAY_BE_ONE:
                raise
            self._halve(group, Receipt(0, Outcome.REFUSED, error.code, str(error)))
        except (EOFError, FileNotFoundError) as error:
            # The words name files of the spool by their index, never by a tag.
            self._halve(group, Receipt(0, Outcome.REFUSED, words=f"the spool cannot give all its bytes: {error}"))
        except _Unread as unread:
            self._unnamed(group, Receipt(0, Outcome.RETRY, *unread.args))
        else:
            self._settle(group, answer, time.monotonic() - began)

    def _halve(self, group: list[Outgoing], refused: Receipt) -> None:
        if len(group) == 1:
            self._report(replace(refused, index=group[0].index))
            return
        middle = len(group) // 2
        self._send(group[:middle])
        self._send(group[middle:])

    def _post(self, group: Sequence[Outgoing]) -> StoreResponse:
        """The answer as a store response. Raises Retry or Permanent when the peer failed, _Unread when it says nothing."""
        writer = MultipartWriter([({}, one.file) for one in group])
        try:
            answer = self._client.request(
                "POST", "studies", headers=_headers(writer, self._accept), body=lambda: writer, takes=(400, 409)
            )
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise Retry(f"A file of the spool could not be read: {error.strerror or error}.") from error
        try:
            said = parse_store_response(answer.content)
        except ValueError as error:
            said, wrong = StoreResponse({}, {}, ()), str(error)
        else:
            wrong = "it names no instance"
        if said.says_something:
            return said
        if not answer.is_success:
            raise failure(answer.status_code, answer.headers, answer.content, self._client.hide)
        raise _Unread(str(answer.status_code), _no_response(answer, wrong))

    def _settle(self, group: list[Outgoing], answer: StoreResponse, seconds: float) -> None:
        unnamed = [one for one in group if one.sop_instance_uid not in answer.stored | answer.failed]
        for one in group:
            uid = one.sop_instance_uid
            if uid in answer.failed:  # if it stands in both, what went wrong counts
                self._tell(self._refused(one, answer.failed[uid]), seconds)
            elif uid in answer.stored:
                self._tell(_stored(one, answer.stored[uid]), seconds)
        if unnamed and answer.other and len(group) == 1:
            self._tell(self._refused(unnamed[0], answer.other[0]), seconds)
        elif unnamed:
            words = "the peer's answer does not name this image: it may not have kept it"
            self._unnamed(unnamed, Receipt(0, Outcome.RETRY, words=words), alone=len(group) == 1)

    def _unnamed(self, some: list[Outgoing], receipt: Receipt, *, alone: bool | None = None) -> None:
        """Images that the answer said nothing of: each alone, as the peer can then speak of it only; one alone: later."""
        if alone or (alone is None and len(some) == 1):
            self._tell(replace(receipt, index=some[0].index), 0.0)
            return
        for one in some:
            self._send([one])

    def _refused(self, one: Outgoing, failed: Failed) -> Receipt:
        outcome = self._judge(failed)
        words = self._client.hide(_failure_words(failed))
        if outcome is Outcome.CONFIRMED:
            words = f"was there already, as the peer says ({words})"
        return Receipt(one.index, outcome, code_of(failed.reason) if failed.reason else "", words, size=one.file.length)

    def _tell(self, receipt: Receipt, seconds: float) -> None:
        self._report(replace(receipt, seconds=seconds))
        self._later = self._later + 1 if receipt.outcome is Outcome.RETRY else 0
        if self._later == GIVE_UP_AFTER:
            raise Retry(f"{self._later} times in a row: {receipt.words}", receipt.code)


def _headers(writer: MultipartWriter, accept: str = _JSON) -> dict[str, str]:
    """Of a request that stores; the answer is asked for in JSON, XML is understood."""
    return {
        "Content-Type": writer.content_type,
        "Content-Length": str(writer.length),
        "Accept": accept,
    }


def empty_request(client: HttpClient) -> str:
    """Ask to store nothing, to learn whether we might: what the peer said. Raises Retry or Permanent when it refused us."""
    writer = MultipartWriter([])
    for accept in (_JSON, _XML):
        takes = (400, 409, 415, 422, *([406] if accept == _JSON else []))
        answer = client.request("POST", "studies", headers=_headers(writer, accept), body=lambda: writer, takes=takes)
        if answer.status_code != 406:
            break
    if answer.is_success:
        return "a store request without images was taken"
    return f"a store request was read, and found to hold no image ({answer.status_code})"


def by_reason(failed: Failed) -> Outcome:
    """As for a C-STORE: out of resources and failures of the moment are tried again, a duplicate is there, the rest refused."""
    if failed.reason in DUPLICATE:
        return Outcome.CONFIRMED
    return outcome_of(failed.reason) if failed.reason >> 12 != 0xB and failed.reason else Outcome.REFUSED


def _groups(outgoing: Iterable[Outgoing], limits: Limits) -> Iterator[list[Outgoing]]:
    """In order, as many as the limits allow; never one UID twice in a request, as an answer names instances by it."""
    group: list[Outgoing] = []
    uids: set[str] = set()
    size = 0
    for one in outgoing:
        length = one.file.length
        if group and (len(group) == limits.instances or size + length > limits.size or one.sop_instance_uid in uids):
            yield group
            group, uids, size = [], set(), 0
        group.append(one)
        uids.add(one.sop_instance_uid)
        size += length
    if group:
        yield group


def _stored(one: Outgoing, stored: Stored) -> Receipt:
    code = code_of(stored.warning) if stored.warning else "200"
    words = status_words(stored.warning) if stored.warning else ""
    return Receipt(one.index, Outcome.CONFIRMED, code, words, stored.url, size=one.file.length)


def _failure_words(failed: Failed) -> str:
    if not failed.reason:
        return failed.detail or "the peer failed to store it and gives no reason"
    if words := _WORDS.get(failed.reason):
        return f"{words}: {failed.detail}" if failed.detail else words
    return status_words(failed.reason, failed.detail)


def _no_response(answer: httpx.Response, wrong: str) -> str:
    why = f"cannot be read ({wrong})" if answer.content else "is empty"
    return (
        f"The peer answered {answer.status_code} to a store request, but its store response (PS3.18 10.5.3) {why}: "
        f"what it kept is not known."
    )
