"""One modification of one instance in the making: where paths lead, what is written, and the list of what changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.crosswalk.lookup import Lookups
from engine.dicom.decode import as_text
from engine.dicom.dictionary import private_vr, public
from engine.dicom.edit import Node
from engine.dicom.encode import check_multiplicity, check_value, encode_values
from engine.dicom.header import Header
from engine.dicom.paths import Step, TagPath
from engine.dicom.transcode import copy_element, turn_to
from engine.dicom.vr import BINARY, SINGLE
from engine.errors import Hold
from engine.model import Change
from engine.morphs.template import fill

__all__ = ["Place", "Work"]

CHARACTER_SET = 0x00080005
PIXEL_REPRESENTATION = 0x00280103
UTF8 = ("ISO_IR 192",)


class Place(NamedTuple):
    """An element's place: the data set that holds (or will hold) it, its tag there, and the way to it."""

    node: Node
    tag: int
    trail: str
    """The path with each `[*]` as the item's number."""
    top: int
    """The tag of the top-level element that it is or is inside of."""
    item: int | None = None
    """Only this item of it, where the path ends in one."""


class Work:
    """The data set being changed by one event: the morphs of one rule."""

    def __init__(self, header: Header, lookups: Lookups | None = None) -> None:
        self.header = header
        self.lookups = lookups
        """What the crosswalk maps know; None where none are at hand."""
        self.root = Node(header.root.form, header.root)
        self.changes: list[Change] = []
        self.touched: set[int] = set()
        """Top-level tags with a changed value."""
        self.warnings: list[str] = []
        self.kind = ""
        self.carries = False
        """Whether the morph at work writes what may tell who the patient is."""
        self.carried: set[int] = set()
        """The top-level tags where such a morph has written."""
        self.lenient = False

    def places(self, path: TagPath) -> list[Place]:
        """Where the path leads to now: existing elements only."""
        return self._find(self.root, path.steps, "", None)

    def _find(self, node: Node, steps: tuple[Step, ...], before: str, top: int | None) -> list[Place]:
        step, rest = steps[0], steps[1:]
        tag = node.resolve(step)
        if tag is None:
            return []
        top = tag if top is None else top
        name = before + step.name
        items = node.items(tag) if rest or step.all or step.index is not None else []
        if not rest:
            if step.all:
                return [Place(node, tag, f"{name}[{i}]", top, i) for i in range(len(items))]
            if step.index is not None:
                return [Place(node, tag, f"{name}[{step.index}]", top, step.index)] if step.index < len(items) else []
            return [Place(node, tag, name, top)]
        found = []
        for i in range(len(items)) if step.all else range(step.index or 0, min((step.index or 0) + 1, len(items))):
            found += self._find(items[i], rest, f"{name}[{i}].", top)
        return found

    def make(self, path: TagPath) -> list[Place]:
        """Where the path leads to, with what is missing on the way made: private blocks, a sequence's next item."""
        return self._make(self.root, path.steps, "", None)

    def _make(self, node: Node, steps: tuple[Step, ...], before: str, top: int | None) -> list[Place]:
        step, rest = steps[0], steps[1:]
        if step.all and node.resolve(step) is None:
            return []
        tag = node.reserve(step)
        top = tag if top is None else top
        name = before + step.name
        if not rest:
            return [Place(node, tag, name, top)]
        if tag in node and node.vr(tag) != "SQ":
            raise Hold(f"{name} is no sequence here: its VR is {node.vr(tag)}.")
        items = node.items(tag)
        if step.all:
            return [p for i, item in enumerate(items) for p in self._make(item, rest, f"{name}[{i}].", top)]
        index = step.index or 0
        if index > len(items):
            raise Hold(f"{name}[{index}] cannot be made: the sequence has {len(items)} items.")
        item = items[index] if index < len(items) else node.add_item(tag)
        return self._make(item, rest, f"{name}[{index}].", top)

    def values(self, place: Place) -> tuple[str, ...]:
        """The values at a place as text. Raises Hold when they cannot be read."""
        try:
            return tuple(str(v) for v in place.node.values(place.tag, strict=True))
        except ValueError as e:
            raise Hold(f"The value of {place.trail} cannot be read: {e}.") from e

    def is_sequence(self, place: Place) -> bool:
        return place.tag in place.node and place.node.vr(place.tag) == "SQ"

    def text(self, path: TagPath) -> str:
        """The first value that a path leads to now, "" when there is none: file meta, or the data set as changed so far."""
        if path.is_file_meta:
            return self.header.text(path)
        for place in self.places(path):
            values = self.values(place)
            if values:
                return values[0]
        return ""

    def fill(self, template: str) -> str:
        return fill(template, self.text)

    def write(self, place: Place, values: Sequence[str], vr: str = "") -> None:
        """Write values, checked against VR and VM. `vr` is for private elements that nobody knows.

        Raises Hold when a value is not allowed (unless lenient, which warns) or cannot be written at all.
        """
        node, tag = place.node, place.tag
        now = node.vr(tag) if tag in node else None
        vr = self._vr_for(place, vr, now or "")
        if vr in BINARY or vr == "SQ":
            raise Hold(f"{place.trail} holds {'items' if vr == 'SQ' else 'bytes'} (VR {vr}): it takes no text.")
        if vr in SINGLE and len(values) > 1:
            values = ("\\".join(values),)
        self._check(place, values, vr)
        before = self.shown(place)
        if vr == now and [*values] == [str(v) for v in node.values(tag)]:
            return
        if tag == CHARACTER_SET and node is self.root:
            self._turn(tuple(values) or ("ISO_IR 6",))
            return
        data = self._encode(place, values, vr)
        if tag in node and vr == node.vr(tag) and node.raw(tag) == data:
            return  # looked up anew: turning to another character set may have written it
        node.put(tag, vr, data)
        self.note(place, before, vr)

    def put(self, place: Place, vr: str, data: bytes) -> None:
        """Write a value's bytes, which the morph knows to be right for the VR."""
        before, node, tag = self.shown(place), place.node, place.tag
        if tag in node and node.vr(tag) == vr and node.length(tag) == len(data) and node.raw(tag) == data:
            return
        node.put(tag, vr, data)
        self.note(place, before, vr)

    def copy(self, source: Place, target: Place) -> None:
        """Write a whole element, bytes or items and all, to another place."""
        before = self.shown(target)
        if source.node is target.node and source.tag == target.tag:
            return
        try:
            copy_element(source.node, source.tag, target.node, target.tag)
        except UnicodeError:
            self._turn(UTF8)
            copy_element(source.node, source.tag, target.node, target.tag)
        if self.shown(target) != before or self.is_sequence(target):
            self.note(target, before, target.node.vr(target.tag))

    def remove(self, place: Place) -> None:
        """Take an element, or one item of it, out of its data set."""
        before, vr = self.shown(place), place.node.vr(place.tag)
        if place.item is None:
            place.node.remove(place.tag)
        else:
            sequence = place.node.sequence(place.tag)
            del sequence.items[place.item]
            sequence.changed = True
        self.note(place, before, vr, gone=True)

    def shown(self, place: Place) -> str | None:
        """The value as a person reads it; None when the element is not there."""
        node, tag = place.node, place.tag
        if tag not in node:
            return None
        vr = node.vr(tag)
        if vr == "SQ":
            count = len(node.items(tag))
            return "1 item" if count == 1 or place.item is not None else f"{count} items"
        if vr in BINARY:
            return f"{node.length(tag)} bytes"
        return as_text(node.values(tag))

    def note(self, place: Place, before: str | None, vr: str, *, gone: bool = False) -> None:
        """Say that a place has changed from what `shown` said of it before."""
        self.touched.add(place.top)
        after = None if gone else self.shown(place)
        carries = self.carries or place.top in self.carried
        if carries:
            self.carried.add(place.top)
        self.changes.append(Change(place.trail, f"{place.tag:08X}", vr, before, after, self.kind, carries))

    def _check(self, place: Place, values: Sequence[str], vr: str) -> None:
        problems = [f"{value!r}: {words}" for value in values if (words := check_value(value, vr))]
        known = public(place.tag) if not place.tag & 0x10000 else None
        words = check_multiplicity(len(values), known.vm) if known and vr not in SINGLE else ""
        if words:
            problems.append(words)
        if not problems:
            return
        sentence = f"The new value of {place.trail} is not valid: {'; '.join(problems)}."
        if not self.lenient:
            raise Hold(sentence)
        self.warnings.append(sentence)

    def _encode(self, place: Place, values: Sequence[str], vr: str) -> bytes:
        node = place.node
        try:
            return encode_values(values, vr, node.encodings, node.form.order)
        except UnicodeError as e:
            try:
                self._turn(UTF8)
                return encode_values(values, vr, node.encodings, node.form.order)
            except UnicodeError:
                raise Hold(f"The new value of {place.trail} cannot be written: {e}.") from e
        except ValueError as e:
            raise Hold(f"The new value of {place.trail} cannot be written: {e}.") from e

    def _turn(self, names: tuple[str, ...]) -> None:
        """Turn the whole data set to another character set (PS3.3 C.12.1.1.2)."""
        place = Place(self.root, CHARACTER_SET, "SpecificCharacterSet", CHARACTER_SET)
        before = self.shown(place)
        turn_to(self.root, names)
        if self.shown(place) != before:
            self.note(place, before, "CS")

    def _vr_for(self, place: Place, given: str, now: str) -> str:
        """The VR to write with: `given` by the morph, or that of the element `now`, as the dictionary allows."""
        node, tag = place.node, place.tag
        if tag & 0x10000:
            return given or (now if now not in ("", "UN") else _private_vr(node, tag))
        known = public(tag)
        if known and known.vr == now:
            return now
        choices = known.vr.split(" or ") if known else []
        if now in choices:
            return now
        if len(choices) <= 1:
            return choices[0] if choices else now or "UN"
        if "SS" not in choices:
            return choices[-1]
        return "SS" if _signed(node) else "US"


def _private_vr(node: Node, tag: int) -> str:
    creator = node.creators(tag >> 16).get((tag >> 8) & 0xFF, "")
    return private_vr(tag >> 16, creator, tag & 0xFF) or "LO"


def _signed(node: Node | None) -> bool:
    """PS3.5 A.1: Pixel Representation of the nearest data set that says it."""
    while node is not None:
        if PIXEL_REPRESENTATION in node:
            return node.values(PIXEL_REPRESENTATION)[:1] == (1,)
        node = node.parent
    return False
