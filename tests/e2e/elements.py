"""Data sets as top-level elements and their bytes, by pydicom's reading: independent of the engine's own walk."""

from __future__ import annotations

import io
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial

__all__ = ["data_set_bytes", "elements", "meta_of", "parted", "read"]

LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}


def read(path: Path) -> Dataset:
    return dcmread(path, force=True)


def data_set_bytes(path: Path) -> bytes:
    """What follows the file meta."""
    data = path.read_bytes()
    assert data[128:132] == b"DICM"
    assert data[132:136] == b"\x02\x00\x00\x00", "file meta begins with its length"
    return data[144 + int.from_bytes(data[140:144], "little") :]


def parted(file: bytes) -> tuple[tuple[str, str, str], bytes]:
    """A Part 10 file's SOP class, SOP instance and transfer syntax, as its file meta has them, and its data set."""
    meta = dcmread(io.BytesIO(file), stop_before_pixels=True).file_meta
    said = (str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID), str(meta.TransferSyntaxUID))
    return said, file[144 + meta.FileMetaInformationGroupLength :]


def meta_of(path: Path) -> tuple[str, str, str]:
    """SOP class, SOP instance and transfer syntax of a file, as its file meta has them."""
    return parted(path.read_bytes())[0]


def elements(path: Path) -> dict[int, bytes]:
    """Tag -> the element's bytes, header included, of the top level: from its beginning to the next one's."""
    data = path.read_bytes()
    explicit = read(path).file_meta.TransferSyntaxUID != "1.2.840.10008.1.2"
    starts: list[tuple[int, int]] = []
    ds = read_partial(io.BytesIO(data), force=True)
    for tag, element in ds._dict.items():
        tell = element.value_tell if hasattr(element, "value_tell") else element.file_tell
        vr = element.VR or "UN"
        head = 12 if explicit and vr in LONG else 8
        starts.append((int(tag), tell - head))
    starts.sort(key=lambda s: s[1])
    ends = [start for _, start in starts[1:]] + [len(data)]
    return {tag: data[start:end] for (tag, start), end in zip(starts, ends, strict=True)}
