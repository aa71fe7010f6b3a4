"""Instances sent as metadata in JSON with their bulk data beside it (PS3.18 8.6, 10.5, F): made into Part 10 files.

The metadata is small and read whole; bulk data goes through unnamed files, so that no size of it fills the memory.
"""

from __future__ import annotations

import json
import os
import re
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from engine.connection.multipart import Part, media_type
from engine.dicom.file_meta import encode_head
from engine.dicom.store_response import CANNOT_UNDERSTAND, SYNTAX_NOT_TAKEN
from engine.errors import Refuse
from engine.sources._stow import BrokenOff, Identity, Reception

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["LARGEST_METADATA", "Described"]

LARGEST_METADATA: Final = 16 << 20
LARGEST_NESTED: Final = 16 << 20
MOST_FILES: Final = 256
CHUNK: Final = 1 << 20
EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
PIXEL_DATA: Final = 0x7FE00010
UNDEFINED: Final = 0xFFFFFFFF

SYNTAXES: Final = {
    "image/jpeg": "1.2.840.10008.1.2.4.70",
    "image/jls": "1.2.840.10008.1.2.4.80",
    "image/jp2": "1.2.840.10008.1.2.4.90",
    "image/jphc": "1.2.840.10008.1.2.4.201",
    "image/dicom-rle": "1.2.840.10008.1.2.5",
    "image/x-dicom-rle": "1.2.840.10008.1.2.5",
}
"""What a compressed part holds when it does not say (PS3.18 Table 8.7.3-2)."""


class _Bulk:
    """One bulk part that has come."""

    def __init__(self, file: BinaryIO, size: int, content_type: str) -> None:
        self.file, self.size = file, size
        self.kind, parameters = media_type(content_type)
        self.syntax = parameters.get("transfer-syntax", "") or SYNTAXES.get(self.kind, EXPLICIT_LITTLE_ENDIAN)

    @property
    def compressed(self) -> bool:
        return self.syntax != EXPLICIT_LITTLE_ENDIAN

    def chunks(self) -> Iterator[bytes]:
        at = 0
        while at < self.size:
            chunk = os.pread(self.file.fileno(), min(CHUNK, self.size - at), at)
            yield chunk
            at += len(chunk)
        if self.size % 2:
            yield b"\0"


class Described:
    """The instances that the metadata of one request describes. `metadata` first, then `bulk` for each part, then `finish`."""

    def __init__(self, reception: Reception, scratch: Path) -> None:
        """`scratch`: where the files of bulk data stand until they are used; they have no names there."""
        self._reception = reception
        self._scratch = scratch
        self._waiting: list[tuple[dict[str, Any], set[str]]] = []
        self._bulk: dict[str, _Bulk] = {}

    def metadata(self, part: Part) -> None:
        """Raises BrokenOff for what is no JSON of data sets, or too long."""
        text = b""
        for chunk in part:
            text += chunk
            if len(text) > LARGEST_METADATA:
                raise BrokenOff(f"The metadata is larger than {LARGEST_METADATA >> 20} MB: send application/dicom.", 413)
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise BrokenOff("The part with the metadata is no JSON.") from e
        data_sets = found if isinstance(found, list) else [found]
        if not all(isinstance(d, dict) and all(_is_element(t, e) for t, e in d.items()) for d in data_sets):
            raise BrokenOff("The metadata is no DICOM JSON: an array of data sets is expected (PS3.18 F.2).")
        for data_set in data_sets:
            self._waiting.append((data_set, set(_uris(data_set))))
        self._make_whole_ones()

    def bulk(self, part: Part) -> None:
        """Keep one bulk part until the instances that refer to it are whole."""
        uri = part.headers.get("content-location", "").strip()
        if not any(uri in needs for _, needs in self._waiting):
            for _ in part:
                pass
            self._reception.failed(Refuse("a part that no metadata refers to by its Content-Location", CANNOT_UNDERSTAND))
            return
        if len(self._bulk) >= MOST_FILES:
            raise BrokenOff(f"More than {MOST_FILES} parts of bulk data wait for others: send application/dicom.", 413)
        file = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115  (closed when it is used, or with the request)
        try:
            for chunk in part:
                file.write(chunk)
            file.flush()
        except OSError as e:  # no room: its instances are told so
            file.close()
            for _ in part:
                pass
            self._give_up(uri, e)
            return
        self._bulk[uri] = _Bulk(file, file.tell(), part.headers.get("content-type", ""))
        self._make_whole_ones()

    def finish(self) -> None:
        """What still waits is told as failed."""
        for data_set, _ in self._waiting:
            self._reception.failed(Refuse("its bulk data did not come", CANNOT_UNDERSTAND), _identity(data_set))
        self._waiting.clear()
        self.close()

    def close(self) -> None:
        for one in self._bulk.values():
            one.file.close()
        self._bulk.clear()

    def _give_up(self, uri: str, error: Exception) -> None:
        for data_set, needs in self._waiting:
            if uri in needs:
                self._reception.failed(error, _identity(data_set))
        self._waiting = [one for one in self._waiting if uri not in one[1]]

    def _make_whole_ones(self) -> None:
        whole = [data_set for data_set, needs in self._waiting if needs <= self._bulk.keys()]
        self._waiting = [one for one in self._waiting if not one[1] <= self._bulk.keys()]
        for data_set in whole:
            try:
                chunks = _part10(data_set, self._bulk)
            except Refuse as e:
                self._reception.failed(e, _identity(data_set))
            else:
                self._reception.part10(chunks)
        wanted = set().union(*(needs for _, needs in self._waiting))
        for uri in [u for u in self._bulk if u not in wanted]:
            self._bulk.pop(uri).file.close()


def _is_element(tag: str, element: Any) -> bool:
    return bool(re.fullmatch(r"[0-9A-Fa-f]{8}", tag)) and isinstance(element, dict)


def _uris(value: Any) -> Iterator[str]:
    """Every BulkDataURI of a data set, at any depth."""
    if isinstance(value, dict):
        if isinstance(value.get("BulkDataURI"), str):
            yield value["BulkDataURI"].strip()
        for inner in value.values():
            yield from _uris(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _uris(inner)


def _identity(data_set: dict[str, Any]) -> Identity:
    def first(tag: str) -> str:
        values = data_set.get(tag, {}).get("Value")
        return str(values[0]) if isinstance(values, list) and values else ""

    return Identity(first("00080016"), first("00080018"), first("0020000D"))


def _part10(data_set: dict[str, Any], bulk: dict[str, _Bulk]) -> Iterator[bytes]:
    """The bytes of a Part 10 file in explicit VR little endian, or in the syntax of its compressed pixel data.

    Raises Refuse for metadata that cannot be written as DICOM.
    """
    try:
        return _chunks(_runs(data_set, bulk))
    except Refuse:
        raise
    except Exception as e:  # what pydicom makes of values that are none of their VR
        raise Refuse("its metadata cannot be written as DICOM", CANNOT_UNDERSTAND) from e


def _runs(data_set: dict[str, Any], bulk: dict[str, _Bulk]) -> list[bytes | _Bulk]:
    own = {
        int(tag, 16): (str(element.get("vr", "UN")), bulk[element["BulkDataURI"].strip()])
        for tag, element in data_set.items()
        if isinstance(element.get("BulkDataURI"), str)
    }
    plain = _dataset({t: e for t, e in data_set.items() if int(t, 16) not in own}, bulk)
    pixels = own.get(PIXEL_DATA)
    syntax = pixels[1].syntax if pixels else EXPLICIT_LITTLE_ENDIAN
    if any(one.compressed for tag, (_, one) in own.items() if tag != PIXEL_DATA):
        raise Refuse("compressed bulk data is taken for Pixel Data alone", SYNTAX_NOT_TAKEN)
    if pixels and pixels[1].compressed and int(plain.get("NumberOfFrames") or 1) > 1:
        raise Refuse("compressed frames: send it as application/dicom", SYNTAX_NOT_TAKEN)
    identity = _identity(data_set)
    runs: list[bytes | _Bulk] = [encode_head(identity.sop_class_uid, identity.sop_instance_uid, syntax)]
    at = 0
    for tag, (vr, one) in sorted(own.items()):
        runs += [_written(plain, at, tag), *_element(tag, vr, one)]
        at = tag + 1
    return [*runs, _written(plain, at, UNDEFINED)]


def _chunks(runs: list[bytes | _Bulk]) -> Iterator[bytes]:
    for run in runs:
        if isinstance(run, bytes):
            yield run
        else:
            yield from run.chunks()


def _element(tag: int, vr: str, one: _Bulk) -> list[bytes | _Bulk]:
    """An element whose value is a file: native, or encapsulated as one fragment behind an empty offset table (PS3.5 A.4)."""
    length = one.size + one.size % 2
    if length >= UNDEFINED:
        raise Refuse("its bulk data is longer than an element can be", CANNOT_UNDERSTAND)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if one.compressed:
        table = struct.pack("<2s2xIHHIHHI", b"OB", UNDEFINED, 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, length)
        return [head + table, one, struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)]
    code = vr.encode("ascii", "replace")[:2]
    if code in (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UC", b"UN", b"UR", b"UT"):
        return [head + struct.pack("<2s2xI", code, length), one]
    if length > 0xFFFF:
        raise Refuse("its bulk data is longer than its VR can hold", CANNOT_UNDERSTAND)
    return [head + struct.pack("<2sH", code, length), one]


def _dataset(elements: dict[str, Any], bulk: dict[str, _Bulk]) -> Dataset:
    """Without file meta and what describes the transfer alone; text in UTF-8, as JSON is."""
    from pydicom import Dataset

    def nested(uri: str) -> bytes:
        one = bulk[uri.strip()]
        if one.size > LARGEST_NESTED:
            raise Refuse("bulk data within a sequence is too large", CANNOT_UNDERSTAND)
        return b"".join(one.chunks())

    kept = {t: e for t, e in elements.items() if not t.startswith("0002") and t not in ("00083002", "00083003")}
    if not all(part.isascii() for part in _texts(kept)):
        kept["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    return Dataset.from_json(kept, lambda _tag, _vr, uri: nested(uri))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _written(data_set: Dataset, start: int, stop: int) -> bytes:
    """The elements from one tag to before another."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, False
    write_dataset(out, data_set[start:stop])
    return bytes(out.getvalue())
