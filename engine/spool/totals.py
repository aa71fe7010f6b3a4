"""Counters of all there ever was, added up from the journal: they outlive every process.

One reader (the house) keeps the sum and how far it has read in one file; who shows them adds what came since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import orjson

from engine.durable import write_durably
from engine.spool.journal import Cursor, Journal

__all__ = ["LATENCY_SECONDS", "Latency", "Totals"]

LATENCY_SECONDS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0)
"""Upper bounds of the histogram of latencies; a last one holds the rest."""


@dataclass
class Latency:
    """How long deliveries took, from the beginning of their batch to the last confirmation."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_SECONDS) + 1))
    """How many took longer than the bound before and at most their own."""
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        place = next((i for i, bound in enumerate(LATENCY_SECONDS) if seconds <= bound), len(LATENCY_SECONDS))
        self.counts[place] += 1
        self.seconds += seconds


@dataclass
class Totals:
    """Sums by the names of sources and destinations. `cursor` says which lines of the journal are in them."""

    cursor: Cursor = field(default_factory=dict)
    received: dict[str, int] = field(default_factory=dict)
    received_bytes: dict[str, int] = field(default_factory=dict)
    received_at: dict[str, float] = field(default_factory=dict)
    """When something came last, in seconds since the epoch."""
    held: dict[str, int] = field(default_factory=dict)
    unmatched: dict[str, int] = field(default_factory=dict)
    delivered: dict[str, int] = field(default_factory=dict)
    delivered_bytes: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    """By "destination/outcome": `done`, `retry`, `dead`. A destination's name holds no slash."""
    latency: dict[str, Latency] = field(default_factory=dict)
    failing: dict[str, float] = field(default_factory=dict)
    """Since when a destination took nothing at all, in seconds since the epoch."""
    codes: dict[str, str] = field(default_factory=dict)
    """What a failing destination answered last."""

    def add(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Add lines of the journal."""
        for line in lines:
            match line["t"]:
                case "received":
                    source = str(line["source"])
                    _more(self.received, source, line["instances"])
                    _more(self.received_bytes, source, line["bytes"])
                    self.received_at[source] = max(self.received_at.get(source, 0.0), float(line["at"]))
                case "routed":
                    _more(self.held, str(line["source"]), line["held"])
                    _more(self.unmatched, str(line["source"]), line["unmatched"])
                case "delivery":
                    self._add_delivery(str(line["destination"]), line)

    def _add_delivery(self, destination: str, line: Mapping[str, Any]) -> None:
        _more(self.delivered, destination, line["confirmed"])
        _more(self.delivered_bytes, destination, line["bytes"])
        _more(self.refused, destination, line["refused"])
        _more(self.attempts, f"{destination}/{line['outcome']}", 1)
        if line["confirmed"] or line["whole"]:
            self.failing.pop(destination, None)
            self.codes.pop(destination, None)
        else:
            self.failing.setdefault(destination, float(line["at"]))
            self.codes[destination] = str(line["code"])
        if line["whole"]:
            self.latency.setdefault(destination, Latency()).add(float(line["seconds"]))

    def follow(self, journal: Journal) -> list[dict[str, Any]]:
        """Add what came since; returns those lines."""
        lines, self.cursor = journal.read(self.cursor)
        self.add(lines)
        return lines

    def save(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(file, orjson.dumps(asdict(self)))

    @classmethod
    def load(cls, file: Path) -> Totals:
        """What `save` wrote, of this version or another; nothing yet: zeros."""
        try:
            data: dict[str, Any] = orjson.loads(file.read_bytes())
        except FileNotFoundError:
            return cls()
        known = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        known["latency"] = {name: Latency(one["counts"], one["seconds"]) for name, one in data.get("latency", {}).items()}
        return cls(**known)


def _more(sums: dict[str, int], name: str, count: int) -> None:
    sums[name] = sums.get(name, 0) + int(count)
