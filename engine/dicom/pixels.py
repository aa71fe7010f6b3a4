"""Where the frames of an image stand, native or encapsulated, and what their bytes are, one frame in memory at a time."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from engine.dicom.content import Content
from engine.dicom.level import Level

__all__ = ["PIXEL_DATA", "CannotConvert", "Image", "frames_of", "image_of"]

PIXEL_DATA = 0x7FE00010
_EXTENDED_OFFSETS = 0x7FE00001
_ITEM = struct.Struct("<HHL")


class CannotConvert(Exception):
    """Its text ends the sentence "it cannot be converted: ..."."""


@dataclass(frozen=True, slots=True)
class Image:
    """How the samples of an image are written (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric: str
    planar: bool
    """Colour by plane: all of red, then green, then blue."""
    frames: int

    @property
    def pixels(self) -> int:
        return self.rows * self.columns

    @property
    def frame_bytes(self) -> int:
        """Of a native frame; 4:2:2 has two chroma samples for two pixels (PS3.3 C.7.6.3.1.2)."""
        samples = 2 if self.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") else self.samples
        return self.pixels * samples * self.bits_allocated // 8

    def change(self, **values: object) -> Image:
        return replace(self, **values)  # type: ignore[arg-type]  # fields of this class, by their names


def image_of(level: Level) -> Image:
    """The image's description. Raises CannotConvert when the data set has none that makes sense."""

    def number(tag: int, default: int | None = None) -> int:
        try:
            return int(level.values(tag)[0]) if tag in level.index else _given(default, tag)
        except (ValueError, IndexError):
            return _given(default, tag)

    photometric = level.values(0x00280004) if 0x00280004 in level.index else ()
    image = Image(
        rows=number(0x00280010),
        columns=number(0x00280011),
        samples=number(0x00280002, 1),
        bits_allocated=number(0x00280100),
        bits_stored=number(0x00280101, number(0x00280100)),
        signed=number(0x00280103, 0) == 1,
        photometric=str(photometric[0]).strip() if photometric else "",
        planar=number(0x00280006, 0) == 1,
        frames=max(1, number(0x00280008, 1)),
    )
    if image.bits_allocated not in (8, 16, 32) or not 0 < image.bits_stored <= image.bits_allocated:
        raise CannotConvert(f"its samples have {image.bits_stored} of {image.bits_allocated} bits")
    if not image.pixels or image.samples not in (1, 3):
        raise CannotConvert(f"it has {image.rows} x {image.columns} pixels of {image.samples} samples")
    return image


def _given(default: int | None, tag: int) -> int:
    if default is None:
        raise CannotConvert(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is missing or is no number")
    return default


def frames_of(level: Level, image: Image) -> Iterator[bytes]:
    """The frames' bytes as they stand there. Raises CannotConvert when they cannot be told apart, Hold for broken bytes."""
    _, _, value, stop, end = level.index[PIXEL_DATA]
    if stop != end:
        for frame in _frame_spans(level, value, stop, image.frames):
            yield b"".join(Content(tuple(level.source.cut(a, b))).read() for a, b in frame)
        return
    size = image.frame_bytes
    if stop - value < size * image.frames:
        raise CannotConvert(f"its pixel data is {stop - value} bytes long, {size * image.frames} are needed")
    for at in range(value, value + size * image.frames, size):
        yield Content(tuple(level.source.cut(at, at + size))).read()


Span = tuple[int, int]


def _frame_spans(level: Level, value: int, stop: int, count: int) -> list[list[Span]]:
    """For each frame the fragments that it stands in (PS3.5 A.4)."""
    spans = list(_fragments(level, value, stop))
    if not spans:
        raise CannotConvert("its pixel data is empty")
    table, *fragments = spans
    if count == 1:
        return [fragments]
    if len(fragments) == count:
        return [[one] for one in fragments]
    offsets = _offsets(level, table)
    if len(offsets) != count:
        raise CannotConvert(f"its {len(fragments)} fragments cannot be told apart into {count} frames")
    first = fragments[0][0]
    starts = [offset + first for offset in offsets]
    frames: list[list[Span]] = [[] for _ in starts]
    at = -1
    for fragment in fragments:
        if at + 1 < count and fragment[0] >= starts[at + 1]:
            at += 1
        if at < 0:
            raise CannotConvert("its offset table does not fit its fragments")
        frames[at].append(fragment)
    if not all(frames):
        raise CannotConvert("its offset table does not fit its fragments")
    return frames


def _fragments(level: Level, at: int, stop: int) -> Iterator[Span]:
    """The content of each item, the offset table's first."""
    while at < stop:
        _, _, length = _ITEM.unpack(Content(tuple(level.source.cut(at, at + 8))).read())
        yield at + 8, at + 8 + length
        at += 8 + length


def _offsets(level: Level, table: Span) -> tuple[int, ...]:
    if _EXTENDED_OFFSETS in level.index:
        data = level.raw(_EXTENDED_OFFSETS)
        return struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8])
    data = Content(tuple(level.source.cut(*table))).read()
    return struct.unpack(f"<{len(data) // 4}L", data[: len(data) // 4 * 4])
