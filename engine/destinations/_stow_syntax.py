"""Sending by STOW-RS in another transfer syntax. A web server is asked for nothing beforehand, as an association is: what
it does not take it says by the Failure Reason C122 (PS3.18 table I.2-2) or by 415, and only then the next way is tried.

Implicit VR is none of these ways: web services do not use it (PS3.18 8.7.3.5.2). What came so goes so, unless it is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from engine.destinations._stow import TRANSFER_SYNTAX, Limits, StowSender
from engine.destinations._transfer_syntax import TransferSyntaxPolicy
from engine.destinations.base import Outgoing
from engine.dicom.codecs import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from engine.dicom.convert import converted, has_pixel_data
from engine.dicom.network.status import code_of
from engine.dicom.network.uids import uid_name
from engine.dicom.pixels import CannotConvert
from engine.model import Outcome, Receipt, ReportOne

__all__ = ["RewritingSender"]

_SAYS_SYNTAX: Final = code_of(TRANSFER_SYNTAX)
_OF_THE_SYNTAX: Final = (_SAYS_SYNTAX, "415")
_OPEN_AT_ONCE: Final = 64
"""A written image is an open file until its request is answered."""


class _Way:
    """An image, the transfer syntaxes that are still to be tried, and what came of those before."""

    def __init__(self, one: Outgoing, syntaxes: list[str]) -> None:
        self.one = one
        self.left = syntaxes
        self.sent = one.transfer_syntax_uid
        self.refused: Receipt | None = None
        self.failures: list[str] = []
        self.open = ExitStack()
        """The image as it is written, until its request is answered."""

    def end(self) -> Receipt:
        """No way is left."""
        words = [self.refused.words] if self.refused else []
        code = self.refused.code if self.refused else ""
        return Receipt(self.one.index, Outcome.REFUSED, code, "; ".join([*words, *dict.fromkeys(self.failures)]))


class RewritingSender:
    """Sends by `sender` in what `policy` asks for. `report` hears of each image once, after its last way."""

    def __init__(self, policy: TransferSyntaxPolicy, limits: Limits, report: ReportOne, stop: threading.Event) -> None:
        self._policy = policy
        self._limits = limits
        self._report = report
        self._stop = stop
        self._ways: dict[int, _Way] = {}
        self._not_taken: set[tuple[str, str]] = set()
        """SOP class and transfer syntax that the peer has said, in these words, that it does not take."""

    def send(self, outgoing: Sequence[Outgoing], sender: StowSender) -> None:
        """Send all; `sender` has to report to `tell`. Raises as it does, and Retry when there is no room to convert."""
        left = [_Way(one, self._syntaxes(one)) for one in outgoing]
        while left and not self._stop.is_set():
            self._ways = {way.one.index: way for way in left}
            self._send_some(left, sender)
            left = [way for way in left if way.one.index in self._ways]

    def tell(self, receipt: Receipt) -> None:
        """Takes a receipt of the sender: to the report, unless there is another way for its image."""
        way = self._ways[receipt.index]
        way.open.close()
        if receipt.outcome is Outcome.REFUSED and receipt.code in _OF_THE_SYNTAX:
            way.refused = way.refused or _with(receipt, way.sent)
            if receipt.code == _SAYS_SYNTAX:
                self._not_taken.add((way.one.sop_class_uid, way.sent))
            if way.left:
                return
            receipt = replace(way.end(), seconds=receipt.seconds, size=receipt.size)
        elif way.sent != way.one.transfer_syntax_uid:
            receipt = _with(receipt, way.sent)
        del self._ways[receipt.index]
        self._report(receipt)

    def _syntaxes(self, one: Outgoing) -> list[str]:
        received, policy = one.transfer_syntax_uid, self._policy
        ways = [s for s in policy.candidates(received) if s == received or s != IMPLICIT_LITTLE]
        if policy.fall_back and received == IMPLICIT_LITTLE:
            ways.append(EXPLICIT_LITTLE)
        if policy.targets(received) and policy.otherwise == "refuse" and has_pixel_data(one.head, one.data_set):
            ways = ways[: ways.index(received)]
        return list(dict.fromkeys(ways))

    def _send_some(self, ways: Sequence[_Way], sender: StowSender) -> None:
        """Each in its next way."""
        rewritten = any(way.left[0] != way.one.transfer_syntax_uid for way in ways)
        try:
            sender.send(filter(None, map(self._made, ways)), _OPEN_AT_ONCE if rewritten else self._limits.instances)
        finally:
            for way in ways:
                way.open.close()

    def _made(self, way: _Way) -> Outgoing | None:
        """The image in the first of its ways that it can be written in; None, and reported, when there is none."""
        one = way.one
        while way.left:
            way.sent = way.left.pop(0)
            if (one.sop_class_uid, way.sent) in self._not_taken and way.left:
                continue
            if way.sent == one.transfer_syntax_uid:
                return one
            try:
                found = way.open.enter_context(converted(one.head, one.data_set, way.sent))
            except CannotConvert as error:
                way.failures.append(f"it cannot be written in {uid_name(way.sent)}: {error}")
            except (EOFError, FileNotFoundError) as error:
                way.failures.append(f"the spool cannot give all its bytes: {error}")
                way.left.clear()
            else:
                if found is not None:
                    return replace(one, transfer_syntax_uid=way.sent, head=found.head, data_set=found.data_set)
        self._ways.pop(one.index)
        self._report(way.end())
        return None


def _with(receipt: Receipt, syntax: str) -> Receipt:
    return replace(receipt, words=f"{receipt.words} (sent in {uid_name(syntax)})".strip())
