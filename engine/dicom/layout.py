"""Layouts met before: where everything stands in a file that is written as an earlier one was, without walking it again.

The images of a series are written alike: the same elements in the same places, other values in them. Two files have the
same layout when all bytes are the same that the walk looks at: tags, VRs and lengths (PS3.5 7.1), those inside sequences
of undefined length too, and the transfer syntax. Comparing these takes a tenth of what walking takes, and the index of the
one is then the index of the other: no other byte has a say in what the walk finds.
"""

from __future__ import annotations

from typing import Final

from engine.dicom.meta import GROUP_LENGTH, TRANSFER_SYNTAX, Meta
from engine.dicom.source import Source
from engine.dicom.walk import Entry, Form, heads_inside

__all__ = ["Layout", "Layouts"]

PIXEL_DATA: Final = 0x7FE00010
META: Final = 132
"""Where the file meta begins."""
MOST: Final = 128
"""How many layouts are kept, some 30 KB each. When there are more all are forgotten: series end."""
MOST_ALIKE: Final = 4
"""How many of these may be of files of one length."""
MOST_OPEN: Final = 8
MOST_MET: Final = 4096
LONGEST: Final = 1 << 14
"""Bytes of a header whose layout is kept: comparing costs by the byte, walking by the element."""


class Layout:
    """Where everything stands in files of one layout: made of one that was just walked."""

    __slots__ = (
        "_looked_at", "_next", "_said", "elements", "end", "form", "index", "offset", "rest", "size", "spans", "stepped_over",
    )

    def __init__(self, size: int, start: bytes, meta: Meta, source: Source, form: Form, index: dict[int, Entry]) -> None:
        """`size`: the file's length in bytes; `start`: its first bytes; the others: what they were found to be."""
        self.size = size
        self.spans = meta.spans
        self.offset = meta.end
        self.form = form
        self.stepped_over = source.stepped_over
        here = min(len(start) - meta.end, source.stepped_over)
        pixels = index.get(PIXEL_DATA)
        if pixels is not None and pixels[3] != pixels[4]:
            here = min(here, pixels[1])  # encapsulated: each image has other fragments
        known = {tag: entry for tag, entry in index.items() if entry[4] <= here}
        heads = [span for entry in known.values() for span in _heads(start, meta.end, entry, form)]
        *_, last = index.values()
        whole = last[4] == source.length
        if whole and len(known) == len(index) - 1 and last[3] == last[4] and meta.end + last[2] <= len(start):
            heads.append((meta.end + last[1], meta.end + last[2]))  # one long value up to the file's end
            known = index
        self.rest: int | None = None
        """Where in the data set the walk has to go on; None: in files of this length all is known."""
        if not whole or len(known) < len(index):
            self.rest = max((entry[4] for entry in known.values()), default=0)
        self.index = known
        self.elements = len(known)
        self.end = max((stop for _, stop in heads), default=meta.end)
        behind = self.offset + (self.rest or 0)
        self._next = behind, behind + 4, start[behind : behind + 4]
        """The tag that comes then, where it can be seen: a quick look tells most of the others."""
        self._looked_at = _mask(self.end, heads, meta)
        self._said = int.from_bytes(start[: self.end], "little") & self._looked_at

    def fits(self, size: int, start: bytes) -> bool:
        """Whether a file of this length that begins so is written alike, up to `rest`."""
        if self.rest is None:
            if self.size != size:
                return False
        else:
            at, stop, tag = self._next
            if at > size or start[at:stop] != tag:
                return False
        return int.from_bytes(start[: self.end], "little") & self._looked_at == self._said


def _heads(start: bytes, base: int, entry: Entry, form: Form) -> list[tuple[int, int]]:
    """Where the bytes stand that the walk looks at of one element: from, to."""
    vr, at, value, stop, end = entry
    own = [(base + at, base + value)]
    if stop == end:
        return own
    return own + heads_inside(start, base + value, form, vr)


def _mask(size: int, heads: list[tuple[int, int]], meta: Meta) -> int:
    mask = bytearray(size)
    for tag, (_, at, value, stop) in meta.spans.items():
        heads.append((at, stop if tag in (TRANSFER_SYNTAX, GROUP_LENGTH) else value))
    for at, stop in (*heads, (128, 132)):
        mask[at:stop] = b"\xff" * (stop - at)
    return int.from_bytes(mask, "little")


class Layouts:
    """The layouts met lately. May be used by several threads."""

    def __init__(self) -> None:
        self._by_size: dict[int, tuple[Layout, ...]] = {}
        self._open: tuple[Layout, ...] = ()
        """Those after which the walk goes on, of files of any length: compressed images, mostly."""
        self._met: set[tuple[int, int]] = set()
        self._count = 0

    def of(self, size: int, start: bytes) -> Layout | None:
        """That of a file of this length that begins so; None when it is not known."""
        for layout in self._by_size.get(size, ()):
            if layout.fits(size, start):
                return layout
        for layout in self._open:
            if layout.fits(size, start):
                return layout
        return None

    def note(self, size: int, start: bytes, meta: Meta, source: Source, form: Form, index: dict[int, Entry]) -> None:
        """Remember one that was walked, at the second sight of its kind: what comes once is not worth the work."""
        in_meta = sum(end - at for _, at, _, end in meta.spans.values())
        if source.elements != len(index) or in_meta != meta.end - META or not index:
            return  # a tag that comes twice: the index, or `spans`, does not tell it
        *_, last = index.values()
        kind = (min(source.stepped_over, last[2]), len(index))
        if kind[0] > LONGEST:
            return
        if kind not in self._met:
            if len(self._met) >= MOST_MET:
                self._met.clear()
            self._met.add(kind)
            return
        if self._count >= MOST:
            self._by_size, self._count = {}, 0
        alike = self._by_size.get(size, ())
        if len(alike) >= MOST_ALIKE:
            return
        layout = Layout(size, start, meta, source, form, index)
        if layout.rest == 0:
            return  # nothing of it is known
        if layout.rest is not None:
            self._open = (layout, *self._open[: MOST_OPEN - 1])
        else:
            self._by_size[size] = (*alike, layout)
            self._count += 1
