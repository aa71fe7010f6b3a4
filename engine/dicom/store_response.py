"""The answer to a store request over the web (PS3.18 10.5.3, I.2): what was stored, what was not and why; JSON or XML."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final
from xml.sax.saxutils import escape

__all__ = [
    "CANNOT_UNDERSTAND", "DOES_NOT_MATCH", "NOT_STORAGE", "NO_ROOM", "PROCESSING_FAILURE", "SYNTAX_NOT_TAKEN", "Failed",
    "StoreResponse", "Stored",
]

NO_ROOM: Final = 0xA700
DOES_NOT_MATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
SYNTAX_NOT_TAKEN: Final = 0xC122
PROCESSING_FAILURE: Final = 0x0110
NOT_STORAGE: Final = 0x0122
"""Failure reasons of PS3.18 Table I.2-2."""

LONGEST_COMMENT: Final = 64
"""What (0000,0902) Error Comment holds (VR LO)."""

_KEYWORDS: Final = {
    "00000902": ("LO", "ErrorComment"),
    "00081150": ("UI", "ReferencedSOPClassUID"),
    "00081155": ("UI", "ReferencedSOPInstanceUID"),
    "00081190": ("UR", "RetrieveURL"),
    "00081197": ("US", "FailureReason"),
    "00081198": ("SQ", "FailedSOPSequence"),
    "00081199": ("SQ", "ReferencedSOPSequence"),
    "0008119A": ("SQ", "OtherFailuresSequence"),
}
"""The elements of an answer."""

Level = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Stored:
    """An instance that is on disk."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Failed:
    """An instance, or a part that was none, that was not stored."""

    reason: int
    words: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    status: int = 409
    """The HTTP status of an answer in which nothing else happened: 409, 413 too large, 507 no room."""


@dataclass(slots=True)
class StoreResponse:
    """What became of each instance of a request."""

    stored: list[Stored] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    @property
    def status(self) -> int:
        """200 all stored, 202 some, else why none was: 413, 507, or 409."""
        if not self.failed:
            return 200
        if self.stored:
            return 202
        said = {one.status for one in self.failed}
        return said.pop() if len(said) == 1 else 409

    def as_json(self) -> bytes:
        """`application/dicom+json` (PS3.18 F.2)."""
        return json.dumps(_json(self._root()), ensure_ascii=False).encode()

    def as_xml(self) -> bytes:
        """`application/dicom+xml`: the Native DICOM Model (PS3.19 A.1)."""
        head = '<?xml version="1.0" encoding="UTF-8"?>\n'
        space = 'xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM" xml:space="preserve"'
        return f"{head}<NativeDicomModel {space}>{_xml(self._root())}</NativeDicomModel>\n".encode()

    def _root(self) -> Level:
        """Retrieve URLs are there and empty, as the standard has it where nothing can be retrieved: this is a router."""
        root: Level = {"00081190": []}
        named = [f for f in self.failed if f.sop_class_uid and f.sop_instance_uid]
        other = [f for f in self.failed if not (f.sop_class_uid and f.sop_instance_uid)]
        if named:
            root["00081198"] = [_reference(f) | _reason(f) for f in named]
        if self.stored:
            root["00081199"] = [_reference(s) | {"00081190": []} for s in self.stored]
        if other:
            root["0008119A"] = [_reason(f) for f in other]
        return root


def _reference(one: Stored | Failed) -> Level:
    return {"00081150": [one.sop_class_uid], "00081155": [one.sop_instance_uid]}


def _reason(one: Failed) -> Level:
    words = one.words if len(one.words) <= LONGEST_COMMENT else one.words[: LONGEST_COMMENT - 1] + "…"
    return {"00000902": [words.replace("\\", "/")], "00081197": [one.reason]}


def _json(level: Level) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for tag, values in level.items():
        vr = _KEYWORDS[tag][0]
        out[tag] = {"vr": vr}
        if values:
            out[tag]["Value"] = [_json(value) for value in values] if vr == "SQ" else values
    return out


def _xml(level: Level) -> str:
    out = []
    for tag, values in level.items():
        vr, keyword = _KEYWORDS[tag]
        name, inner = ("Item", _xml) if vr == "SQ" else ("Value", lambda value: escape(str(value)))
        texts = (f'<{name} number="{n}">{inner(value)}</{name}>' for n, value in enumerate(values, 1))
        out.append(f'<DicomAttribute tag="{tag}" vr="{vr}" keyword="{keyword}">{"".join(texts)}</DicomAttribute>')
    return "".join(out)
