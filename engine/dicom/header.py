"""The header of one received instance as a lazy view: walked to an index, decoded only where asked, pixels never."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.dicom.content import Content, Slice
from engine.dicom.layout import Layout, Layouts
from engine.dicom.level import Element, Level
from engine.dicom.meta import IMPLICIT_SYNTAXES, Meta
from engine.dicom.paths import TagPath
from engine.dicom.source import WINDOW, Source
from engine.dicom.vr import BINARY
from engine.dicom.walk import BIG, EXPLICIT, IMPLICIT, Form, sniff, walk
from engine.errors import Hold

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["DEFLATED", "Element", "Header", "form_of", "inflate", "level_as_json"]

BIG_SYNTAX: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
LARGEST_INFLATED: Final = 1 << 29
LARGEST_META: Final = 1 << 16
_LAYOUTS: Final = Layouts()


def form_of(transfer_syntax_uid: str) -> Form:
    """How the data set of a transfer syntax is written (PS3.5 A): all but two are explicit VR little endian."""
    if transfer_syntax_uid in IMPLICIT_SYNTAXES:
        return IMPLICIT
    return BIG if transfer_syntax_uid == BIG_SYNTAX else EXPLICIT


def inflate(data: bytes) -> bytes:
    """A deflated data set's bytes (PS3.5 A.5). Raises Hold when they are broken or absurdly long."""
    expand = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        out = expand.decompress(data, LARGEST_INFLATED)
    except zlib.error as e:
        raise Hold(f"The deflated data set cannot be inflated: {e}.") from e
    if not expand.eof:
        raise Hold("The deflated data set is cut off, or longer than 512 MB inflated.")
    return out


class Header:
    """One instance's header. Made by `read` from a received file, or by a change of another header.

    path: the received file; size: its length in bytes; head: preamble, `DICM` and file meta; data_offset: where the
    data set begins in the received file; data_set: the data set as pieces (unmodified: one Slice of the file).
    """

    __slots__ = (
        "_root", "_source", "data_offset", "data_set", "head", "meta", "path", "size", "sop_class_uid",
        "sop_instance_uid", "transfer_syntax_uid",
    )

    def __init__(self, path: Path, size: int, data_offset: int, meta: Meta, data_set: Content, source: Source):
        """`source`: the data set's bytes as they are walked, inflated where `data_set` is deflated and was changed."""
        self.path = path
        self.size = size
        self.data_offset = data_offset
        self.meta = meta
        self.head = meta.head
        self.data_set = data_set
        self._source = source
        self._root: Level | None = None
        self.transfer_syntax_uid = meta.text(0x00020010)
        self.sop_class_uid = meta.text(0x00020002)
        self.sop_instance_uid = meta.text(0x00020003)

    @classmethod
    def read(cls, path: Path) -> Header:
        """Read a Part 10 file's header (PS3.10 7.1), up to the pixel data and what follows it.

        Raises Hold, in words that name the place, for what is no DICOM file, is broken or is cut off.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return cls._read(path, fd)
            finally:
                os.close(fd)
        except OSError as e:
            raise Hold(f"The file cannot be read: {e.strerror}.") from e

    @classmethod
    def _read(cls, path: Path, fd: int) -> Header:
        size = os.fstat(fd).st_size
        start = os.pread(fd, WINDOW, 0)
        layout = _LAYOUTS.of(size, start)
        if layout is not None:
            return cls._alike(path, fd, size, start, layout)
        meta = Meta(start)
        while meta.end > len(start) - 8 and len(start) < min(size, LARGEST_META):
            start += os.pread(fd, WINDOW, len(start))
            meta = Meta(start)
        offset = meta.end
        if offset > size:
            raise Hold("The file meta information is cut off.")
        data_set = Content((Slice(path, offset, size - offset),))
        source = Source(data_set.pieces, [(0, start[offset:])])
        header = cls(path, size, offset, meta, data_set, source)
        source.fd = fd  # while the elements are walked: some stand behind the pixel data
        try:
            header._check()
        finally:
            source.fd = None
        if header._source is source and len(start) <= WINDOW:  # not inflated
            _LAYOUTS.note(size, start, meta, source, header.root.form, header.root.index)
        return header

    @classmethod
    def _alike(cls, path: Path, fd: int, size: int, start: bytes, layout: Layout) -> Header:
        """One that is written as an earlier one was."""
        offset = layout.offset
        meta = Meta(start, (layout.spans, offset))
        data_set = Content((Slice(path, offset, size - offset),))
        source = Source(data_set.pieces, [(0, start[offset:])])
        source.elements = layout.elements
        header = cls(path, size, offset, meta, data_set, source)
        index = layout.index
        if layout.rest is None:
            source.stepped_over = layout.stepped_over
        else:
            source.fd = fd
            try:
                index = walk(source, layout.form, dict(index), layout.rest)
            finally:
                source.fd = None
        header._root = Level(source, layout.form, None, index)
        header._check()
        return header

    def _check(self) -> None:
        if not self.transfer_syntax_uid:
            raise Hold("The file meta information names no transfer syntax (0002,0010): the data set cannot be read.")
        root = self.root
        if not root.index:
            raise Hold("The data set is empty.")
        self.sop_class_uid = self.sop_class_uid or self._root_text(0x00080016)
        self.sop_instance_uid = self.sop_instance_uid or self._root_text(0x00080018)
        if not self.sop_class_uid or not self.sop_instance_uid:
            raise Hold("The instance has no SOP Class UID (0008,0016) or no SOP Instance UID (0008,0018).")

    @property
    def root(self) -> Level:
        """The data set, walked at the first need."""
        if self._root is None:
            if self.transfer_syntax_uid in DEFLATED and self._source.pieces is self.data_set.pieces:
                self._source = Source((inflate(self.data_set.read()),))
            source = self._source
            form = form_of(self.transfer_syntax_uid)
            if source.length:
                base, window = source.window(0, 8)
                form = sniff(window[-base:] if base else window, form)
            self._root = Level(source, form, None, walk(source, form))
        return self._root

    @property
    def plain(self) -> Source:
        """The data set's bytes as they are walked: `data_set`, or what it inflates to."""
        return self.root.source

    def find(self, path: TagPath) -> list[Element]:
        """The elements that a path leads to: [] when there are none, several with `[*]`. Raises Hold on broken bytes.

        The path's `[n]` behind its last step asks whether that item is there.
        """
        flat = path.flat
        if flat is not None:
            root = self._root or self.root
            return [root.element(flat)] if flat in root.index else []
        if path.is_file_meta:
            element = self.meta.element(path.steps[0].tag or 0)
            return [element] if element else []
        return [level.element(tag) for level, tag in self.root.find(path.steps)]

    def text(self, path: str | TagPath) -> str:
        """The first value as text, "" when it is missing or empty. Raises ValueError for what is no tag path."""
        for element in self.find(TagPath.parse(path) if isinstance(path, str) else path):
            if element.values:
                return str(element.values[0])
        return ""

    def as_json(self) -> dict[str, Any]:
        """The whole header, file meta included, as `{"00100010": {"vr": "PN", "Value": ["A^B"]}}`, sequences nested.

        Values are those of `Element`; an empty element has no Value, bytes have their `length` instead.
        """
        return level_as_json(self.root) | {f"{e.tag:08X}": _json_of(e) for e in self.meta.elements()}

    def to_dataset(self) -> Dataset:
        """A pydicom Dataset of the header: without elements of group 7FE0 (pixel data). Raises Hold if it cannot be."""
        from engine.dicom.as_pydicom import dataset_of

        return dataset_of(self)

    def _root_text(self, tag: int) -> str:
        values = self.root.values(tag) if tag in self.root.index else ()
        return str(values[0]) if values else ""


def _json_of(element: Element) -> dict[str, Any]:
    return {"vr": element.vr, "Value": list(element.values)} if element.values else {"vr": element.vr}


def level_as_json(level: Level) -> dict[str, Any]:
    """One data set as `Header.as_json` writes it."""
    out: dict[str, Any] = {}
    for tag, entry in level.index.items():
        vr = level.vr(tag)
        if vr == "SQ":
            out[f"{tag:08X}"] = {"vr": vr, "Value": [level_as_json(item) for item in level.items(tag)]}
        elif vr in BINARY:
            out[f"{tag:08X}"] = {"vr": vr, "length": entry[3] - entry[2]}
        else:
            values = level.values(tag)
            out[f"{tag:08X}"] = {"vr": vr, "Value": list(values)} if values else {"vr": vr}
    return out
