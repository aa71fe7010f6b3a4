"""Status codes of responses and reasons of a refused association, in the standard's own words.

PS3.7 Annex C (general), PS3.4 Table B.2-1 (storage), Tables C.4-1, C.4-2 and C.4-3 (query and retrieve), PS3.8 Table
9-21 (A-ASSOCIATE-RJ).
"""

from __future__ import annotations

from engine.errors import Permanent, Retry
from engine.model import Outcome

__all__ = [
    "PENDING", "Rejection", "code_of", "outcome_of", "query_failure", "query_words", "status_words",
]

_GENERAL = {
    0x0000: "Success",
    0x0001: "Warning: Requested optional attributes are not supported",
    0x0105: "Failure: No such attribute",
    0x0106: "Failure: Invalid attribute value",
    0x0107: "Warning: Attribute list error",
    0x0110: "Failure: Processing failure",
    0x0111: "Failure: Duplicate SOP Instance",
    0x0112: "Failure: No such SOP Instance",
    0x0113: "Failure: No such event type",
    0x0114: "Failure: No such argument",
    0x0115: "Failure: Invalid argument value",
    0x0116: "Warning: Attribute value out of range",
    0x0117: "Failure: Invalid SOP Instance",
    0x0118: "Failure: No such SOP Class",
    0x0119: "Failure: Class-Instance conflict",
    0x0120: "Failure: Missing attribute",
    0x0121: "Failure: Missing attribute value",
    0x0122: "Refused: SOP Class not supported",
    0x0123: "Failure: No such action type",
    0x0124: "Refused: Not authorized",
    0x0210: "Failure: Duplicate invocation",
    0x0211: "Failure: Unrecognized operation",
    0x0212: "Failure: Mistyped argument",
    0x0213: "Failure: Resource limitation",
    0xB000: "Warning: Coercion of data elements",
    0xB006: "Warning: Elements discarded",
    0xB007: "Warning: Data Set does not match SOP Class",
    0xFE00: "Cancel",
}

_STORAGE = {  # by their first digits
    0xA7: "Refused: Out of resources",
    0xA9: "Error: Data Set does not match SOP Class",
    0xC: "Error: Cannot understand",
}

_TRANSIENT = {0x0110, 0x0210, 0x0213, 0xFE00}
"""Failures of the moment beside A7xx: processing failure, an invocation or resource that clashed, a cancellation."""


def status_words(status: int, comment: str = "") -> str:
    """The words of a C-STORE status, with the peer's own Error Comment behind them."""
    words = _GENERAL.get(status) or _STORAGE.get(status >> 8) or _STORAGE.get(status >> 12)
    if words is None:
        group = {0x0: "Failure", 0xA: "Error", 0xB: "Warning"}.get(status >> 12)
        words = f"{group or 'Unknown status'} ({code_of(status)})"
    return f"{words}: {comment}" if comment else words


PENDING = (0xFF00, 0xFF01)
"""More follows; FF01: and some optional keys are not supported."""

_QUERY = {
    0xA700: "Refused: Out of resources",
    0xA701: "Refused: Out of resources, unable to calculate the number of matches",
    0xA702: "Refused: Out of resources, unable to perform sub-operations",
    0xA801: "Refused: Move destination unknown",
    0xA900: "Error: Identifier does not match SOP Class",
    0xAA00: "Failure: None of the frames requested were found in the SOP Instance",
    0xAA01: "Failure: Unable to create new object for this SOP class",
    0xAA02: "Failure: Unable to extract frames",
    0xAA03: "Failure: Time-based request received for a non-time-based original SOP Instance",
    0xAA04: "Failure: Invalid request",
    0xB000: "Warning: Sub-operations complete, one or more failures",
    0xFE00: "Cancel: terminated due to a cancel request",
    0xFF00: "Pending",
    0xFF01: "Pending: one or more optional keys are not supported",
}
_UNABLE = "Failed: Unable to process"  # Cxxx

_ADVICE = {
    0x0122: "It does not offer this query: try the other root model.",
    0x0124: "Ask its administrator to let this AE title query and retrieve.",
    0xA801: "Enter our move destination there, with this machine's address and the listener's port.",
    0xA900: "It does not take these filters at this level: use fewer, or another level.",
}


def query_words(status: int, comment: str = "") -> str:
    """The words of a C-FIND, C-MOVE or C-GET status with the peer's own Error Comment, and what can be done about it."""
    words = _QUERY.get(status) or (_UNABLE if status >> 12 == 0xC else status_words(status))
    told = f"{code_of(status)} {words}" + (f": {comment}" if comment else "")
    return f"{told}. {_ADVICE[status]}" if status in _ADVICE else told


def query_failure(peer: str, status: int, comment: str = "") -> Retry | Permanent:
    """A query's or retrieval's final failure as an error: A7xx and failures of the moment may be tried again."""
    words = f"{peer} answered {query_words(status, comment)}"
    words = words if words.endswith(".") else f"{words}."
    transient = status >> 8 == 0xA7 or status in _TRANSIENT
    return Retry(words, code_of(status)) if transient else Permanent(words, code_of(status))


def outcome_of(status: int) -> Outcome:
    """What a C-STORE status means for the instance.

    Success, warnings and "duplicate" are confirmed: the peer has it. A7xx and failures of the moment are retried. All
    else, unknown codes too, is refused: kept as a dead letter for a person to see.
    """
    if status in (0x0000, 0x0001, 0x0107, 0x0111, 0x0116) or status >> 12 == 0xB:
        return Outcome.CONFIRMED
    if status >> 8 == 0xA7 or status in _TRANSIENT:
        return Outcome.RETRY
    return Outcome.REFUSED


def code_of(status: int) -> str:
    """A status as people write it: "0xA700"."""
    return f"0x{status:04X}"


class Rejection(tuple[int, int, int]):
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    __slots__ = ()

    @property
    def permanent(self) -> bool:
        """Whether it says that trying again will not help."""
        return self[0] == 1

    @property
    def code(self) -> str:
        return "rejected-permanent" if self.permanent else "rejected-transient"

    @property
    def words(self) -> str:
        result, source, reason = self
        why = _REASONS.get((source, reason), f"reason {reason} of source {source}")
        return f"the peer rejected the association {'for good' if result == 1 else 'for now'}: {why}"


_REASONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
