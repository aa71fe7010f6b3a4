"""A DICOMDIR: the directory of a file-set (PS3.3 F, PS3.10 8), made anew from the files that stand there.

Files are called `DICOM/<series>/<instance>`, eight characters each, made from the UIDs: the same image has the same name at each
attempt, and names are legal on any medium (PS3.10 8.2, 8.5). The directory is made of what is on disk, not of what was sent, so
that a delivery that is repeated, or another one of the same study, neither drops nor doubles a record.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import os
import re
import struct
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from engine.destinations._placing import BusyError, Tree
from engine.dicom.content import Content
from engine.dicom.file_meta import encode_head
from engine.errors import Retry

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["NAME", "Entry", "dicomdir_of", "entry_of", "file_id", "renew"]

NAME: Final = "DICOMDIR"
FOLDER: Final = "DICOM"
FileId = tuple[str, ...]
Values = dict[str, Any]
_COMPONENT: Final = re.compile(r"[A-Z0-9_]{8}")
_STORAGE: Final = "1.2.840.10008.1.3.10"  # Media Storage Directory Storage
_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_LARGE: Final = 1 << 16
"""Values that are longer are not read: no record holds one."""
_BUSY_SECONDS: Final = 30.0

_TYPES: Final = (  # PS3.3 table F.4-1, by what follows 1.2.840.10008.5.1.4.1.1. of the SOP class
    (r"481\.2", "RT DOSE"), (r"481\.3", "RT STRUCTURE SET"), (r"481\.[58]", "RT PLAN"), (r"481\.[4679]", "RT TREAT RECORD"),
    (r"11\.\d+|131", "PRESENTATION"), (r"9\..+", "WAVEFORM"), (r"88\.59", "KEY OBJECT DOC"), (r"88\.\d+", "SR DOCUMENT"),
    (r"104\.\d+", "ENCAP DOC"), (r"4\.2", "SPECTROSCOPY"), (r"66", "RAW DATA"), (r"66\.[13]", "REGISTRATION"),
    (r"66\.2", "FIDUCIAL"), (r"66\.5", "SURFACE"), (r"66\.6", "TRACT"), (r"67", "VALUE MAP"), (r"68\.[12]", "SURFACE SCAN"),
    (r"77\.1\.5\.3", "STEREOMETRIC"), (r"78\.\d+", "MEASUREMENT"),
)  # fmt: skip
_PATIENT, _STUDY = ("PatientName", "PatientID"), ("StudyDate", "StudyTime", "StudyDescription", "StudyInstanceUID", "StudyID")
_KEYS: Final = {
    "PATIENT": _PATIENT, "STUDY": (*_STUDY, "AccessionNumber"), "SERIES": ("Modality", "SeriesInstanceUID", "SeriesNumber"),
}  # fmt: skip
_UNIQUE: Final = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}


def file_id(series_uid: str, sop_instance_uid: str, number: int = 0) -> FileId:
    """Where an image stands in its file-set. `number` is for another file of the same UIDs."""
    return FOLDER, _component(series_uid), _component(f"{sop_instance_uid}#{number}" if number else sop_instance_uid)


def renew(tree: Tree, root: Sequence[str]) -> set[FileId]:
    """Write the DICOMDIR of all files of this file-set, whole or not at all; gives those that it could not be told of.

    What another delivery has placed meanwhile is taken in: whoever writes last looks once more afterwards.
    Raises OSError as the file system says, Retry when another delivery does not end writing it.
    """
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        listed: set[FileId] = set()
        found: list[Entry] = []
        for series in _series(tree, root):
            listed.update(series)
            found += filter(None, [_read(tree, root, one) for one in series])
        try:
            tree.place((*root, NAME), Content((dicomdir_of(found),)), policy="replace")
        except BusyError as error:
            if time.monotonic() > until:
                raise Retry("Another delivery is writing this folder's DICOMDIR.") from error
            time.sleep(0.05)
            continue
        if {one for series in _series(tree, root) for one in series} == listed:
            return listed - {one.file_id for one in found}


class Entry(NamedTuple):
    """What the directory tells of a file: by Directory Record Type, keywords and values."""

    file_id: FileId
    above: dict[str, Values]
    kind: str
    values: Values

    @property
    def order(self) -> tuple[str, str, int, str, int, FileId]:
        study, series = self.above["STUDY"], self.above["SERIES"]
        return (
            str(self.above["PATIENT"]["PatientID"]), str(study["StudyInstanceUID"]), _number(series["SeriesNumber"]),
            str(series["SeriesInstanceUID"]), _number(self.values.get("InstanceNumber")), self.file_id,
        )  # fmt: skip


def entry_of(one: FileId, data_set: Dataset) -> Entry:
    """Of a file, by its header."""
    character_set = {"SpecificCharacterSet": data_set.SpecificCharacterSet} if data_set.get("SpecificCharacterSet") else {}
    above = {kind: {name: data_set.get(name) for name in names} | character_set for kind, names in _KEYS.items()}
    kind = _kind(data_set)
    return Entry(one, above, kind, _leaf(one, kind, data_set) | character_set)


def dicomdir_of(files: Sequence[Entry]) -> bytes:
    """The directory of these files; the same files give the same bytes. What an image does not say stays empty in it."""
    top = _Record("", {})
    for one in sorted(files, key=lambda one: one.order):
        at = top
        for kind, values in one.above.items():
            at = at.children.setdefault(str(values[_UNIQUE[kind]] or ""), _Record(kind, values))
        at.children["/".join(one.file_id)] = _Record(one.kind, one.values)
    records = list(top.below())
    without_places = [record.encoded() for record in records]  # as long as with them
    digest = int.from_bytes(hashlib.sha256(b"".join(without_places)).digest()[:16], "big")
    meta = encode_head(_STORAGE, f"2.25.{digest}", _EXPLICIT)
    place = len(meta) + len(_head(0, 0)) + 12
    for record, encoded in zip(records, without_places, strict=True):
        record.at = place
        place += len(encoded)
    top.chain()
    roots = list(top.children.values())
    first, last = (roots[0].at, roots[-1].at) if roots else (0, 0)
    body = b"".join(record.encoded() for record in records)
    return meta + _head(first, last) + struct.pack("<HH2sHL", 4, 0x1220, b"SQ", 0, len(body)) + body

@dataclass
class _Record:
    """A directory record and those below it."""

    kind: str
    values: Values
    children: dict[str, _Record] = field(default_factory=dict)
    at: int = 0
    next_at: int = 0
    lower_at: int = 0

    def below(self) -> Iterator[_Record]:
        for child in self.children.values():
            yield child
            yield from child.below()

    def chain(self) -> None:
        """Tell each where its next one and its first one below stand."""
        ordered = list(self.children.values())
        self.lower_at = ordered[0].at if ordered else 0
        for one, after in itertools.pairwise(ordered):
            one.next_at = after.at
        for one in ordered:
            one.chain()

    def encoded(self) -> bytes:
        """As an item of the Directory Record Sequence."""
        from pydicom import Dataset
        from pydicom.filebase import DicomBytesIO
        from pydicom.filewriter import write_dataset

        record = Dataset()
        record.OffsetOfTheNextDirectoryRecord = self.next_at
        record.RecordInUseFlag = 0xFFFF
        record.OffsetOfReferencedLowerLevelDirectoryEntity = self.lower_at
        record.DirectoryRecordType = self.kind
        for name, value in self.values.items():
            setattr(record, name, value)
        out = DicomBytesIO()
        out.is_little_endian, out.is_implicit_VR = True, False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd value of an image is told of as it is
            write_dataset(out, record)
        data: bytes = out.getvalue()
        return b"\xfe\xff\x00\xe0" + len(data).to_bytes(4, "little") + data


def _leaf(one: FileId, kind: str, data_set: Dataset) -> Values:
    from pydicom.fileset import DIRECTORY_RECORDERS

    values: Values = {"InstanceNumber": data_set.get("InstanceNumber")}
    with contextlib.suppress(ValueError, AttributeError, KeyError):  # it lacks what its record should hold: it is told of still
        values = {element.keyword: element.value for element in DIRECTORY_RECORDERS[kind](data_set)}
    return values | {
        "ReferencedFileID": list(one), "ReferencedSOPClassUIDInFile": data_set.SOPClassUID,
        "ReferencedSOPInstanceUIDInFile": data_set.SOPInstanceUID,
        "ReferencedTransferSyntaxUIDInFile": data_set.file_meta.TransferSyntaxUID,
    }  # fmt: skip


def _kind(data_set: Dataset) -> str:
    """The Directory Record Type of an image; IMAGE where the standard has no other."""
    _, _, rest = str(data_set.SOPClassUID).partition("1.2.840.10008.5.1.4.1.1.")
    return next((kind for pattern, kind in _TYPES if re.fullmatch(pattern, rest)), "IMAGE")


def _series(tree: Tree, root: Sequence[str]) -> Iterator[list[FileId]]:
    """The files of the file-set, a folder at a time; each folder is let go of, as there may be very many."""
    for series in sorted(_names(tree, (*root, FOLDER))):
        yield [(FOLDER, series, name) for name in sorted(_names(tree, (*root, FOLDER, series)))]
        tree.sync()


def _names(tree: Tree, where: Sequence[str]) -> list[str]:
    found = os.listdir(tree.folder(where))  # noqa: PTH208  (a folder that is open has no path to be trusted)
    return [name for name in found if _COMPONENT.fullmatch(name)]


def _read(tree: Tree, root: Sequence[str], one: FileId) -> Entry | None:
    """Its header as records want it; None when there is no telling what it is."""
    from pydicom import dcmread

    fd = os.open(one[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=tree.folder((*root, *one[:-1])))
    with os.fdopen(fd, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            entry = entry_of(one, dcmread(file, stop_before_pixels=True, defer_size=_LARGE))
            for kind, values in (*entry.above.items(), (entry.kind, entry.values)):
                _Record(kind, values).encoded()
        except OSError:
            raise
        except Exception:  # noqa: BLE001  (pydicom raises what it likes on odd bytes)
            return None
    return entry


def _component(text: str) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest()[:5]).decode()


def _head(first: int, last: int) -> bytes:
    """The File-set Identification and Directory Information modules, up to the records (PS3.3 F.3.2)."""
    elements = (
        (0x1130, b"CS", b""), (0x1200, b"UL", struct.pack("<L", first)), (0x1202, b"UL", struct.pack("<L", last)),
        (0x1212, b"US", bytes(2)),
    )  # fmt: skip
    return b"".join(struct.pack("<HH2sH", 4, tag, vr, len(value)) + value for tag, vr, value in elements)


def _number(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        return 0
