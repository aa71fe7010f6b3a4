"""New elements spliced into a data set's bytes. All else keeps its bytes; what is long is referred to where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.dicom.content import Slice
from engine.dicom.level import Level

__all__ = ["spliced"]

LENGTH_TO_END = 0x00080001


def spliced(level: Level, news: Mapping[int, bytes]) -> tuple[bytes | Slice, ...]:
    """The data set as pieces, with `news` by ascending tag: an element's new bytes, b"" where it goes.

    Group lengths follow (PS3.5 7.2).
    """
    return tuple(_joined(_runs(level, news)))


def _runs(level: Level, news: Mapping[int, bytes]) -> Iterator[bytes | Slice]:
    bulk = level.bulk_start()
    read = level.source.read
    at = 0
    for start, end, new in [*_splices(level, news), (level.source.length, level.source.length, b"")]:
        if at < min(start, bulk):
            yield read(at, min(start, bulk))
        if max(at, bulk) < start:
            yield from level.source.cut(max(at, bulk), start)
        yield new
        at = end


def _splices(level: Level, news: Mapping[int, bytes]) -> list[tuple[int, int, bytes]]:
    """What to replace: (from, to, new bytes), in the order of the bytes."""
    if news and LENGTH_TO_END in level.index and LENGTH_TO_END not in news:
        news = {**news, LENGTH_TO_END: b""}  # retired, and it would be wrong now
    out: list[tuple[int, int, bytes]] = []
    growth: dict[int, int] = {}
    for tag, data in news.items():
        entry = level.index.get(tag)
        start, end = (entry[1], entry[4]) if entry else (level.place_of(tag),) * 2
        out.append((start, end, data))
        more = len(data) - (end - start)
        for other, start, end in level.repeated():
            if other == tag:
                out.append((start, end, b""))
                more -= end - start
        growth[tag >> 16] = growth.get(tag >> 16, 0) + more
    for group, more in growth.items():
        if more and group << 16 in level.index and group << 16 not in news:
            out.extend(_group_length(level, group, more))
    out.sort(key=lambda splice: splice[:2])
    return out


def _group_length(level: Level, group: int, more: int) -> Iterator[tuple[int, int, bytes]]:
    _, _, value, stop, _ = level.index[group << 16]
    if stop - value == 4:
        length = level.form.length.unpack(level.source.read(value, stop))[0] + more
        yield value, stop, level.form.length.pack(max(length, 0))


def _joined(pieces: Iterator[bytes | Slice]) -> Iterator[bytes | Slice]:
    run: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes):
            if piece:
                run.append(piece)
            continue
        if run:
            yield b"".join(run)
        run = []
        yield piece
    if run:
        yield b"".join(run)
