"""A data set being changed: what was read, and on top of it what is new. Everything untouched keeps its bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from engine.dicom.charset import DEFAULT, Encodings, encodings
from engine.dicom.content import Slice
from engine.dicom.decode import Value, decode
from engine.dicom.encode import encode_values, pad
from engine.dicom.level import CHARACTER_SET, Level
from engine.dicom.paths import Step
from engine.dicom.splice import spliced
from engine.dicom.vr import LONG
from engine.dicom.walk import IMPLICIT, Form
from engine.errors import Hold

__all__ = ["ItemNode", "Node", "Sequence", "Verbatim", "Written", "encode_element"]

UNDEFINED = 0xFFFFFFFF


@dataclass(slots=True)
class Written:
    """A new value of an element, as bytes in the form of its data set."""

    vr: str
    data: bytes


@dataclass(slots=True)
class Verbatim(Written):
    """An element taken over whole: its bytes as they were, header and delimiters included."""

    element: bytes


@dataclass(slots=True)
class ItemNode:
    """An item: its data set, and whether its length is written as undefined."""

    node: Node
    undefined: bool = False


@dataclass(slots=True)
class Sequence:
    """A sequence being changed. `vr` is as written: SQ, or UN for one that came through a node that did not know it."""

    items: list[ItemNode]
    vr: str = "SQ"
    undefined: bool = False
    changed: bool = False


@dataclass(slots=True)
class Node:
    """One data set of the tree. `level` is what was read (None: all of it is new), `own` what was changed by tag
    (None: removed)."""

    form: Form
    level: Level | None = None
    parent: Node | None = None
    own: dict[int, Written | Sequence | None] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        return any(self.changed_tag(tag) for tag in self.own)

    def changed_tag(self, tag: int) -> bool:
        """Whether something was written over an element (maybe with the same bytes again)."""
        if tag not in self.own:
            return False
        new = self.own[tag]
        return not isinstance(new, Sequence) or new.changed or any(item.node.changed for item in new.items)

    def __contains__(self, tag: int) -> bool:
        return self.own[tag] is not None if tag in self.own else self.level is not None and tag in self.level.index

    def tags(self) -> list[int]:
        """The tags that stand here now, ascending."""
        read = set(self.level.index) if self.level else set()
        return sorted(read - self.own.keys() | {tag for tag, new in self.own.items() if new is not None})

    @property
    def encodings(self) -> Encodings | None:
        """The character set in force here now."""
        if CHARACTER_SET in self.own:
            new = self.own[CHARACTER_SET]
            if isinstance(new, Written):
                return encodings(tuple(str(v) for v in decode(new.data, "CS", DEFAULT, self.form.order)))
        elif self.level and CHARACTER_SET in self.level.index:
            return self.level.encodings
        return self.parent.encodings if self.parent else DEFAULT

    def vr(self, tag: int) -> str:
        new = self.own.get(tag)
        if isinstance(new, Written):
            return new.vr
        if isinstance(new, Sequence):
            return "SQ"
        assert self.level is not None
        return self.level.vr(tag)

    def raw(self, tag: int) -> bytes:
        """The value's bytes; of a changed sequence those it will be written with."""
        new = self.own.get(tag)
        if isinstance(new, Written):
            return new.data
        if isinstance(new, Sequence):
            return self._sequence_bytes(new)
        assert self.level is not None
        return self.level.raw(tag)

    def length(self, tag: int) -> int:
        """How many bytes `raw` would give, without reading what was not changed."""
        if tag in self.own or self.level is None:
            return len(self.raw(tag))
        _, _, value, stop, _ = self.level.index[tag]
        return stop - value

    def values(self, tag: int, *, strict: bool = False) -> tuple[Value, ...]:
        """The values as `Element` has them. Raises ValueError (UnicodeError too) when `strict` and they are broken."""
        if tag in self.own:
            new = self.own[tag]
            if not isinstance(new, Written):
                return ()
            return decode(new.data, new.vr, self.encodings, self.form.order, strict=strict)
        if self.level is None or tag not in self.level.index:
            return ()
        # as it was read: turning to another character set rewrites every text that it concerns
        return self.level.values(tag, strict=True) if strict else self.level.element(tag).values

    def sequence(self, tag: int) -> Sequence:
        """The sequence to change; made empty where there is none."""
        new = self.own.get(tag)
        if isinstance(new, Sequence):
            return new
        if tag in self and self.level is not None and tag not in self.own:
            _, _, _, stop, end = self.level.index[tag]
            inside = [
                ItemNode(Node(level.form, level, self), item.undefined) for item, level in self.level.item_entries(tag)
            ]
            written = "UN" if self.level.index[tag][0] == "UN" else "SQ"
            made = Sequence(inside, written, stop != end)
        else:
            made = Sequence([])
        self.own[tag] = made
        return made

    def items(self, tag: int) -> list[Node]:
        """The items of a sequence; [] when the element is none or is not there."""
        if tag not in self or self.vr(tag) != "SQ":
            return []
        return [item.node for item in self.sequence(tag).items]

    def put(self, tag: int, vr: str, data: bytes) -> None:
        self.own[tag] = Written(vr, data)

    def remove(self, tag: int) -> None:
        if self.level and tag in self.level.index:
            self.own[tag] = None
        else:
            self.own.pop(tag, None)

    def add_item(self, tag: int) -> Node:
        """A new, empty item at the end of a sequence, which is made where it is missing."""
        sequence = self.sequence(tag)
        sequence.changed = True
        node = Node(IMPLICIT if sequence.vr == "UN" else self.form, None, self)
        sequence.items.append(ItemNode(node))
        return node

    def creators(self, group: int) -> dict[int, str]:
        """The private blocks reserved in a group: block number (10 to FF hex) -> creator."""
        found = {}
        for tag in self.tags():
            if tag >> 16 == group and 0x10 <= tag & 0xFFFF <= 0xFF:
                values = self.values(tag)
                found[tag & 0xFF] = str(values[0]) if values else ""
        return found

    def resolve(self, step: Step) -> int | None:
        """The tag that a step means here, None when it is not there."""
        if step.tag is not None:
            return step.tag if step.tag in self else None
        for block, creator in self.creators(step.group).items():
            tag = step.group << 16 | block << 8 | step.element
            if creator == step.creator and tag in self:
                return tag
        return None

    def reserve(self, step: Step) -> int:
        """The tag to write a private element to: its creator's block is made where it is missing (PS3.5 7.8.1)."""
        if step.tag is not None:
            return step.tag
        known = self.creators(step.group)
        for block, creator in known.items():
            if creator == step.creator:
                return step.group << 16 | block << 8 | step.element
        taken = {(tag >> 8) & 0xFF for tag in self.tags() if tag >> 16 == step.group}
        for block in range(0x10, 0x100):
            if block not in known and block not in taken:
                data = encode_values((step.creator,), "LO", self.encodings, self.form.order)
                self.put(step.group << 16 | block, "LO", data)
                return step.group << 16 | block << 8 | step.element
        raise Hold(f"Group {step.group:04X} has no free block for the private creator {step.creator}.")

    def element_bytes(self, tag: int) -> bytes:
        """The whole element as it will be written; b"" when there is none."""
        new = self.own.get(tag)
        if isinstance(new, Verbatim):
            return new.element
        if isinstance(new, Written):
            return encode_element(tag, new.vr, new.data, self.form)
        if isinstance(new, Sequence):
            return encode_element(tag, new.vr, self._sequence_bytes(new), self.form, undefined=new.undefined)
        entry = None if tag in self.own or self.level is None else self.level.index.get(tag)
        return self.level.source.read(entry[1], entry[4]) if entry and self.level else b""

    def _sequence_bytes(self, sequence: Sequence) -> bytes:
        pack = (IMPLICIT if sequence.vr == "UN" else self.form).tag_length.pack
        parts: list[bytes] = []
        for item in sequence.items:
            content = item.node.content()
            parts.append(pack(0xFFFE, 0xE000, UNDEFINED if item.undefined else len(content)) + content)
            if item.undefined:
                parts.append(pack(0xFFFE, 0xE00D, 0))
        return b"".join(parts)

    def content(self) -> bytes:
        """An item's bytes as they will be written."""
        if self.level is None:
            return b"".join([self.element_bytes(tag) for tag in sorted(self.own)])
        return b"".join(piece for piece in self.pieces() if isinstance(piece, bytes))  # items stand in memory

    def pieces(self) -> tuple[bytes | Slice, ...]:
        """The data set as pieces: new bytes, and what is long and untouched as ranges of the received file."""
        if self.level is None:
            return (self.content(),)
        return spliced(self.level, self.news())

    def news(self) -> dict[int, bytes]:
        """The elements that changed, whole, as they will be written; b"" for those that are gone."""
        return {tag: self.element_bytes(tag) for tag in sorted(self.own) if self.changed_tag(tag)}


def encode_element(tag: int, vr: str, data: bytes, form: Form, *, undefined: bool = False) -> bytes:
    """An element's bytes (PS3.5 7.1). Raises Hold when the value is longer than its VR's length field can say."""
    data = pad(data, vr) if len(data) % 2 and vr != "SQ" else data
    length = UNDEFINED if undefined else len(data)
    tail = form.tag_length.pack(0xFFFE, 0xE0DD, 0) if undefined else b""
    if not form.explicit or not vr:
        return form.tag_length.pack(tag >> 16, tag & 0xFFFF, length) + data + tail
    code = vr.encode()
    if code in LONG:
        head = struct.pack(form.order + "HH2sHL", tag >> 16, tag & 0xFFFF, code, 0, length)
        return head + data + tail
    if length > 0xFFFF:
        place = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
        raise Hold(f"The new value of {place} is {length} bytes long: too long for VR {vr}.")
    return form.tag_vr.pack(tag >> 16, tag & 0xFFFF, code, length) + data + tail
