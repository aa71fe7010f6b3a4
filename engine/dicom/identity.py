"""Which elements may tell who a patient is: what is hidden from people without the right to see patient data."""

from __future__ import annotations

from engine.dicom.paths import TagPath

__all__ = ["may_identify", "path_may_identify"]

ACCESSION_NUMBER = 0x00080050


def may_identify(tag: int, vr: str = "") -> bool:
    """Whether an element may: group 0010 is the patient's, (0008,0050) finds the patient, every name (PN) is somebody's, and
    private elements may say anything."""
    return tag >> 16 == 0x0010 or tag == ACCESSION_NUMBER or vr == "PN" or bool(tag & 0x10000)


def path_may_identify(path: TagPath) -> bool:
    """Whether what a path leads to may, or anything on the way there."""
    return path.vr == "PN" or any(step.tag is None or may_identify(step.tag) for step in path.steps)
