"""An instance in another transfer syntax, its UIDs and every sample the same: decompressed, or compressed without loss.

Frame by frame into a file without a name, so that the memory needed is that of a frame, and nothing is left behind.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from engine.dicom.codecs import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    NATIVE,
    READABLE,
    RLE,
    Samples,
    decode_frame,
    encode_frame,
    encoded_photometric,
)
from engine.dicom.content import Content, Slice
from engine.dicom.edit import Node
from engine.dicom.header import Header, form_of
from engine.dicom.level import Level
from engine.dicom.meta import Meta
from engine.dicom.pixels import PIXEL_DATA, CannotConvert, Image, frames_of, image_of
from engine.dicom.source import Source
from engine.dicom.transcode import copy_element
from engine.dicom.walk import Form
from engine.errors import Hold, Retry

__all__ = ["Converted", "converted", "has_pixel_data"]

_ICONS = 0x00880200
_UNDEFINED = 0xFFFFFFFF
_OTHER_PIXELS = (0x7FE00008, 0x7FE00009)  # float and double float


class Converted(NamedTuple):
    """A data set in another transfer syntax, usable until its context ends."""

    transfer_syntax_uid: str
    head: bytes
    """Preamble, `DICM` and file meta that go with it."""
    data_set: Content


@contextlib.contextmanager
def converted(head: bytes, data_set: Content, target: str) -> Iterator[Converted | None]:
    """The instance in `target`: Explicit or Implicit VR Little Endian, or a lossless syntax that codecs encodes.

    None when there is nothing to convert: it is in `target` already, or has no pixel data to compress.
    Raises CannotConvert, in words, for what cannot be, Retry when the disk is full, OSError or EOFError when the
    received file cannot be read.
    """
    meta = Meta(head)
    syntax = meta.text(0x00020010)
    if syntax == target:
        yield None
        return
    if syntax not in READABLE:
        raise CannotConvert("its transfer syntax is not one that can be read here")
    with contextlib.ExitStack() as stack:
        try:
            root = _root(meta, data_set)
            if target not in NATIVE and PIXEL_DATA not in root.index:
                yield None
                return
            scratch = stack.enter_context(tempfile.TemporaryFile(dir=_folder_of(data_set)))
            pieces = tuple(_pieces(root, syntax, target, scratch))
        except Hold as e:
            raise CannotConvert(str(e).rstrip(".")) from e
        except OSError as e:
            if e.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Retry(
                    "There is no room on the disk of the spool to write an image in another transfer syntax."
                ) from e
            raise
        yield Converted(target, meta.with_uid(0x00020010, target).head, Content(pieces))


def has_pixel_data(head: bytes, data_set: Content) -> bool:
    """Whether it is an image. What cannot be read counts as one: nobody can say that it is not."""
    try:
        return PIXEL_DATA in _root(Meta(head), data_set).index
    except Hold:
        return True


def _root(meta: Meta, data_set: Content) -> Level:
    """The data set, walked. Raises Hold."""
    size = len(meta.head)
    return Header(Path(), size + data_set.length, size, meta, data_set, Source(data_set.pieces)).root


def _folder_of(data_set: Content) -> Path | None:
    """Beside the received file: the disk that is looked after. An image in memory goes where temporary files go."""
    return next((piece.path.parent for piece in data_set.pieces if isinstance(piece, Slice)), None)


def _pieces(root: Level, syntax: str, target: str, scratch: IO[bytes]) -> Iterator[bytes | Slice]:
    form = form_of(target)
    entry = root.index.get(PIXEL_DATA)
    start, end = (entry[1], entry[4]) if entry else (root.source.length,) * 2
    before, after = (
        Level(Source(tuple(root.source.cut(a, b))), root.form) for a, b in ((0, start), (end, root.source.length))
    )
    if entry is None:
        yield from _header(before, form, {})
        return
    if target in NATIVE and syntax not in NATIVE:
        _refuse_compressed_icons(root)
    pixels = _Pixels(root, syntax, target, scratch)
    yield from _header(before, form, pixels.changes)
    yield from pixels.element
    yield from _header(after, form, {})


def _header(level: Level, form: Form, changes: dict[int, tuple[str, bytes]]) -> Iterator[bytes | Slice]:
    """The elements on one side of the pixel data, their bytes as they are where the form stays."""
    if level.form == form:
        node = Node(form, level)
        for tag in [tag for tag in level.index if tag >> 16 == 0x7FE0]:
            node.remove(tag)  # offsets into the old pixel data, its group length
    else:
        node = Node(form)
        old = Node(level.form, level)
        for tag in old.tags():
            if tag & 0xFFFF and tag >> 16 != 0x7FE0:
                copy_element(old, tag, node, tag)
    for tag, (vr, data) in changes.items():
        node.put(tag, vr, data)
    yield from node.pieces()


def _refuse_compressed_icons(root: Level) -> None:
    for item in root.items(_ICONS) if _ICONS in root.index else []:
        entry = item.index.get(PIXEL_DATA)
        if entry and entry[3] != entry[4]:
            raise CannotConvert("its icon image is compressed as well")


class _Pixels:
    """The pixel data element in its new form, and what the header has to say of it."""

    def __init__(self, root: Level, syntax: str, target: str, scratch: IO[bytes]) -> None:
        self._target = target
        self._scratch = scratch
        self.changes: dict[int, tuple[str, bytes]] = {}
        """By tag: VR and bytes, little endian."""
        vr, _, value, stop, end = root.index[PIXEL_DATA]
        if target in NATIVE and stop == end:
            self.element = self._as_it_is(root, vr, value, stop)
            return
        if stop == end and root.form.order == ">":
            raise CannotConvert("it is big endian")
        if any(tag in root.index for tag in _OTHER_PIXELS):
            raise CannotConvert("its pixels are floating-point numbers")
        image = image_of(root)
        found = image.photometric
        sizes: list[int] = []
        for frame in frames_of(root, image):
            samples, found = decode_frame(syntax if stop != end else EXPLICIT_LITTLE, frame, image)
            sizes.append(self._put(samples, image.change(photometric=found)))
        scratch.flush()
        self._describe(image, image.change(photometric=found))
        self.element = self._native(image) if target in NATIVE else self._encapsulated(sizes)

    def _as_it_is(self, root: Level, vr: str, value: int, stop: int) -> tuple[bytes | Slice, ...]:
        """Native stays native: the same bytes under another element head, the byte order turned where it has to be."""
        if root.form.order == ">":
            raise CannotConvert("it is big endian")
        head = self._head(vr or root.vr(PIXEL_DATA), stop - value)
        return (head, *root.source.cut(value, stop))

    def _put(self, samples: Samples, image: Image) -> int:
        """One frame into the file; gives its length."""
        if self._target in NATIVE:
            return self._scratch.write(samples.tobytes())
        data = encode_frame(self._target, samples, image)
        self._scratch.write(struct.pack("<HHL", 0xFFFE, 0xE000, len(data)))
        return 8 + self._scratch.write(data)

    def _describe(self, old: Image, new: Image) -> None:
        photometric = new.photometric if self._target in NATIVE else encoded_photometric(self._target, new)
        if photometric != old.photometric:
            data = photometric.encode()
            self.changes[0x00280004] = "CS", data + b" " * (len(data) % 2)
        if old.samples > 1 and old.planar and self._target != RLE:
            self.changes[0x00280006] = "US", b"\0\0"
        if old.samples > 1 and self._target == RLE and not old.planar:
            self.changes[0x00280006] = "US", b"\1\0"  # run-length segments are planes (PS3.5 8.2.2)

    def _native(self, image: Image) -> tuple[bytes | Slice, ...]:
        length = self._length
        if length + length % 2 >= _UNDEFINED:
            raise CannotConvert("decompressed it would be longer than 4 GB, the most that pixel data can be")
        vr = "OW" if image.bits_allocated > 8 else "OB"
        return (self._head(vr, length + length % 2), self._file, b"\0" * (length % 2))

    def _encapsulated(self, sizes: list[int]) -> tuple[bytes | Slice, ...]:
        """PS3.5 A.4: an offset table (left empty beyond 4 GB), a fragment for each frame, the delimiter."""
        table = b""
        if sum(sizes) < _UNDEFINED:
            offsets = [0, *itertools.accumulate(sizes[:-1])]
            table = struct.pack(f"<{len(offsets)}L", *offsets)
        head = self._head("OB", _UNDEFINED) + struct.pack("<HHL", 0xFFFE, 0xE000, len(table)) + table
        return (head, self._file, struct.pack("<HHL", 0xFFFE, 0xE0DD, 0))

    @property
    def _length(self) -> int:
        return os.fstat(self._scratch.fileno()).st_size

    @property
    def _file(self) -> Slice:
        """The file has no name: its descriptor is one, in this process."""
        return Slice(Path(f"/dev/fd/{self._scratch.fileno()}"), 0, self._length)

    def _head(self, vr: str, length: int) -> bytes:
        if self._target == IMPLICIT_LITTLE:
            return struct.pack("<HHL", 0x7FE0, 0x0010, length)
        return struct.pack("<HH2sHL", 0x7FE0, 0x0010, vr.encode(), 0, length)
