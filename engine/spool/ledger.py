"""One delivery's ledger: append-only JSON lines that say what became of each instance. Its lock is the right to deliver.

Lines: `begin` (an attempt starts), `receipt` (an instance's fate, or that of several which fare alike), `end` (the attempt is
over, and when the next is due), `told` (history knows of the attempts up to here), `revive` and `discard` (a person's word),
`gathered` (the last one: another batch has taken the instances over). The state is their sum.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from engine.model import Outcome, Receipt
from engine.spool.files import append_line

__all__ = ["Attempt", "Ledger", "LedgerState", "append", "read_state"]


@dataclass(slots=True)
class Attempt:
    """One attempt: when it began, the receipts it brought, how it ended (None: it was cut off)."""

    number: int
    began_at: str
    receipts: list[Receipt] = field(default_factory=list)
    end: dict[str, Any] | None = None


@dataclass(slots=True)
class LedgerState:
    """What the lines add up to."""

    attempts: list[Attempt] = field(default_factory=list)
    confirmed: set[int] = field(default_factory=set)
    refused: dict[int, Receipt] = field(default_factory=dict)
    """Refused for good, or given up: they wait for a person, as dead letters."""
    discarded: set[int] = field(default_factory=set)
    told: int = 0
    """Attempts that history knows of."""
    revived: bool = False
    """A person said that it shall be tried again."""
    since_revived: int = 0
    """Attempts since the start or a person's retry: what back-off and the limit of attempts count."""
    last: Receipt | None = None
    """The last thing that did not go well."""
    next_at: str = ""
    discard: dict[str, Any] | None = None

    def settled(self, index: int) -> bool:
        return index in self.confirmed or index in self.discarded or index in self.refused

    def is_final(self, indexes: list[int]) -> bool:
        """Whether nothing is left to do for these instances, by us or by a person."""
        return all(i in self.confirmed or i in self.discarded for i in indexes)


def _fold(state: LedgerState, line: dict[str, Any], indexes: list[int]) -> None:
    match line["t"]:
        case "begin":
            state.attempts.append(Attempt(line["a"], line["at"]))
            state.since_revived += 1
        case "receipt":
            if not state.attempts:
                state.attempts.append(Attempt(1, line["at"]))
            for one in [line["r"], *line.get("with", ())]:
                _fold_receipt(state, Receipt(**{**one, "outcome": Outcome(one["outcome"])}))
        case "end":
            if state.attempts:
                state.attempts[-1].end = line
            state.next_at = line.get("next_at", "")
            if line.get("words"):
                state.last = Receipt(-1, Outcome.RETRY, line.get("code", ""), line["words"])
            if line["state"] == "dead":
                why = state.last or Receipt(-1, Outcome.REFUSED, "", "given up")
                for i in indexes:
                    if not state.settled(i):
                        state.refused[i] = Receipt(i, Outcome.REFUSED, why.code, why.words)
        case "told":
            state.told = line["a"]
        case "revive":
            state.refused.clear()
            state.revived = True
            state.since_revived = 0
            state.next_at = ""
        case "discard":
            state.discard = line
            for i in indexes:
                if i not in state.confirmed and (line["all"] or i in state.refused):
                    state.discarded.add(i)
                    state.refused.pop(i, None)


def _fold_receipt(state: LedgerState, receipt: Receipt) -> None:
    state.attempts[-1].receipts.append(receipt)
    if receipt.outcome is Outcome.CONFIRMED:
        state.confirmed.add(receipt.index)
        state.refused.pop(receipt.index, None)
        return
    state.last = receipt
    if receipt.outcome is Outcome.REFUSED:
        state.refused[receipt.index] = receipt


def _parse(data: bytes, indexes: list[int]) -> LedgerState:
    state = LedgerState()
    lines = data.split(b"\n")
    for number, raw in enumerate(lines):
        if not raw or number == len(lines) - 1:  # what follows the last newline is torn: no line
            continue
        try:
            line = orjson.loads(raw)
        except orjson.JSONDecodeError:
            continue  # torn by a crash in the middle of the write, and followed by later lines
        _fold(state, line, indexes)
    return state


def read_state(path: Path, indexes: list[int]) -> LedgerState:
    """The state of a ledger without taking its lock: for showing."""
    try:
        return _parse(path.read_bytes(), indexes)
    except FileNotFoundError:
        return LedgerState()


def append(path: Path, line: dict[str, Any]) -> None:
    """Append a person's word (`revive`, `discard`): needs no lock, one write is one line. Durable on return."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        # The newline before: a line torn by a crash must not swallow this one (empty lines are no lines).
        append_line(fd, b"\n" + orjson.dumps({**line, "at": datetime.now(UTC).isoformat()}))
        os.fsync(fd)
    finally:
        os.close(fd)


class Ledger:
    """A ledger with its lock held: only its holder delivers. The kernel frees it when the holder ends, however."""

    def __init__(self, path: Path, fd: int, indexes: list[int]) -> None:
        self.path = path
        self.indexes = indexes
        self._fd = fd
        self._end_torn_line()

    @classmethod
    def try_open(cls, path: Path, indexes: list[int]) -> Ledger | None:
        """The ledger, or None if another worker has it."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return cls(path, fd, indexes)

    def _end_torn_line(self) -> None:
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            os.write(self._fd, b"\n")

    def state(self) -> LedgerState:
        """Read anew: a person's word may have come in the meantime."""
        size = os.fstat(self._fd).st_size
        return _parse(os.pread(self._fd, size, 0), self.indexes)

    def begin(self, number: int) -> None:
        self._line({"t": "begin", "a": number, "pid": os.getpid()})

    def receipt(self, receipt: Receipt, *together: Receipt) -> None:
        """What became of an instance, or of several as one line, which a crash keeps whole or not at all."""
        self._line({"t": "receipt", "r": asdict(receipt), "with": [asdict(one) for one in together]})

    def end(self, state: str, code: str = "", words: str = "", next_at: str = "") -> None:
        """The attempt is over: `done`, `retry` (when: `next_at`), `dead` (given up)."""
        self._line({"t": "end", "state": state, "code": code, "words": words, "next_at": next_at})
        os.fsync(self._fd)

    def gathered(self, into: str) -> None:
        """The batch `into` has taken the instances over."""
        self._line({"t": "gathered", "into": into})
        os.fsync(self._fd)

    def told(self, number: int) -> None:
        self._line({"t": "told", "a": number})

    def _line(self, line: dict[str, Any]) -> None:
        append_line(self._fd, orjson.dumps({**line, "at": datetime.now(UTC).isoformat()}))

    def close(self) -> None:
        os.close(self._fd)
