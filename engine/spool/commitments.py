"""Storage commitments that are awaited: what a delivery has asked for, and the report that a listener took in.

    commitments/<transaction UID>.asked      written before the archive is asked
                <transaction UID>.reported   what it said, written before it is told that we have it

Two processes meet here; each file is written whole and durably.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import orjson

from engine.durable import write_durably
from engine.model import Commitment, CommitmentReport

__all__ = ["SpoolCommitments"]

_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
_STALE_SECONDS = 30 * 86_400.0
"""No delivery has looked for so long: its images were discarded, or its destination is gone."""


class SpoolCommitments:
    """The commitments of one node's spool."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ask(self, commitment: Commitment) -> None:
        self._folder.mkdir(exist_ok=True, mode=0o700)
        write_durably(self._asked(commitment.transaction_uid), orjson.dumps(commitment._asdict()))

    def open(self, destination: str) -> Iterator[Commitment]:
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.glob("*.asked")):
            try:
                commitment = Commitment(**orjson.loads(path.read_bytes()))
            except FileNotFoundError:
                continue  # another delivery has done with it in this moment
            if commitment.destination == destination:
                yield commitment
            elif time.time() - commitment.asked_at > _STALE_SECONDS:
                self.forget(commitment.transaction_uid)

    def report(self, transaction_uid: str, report: CommitmentReport) -> bool:
        if not _UID.fullmatch(transaction_uid) or not self._asked(transaction_uid).exists():
            return False  # not ours, or over: a stranger must not fill the disk
        data = {"committed": sorted(report.committed), "failed": report.failed}
        write_durably(self._reported(transaction_uid), orjson.dumps(data))
        if not self._asked(transaction_uid).exists():  # it was given up in this moment
            self._reported(transaction_uid).unlink(missing_ok=True)
            return False
        return True

    def reported(self, transaction_uid: str) -> CommitmentReport | None:
        try:
            data = orjson.loads(self._reported(transaction_uid).read_bytes())
        except FileNotFoundError:
            return None
        return CommitmentReport(frozenset(data["committed"]), data["failed"])

    def forget(self, transaction_uid: str) -> None:
        self._asked(transaction_uid).unlink(missing_ok=True)  # first, so that no report comes after
        self._reported(transaction_uid).unlink(missing_ok=True)

    def _asked(self, transaction_uid: str) -> Path:
        return self._folder / f"{transaction_uid}.asked"

    def _reported(self, transaction_uid: str) -> Path:
        return self._folder / f"{transaction_uid}.reported"
