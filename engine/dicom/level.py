"""One data set, the top one or a sequence's item, as a lazy view of its bytes."""

from __future__ import annotations

from typing import NamedTuple

from engine.dicom.charset import DEFAULT, Encodings, encodings
from engine.dicom.decode import Value, decode
from engine.dicom.dictionary import implicit_vr, private_vr
from engine.dicom.paths import Step
from engine.dicom.source import Source
from engine.dicom.vr import BINARY
from engine.dicom.walk import DEEPEST, IMPLICIT, Entry, Form, Item, items, sniff, walk
from engine.errors import Hold

__all__ = ["CHARACTER_SET", "PIXEL_REPRESENTATION", "Element", "Level"]

CHARACTER_SET = 0x00080005
LONGEST_VALUE = 1 << 24
"""Longer values are kept and sent like any other, and are never decoded: they are documents, not values."""
PIXEL_REPRESENTATION = 0x00280103


class Element(NamedTuple):
    """One element as it is read.

    Values: text as `str` (decoded, padding removed, several values split), IS DS DA TM DT UI AS AE CS as `str` too,
    US SS UL SL SV UV as `int`, FL FD as `float`, AT as "GGGGEEEE"; OB OW OF OD OL OV UN and SQ have none: () is empty.
    """

    tag: int
    vr: str
    values: tuple[Value, ...]


class Level:
    """A data set's elements by tag. Nothing is decoded before it is asked for; items are read once and kept."""

    __slots__ = ("_creators", "_elements", "_encodings", "_items", "_repeated", "depth", "form", "index", "parent", "source")

    def __init__(self, source: Source, form: Form, parent: Level | None = None, index: dict[int, Entry] | None = None):
        self.source = source
        self.form = form
        self.parent = parent
        self.depth: int = parent.depth + 1 if parent else 0
        if self.depth > DEEPEST:
            raise Hold(f"The data set's sequences are nested more than {DEEPEST} deep.")
        self.index = walk(source, form) if index is None else index
        self._elements: dict[int, Element] = {}
        self._items: dict[int, list[tuple[Item, Level]]] = {}
        self._encodings: Encodings | bool | None = False
        self._repeated: list[tuple[int, int, int]] | None = None
        self._creators: dict[tuple[int, str], list[int]] | None = None

    @property
    def encodings(self) -> Encodings | None:
        """The character set in force here: its own (0008,0005), else that of the data set around it."""
        if isinstance(self._encodings, bool):
            entry = self.index.get(CHARACTER_SET)
            if entry is not None:
                names = decode(self.source.read(entry[2], entry[3]), "CS", DEFAULT, self.form.order)
                self._encodings = encodings(tuple(str(n) for n in names))
            else:
                self._encodings = self.parent.encodings if self.parent else DEFAULT
        return self._encodings

    def raw(self, tag: int) -> bytes:
        """The value's bytes. The tag must be there."""
        entry = self.index[tag]
        return self.source.read(entry[2], entry[3])

    def vr(self, tag: int) -> str:
        """The VR to read the element with: as written, or as the dictionaries say when the bytes do not."""
        written, _, _, stop, end = self.index[tag]
        if written not in ("", "UN"):
            return written
        if tag & 0x10000:
            low = tag & 0xFFFF
            if 0x10 <= low <= 0xFF:
                return "LO"
            creator = self.creator_of(tag)
            vr = private_vr(tag >> 16, creator, low & 0xFF) if creator else ""
        else:
            vr = implicit_vr(tag)
        if " or " in vr:
            return self._choice(vr)
        if (stop != end and vr not in BINARY - {"UN"}) or (vr in ("", "UN") and self._looks_like_items(tag)):
            return "SQ"
        return vr or "UN"

    def _looks_like_items(self, tag: int) -> bool:
        """Whether bytes of unknown VR are a sequence: items from the first to the last byte, each a data set."""
        if tag in self._items:
            return True
        _, _, value, stop, _ = self.index[tag]
        if stop - value < 8 or self.source.read(value, value + 4) not in (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00"):
            return False
        try:
            self._items[tag] = self._read_items(tag)
        except Hold:
            return False
        return True

    def _choice(self, vr: str) -> str:
        """PS3.5 A.1: pixel-related values follow Pixel Representation; what may be words is read as words."""
        if "SS" not in vr:
            return "OW"
        level: Level | None = self
        while level is not None:
            if PIXEL_REPRESENTATION in level.index:
                break
            level = level.parent
        signed = level is not None and level.values(PIXEL_REPRESENTATION)[:1] == (1,)
        return "OW" if "OW" in vr else "SS" if signed else "US"

    def values(self, tag: int, *, strict: bool = False) -> tuple[Value, ...]:
        """The values as `Element` has them. Raises ValueError (UnicodeError too) when `strict` and they are broken."""
        vr = self.vr(tag)
        if vr in BINARY or vr == "SQ":
            return ()
        if self.index[tag][3] - self.index[tag][2] > LONGEST_VALUE:
            if strict:
                raise ValueError(f"it is longer than {LONGEST_VALUE >> 20} MB")
            return ()
        order = "<" if self.index[tag][0] == "UN" else self.form.order
        return decode(self.raw(tag), vr, self.encodings, order, strict=strict)

    def element(self, tag: int) -> Element:
        """An element of the index, decoded at the first need."""
        found = self._elements.get(tag)
        if found is None:
            found = self._elements[tag] = Element(tag, self.vr(tag), self.values(tag))
        return found

    def items(self, tag: int) -> list[Level]:
        """The items of a sequence, [] when the element is none. Raises Hold when they are broken."""
        return [level for _, level in self.item_entries(tag)]

    def item_entries(self, tag: int) -> list[tuple[Item, Level]]:
        """The items with their places in the value's bytes."""
        found = self._items.get(tag)
        if found is None:
            found = self._items[tag] = self._read_items(tag) if self.vr(tag) == "SQ" else []
        return found

    def _read_items(self, tag: int) -> list[tuple[Item, Level]]:
        data = self.raw(tag)
        form = IMPLICIT if self.index[tag][0] == "UN" else self.form
        out = []
        for item in items(data, form):
            content = data[item.start : item.stop]
            out.append((item, Level(Source((content,)), sniff(content, form), self)))
        return out

    def creator_of(self, tag: int) -> str:
        """The private creator of an element's block, "" when it has none (PS3.5 7.8.1)."""
        block = (tag & 0xFFFF0000) | ((tag >> 8) & 0xFF)
        for (_, creator), blocks in self.creators.items():
            if block in blocks:
                return creator
        return ""

    @property
    def creators(self) -> dict[tuple[int, str], list[int]]:
        """The private blocks reserved here: (group, creator) -> tags of the creator elements."""
        if self._creators is None:
            found: dict[tuple[int, str], list[int]] = {}
            for tag in sorted(tag for tag in self.index if tag & 0x10000 and 0x10 <= tag & 0xFFFF <= 0xFF):
                values = self.values(tag)
                if values:
                    found.setdefault((tag >> 16, str(values[0])), []).append(tag)
            self._creators = found
        return self._creators

    def resolve(self, step: Step) -> int | None:
        """The tag that a step means here, None when it is not there."""
        if step.tag is not None:
            return step.tag if step.tag in self.index else None
        for block in self.creators.get((step.group, step.creator), ()):
            tag = (block & 0xFFFF0000) | ((block & 0xFF) << 8) | step.element
            if tag in self.index:
                return tag
        return None

    def find(self, steps: tuple[Step, ...]) -> list[tuple[Level, int]]:
        """Where the elements stand that the steps lead to: the data set that holds each, and its tag there."""
        first, rest = steps[0], steps[1:]
        tag = self.resolve(first)
        if tag is None:
            return []
        if not rest:
            if first.index is not None and first.index >= len(self.items(tag)):
                return []
            return [(self, tag)]
        inside = self.items(tag)
        if first.index is not None:
            inside = inside[first.index : first.index + 1]
        return [found for level in inside for found in level.find(rest)]

    def place_of(self, tag: int) -> int:
        """Where a new element belongs: before the first one with a greater tag, else behind the last one."""
        if self.in_order:
            for other, entry in self.index.items():
                if other > tag:
                    return entry[1]
            return next((entry[4] for entry in reversed(self.index.values())), 0)
        after = [entry[1] for other, entry in self.index.items() if other > tag]
        return min(after) if after else max((entry[4] for entry in self.index.values()), default=0)

    @property
    def in_order(self) -> bool:
        """Whether the index has the elements as the bytes have them: no tag comes twice."""
        return self.source.elements == len(self.index)

    def bulk_start(self) -> int:
        """Where the pixel data begins, or an earlier element that was stepped over unread."""
        start = self.source.stepped_over
        for tag, entry in reversed(self.index.items()):
            if tag < 0x7FE00000:
                break
            if tag >> 16 == 0x7FE0:
                start = entry[1]
        return min(start, self.source.stepped_over)

    def repeated(self) -> list[tuple[int, int, int]]:
        """The elements whose tag comes again later, against PS3.5 7.1, as (tag, start, end)."""
        if self._repeated is None:
            self._repeated, at = [], 0
            spans = [] if self.in_order else sorted((entry[1], entry[4]) for entry in self.index.values())
            for start, end in spans:
                if start > at:
                    every = _Every()
                    walk(Source(tuple(self.source.cut(at, start))), self.form, every)
                    self._repeated += [(tag, at + entry[1], at + entry[4]) for tag, entry in every.met]
                at = end
        return self._repeated


class _Every(dict[int, Entry]):
    """An index that remembers each element that it was given, those too whose tag came again."""

    def __init__(self) -> None:
        super().__init__()
        self.met: list[tuple[int, Entry]] = []

    def __setitem__(self, tag: int, entry: Entry) -> None:
        self.met.append((tag, entry))
        super().__setitem__(tag, entry)
