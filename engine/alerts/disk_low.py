"""The spool's disk fills up.

Guarantee: told while less is free than said; receiving itself stops at the watermark (AXIOM_MIN_FREE_MB).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from engine.alerts.base import Alert, Facts, Finding

__all__ = ["DiskLow"]


class DiskLow(Alert):
    """Less room is left on the spool's disk than there should be."""

    label: ClassVar[str] = "Disk low"
    kind: Literal["disk_low"] = "disk_low"
    free_gb: float = Field(title="Free (GB)", default=20.0, gt=0)
    """How many gigabytes (2^30 bytes) should be free: more than the watermark, so that there is time to act."""

    def look(self, facts: Facts) -> list[Finding]:
        free = facts.free_bytes / 2**30
        if free >= self.free_gb:
            return []
        words = f"The spool's disk has {free:.1f} GB free, less than {self.free_gb:g} GB."
        return [Finding("disk", words, "Make room, or keep delivered batches for less long: receiving stops when it is full.")]
