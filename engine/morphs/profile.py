"""Applies the Basic Application Level Confidentiality Profile (PS3.15 Annex E) to a header, at every depth of it.

What is not known is taken away: private elements that nobody named safe, elements that no dictionary has, names and dates
that the table does not speak of, second copies of an element, a value kept by an option that its VR does not allow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from engine.dicom.dictionary import public, tag_of
from engine.dicom.edit import Node, Verbatim
from engine.dicom.edit import Sequence as Items
from engine.dicom.encode import check_value, encode_values
from engine.dicom.vr import BINARY
from engine.errors import Hold
from engine.morphs.keyed import Keyed
from engine.morphs.profile_table import Action, Options, Rule, rule_for
from engine.morphs.profile_values import dummy_bytes, put_dummy_items
from engine.morphs.shift_dates import moved
from engine.morphs.work import Place, Work

__all__ = ["Profile"]

PATIENT_NAME, PATIENT_ID = 0x00100010, 0x00100020
PIXELS = 0x7FE0
FIRST_GROUP = 0x0008
"""Groups below are those of messages, file meta and directories: they are nothing in a data set."""
TIMES = ("DA", "DT", "TM")
LONGEST_TAIL = 1 << 20
NAMES_OF_CLASSES = (
    "SOPClass", "TransferSyntax", "CodingScheme", "ContextUID", "ContextGroup", "MappingResource", "CreatorVersion",
)
"""In the keywords of UIDs that name a kind of thing, not a thing."""

KEEP, REMOVE = (Rule(action, action) for action in (Action.KEEP, Action.REMOVE))


@dataclass(slots=True)
class Profile:
    """One instance's turn. `shift` moves dates, `safe` holds the private elements that stay: group, creator, low byte."""

    work: Work
    options: Options
    keyed: Keyed
    shift: timedelta
    safe: frozenset[tuple[int, str, int]]
    descriptors: frozenset[str]
    """Descriptions known to tell nothing of anybody, casefolded."""
    _steps: dict[Action, Callable[[Place, Rule], None]] = field(init=False)

    def __post_init__(self) -> None:
        self._steps = {
            Action.KEEP: self._keep, Action.REMOVE: self._remove, Action.EMPTY: self._empty, Action.DUMMY: self._dummy,
            Action.UID: self._uid, Action.DATE: self._date, Action.DESCRIPTOR: self._descriptor,
        }

    def apply(self) -> None:
        """Change the whole data set but for its own Patient ID and Patient's Name. Raises Hold for what cannot be judged."""
        self._level(self.work.root, "", None)

    def _level(self, node: Node, before: str, top: int | None) -> None:
        self._check_tail(node)
        creators: dict[int, dict[int, str]] = {}
        needed = set()
        for tag in node.tags():
            group, low = tag >> 16, tag & 0xFFFF
            if group % 2 and low > 0xFF:
                if group not in creators:
                    creators[group] = node.creators(group)
                creator = creators[group].get(low >> 8, "")
                place = Place(node, tag, f'{before}({group:04X},"{creator}",{low & 0xFF:02X})', top or tag)
                if (group, creator, low & 0xFF) in self.safe:
                    needed.add(group << 16 | low >> 8)
                    self._do(place, self._beyond_the_table(place))
                else:
                    self.work.remove(place)
                continue
            place = Place(node, tag, before + _name(tag), top or tag)
            if group % 2 == 0 and low:
                self._standard(place)
            elif low == 0 and (group % 2 or node.length(tag) != 4):
                self.work.remove(place)
        for tag in node.tags():
            if (tag >> 16) % 2 and tag & 0xFFFF <= 0xFF and tag not in needed:
                self.work.remove(Place(node, tag, before + _name(tag), top or tag))
        _write_once(node)

    def _standard(self, place: Place) -> None:
        node, tag = place.node, place.tag
        if node is self.work.root and tag in (PATIENT_ID, PATIENT_NAME):
            return
        if tag >> 16 == PIXELS:
            if public(tag) is None:
                self.work.remove(place)
            return
        if tag >> 16 < FIRST_GROUP or public(tag) is None:
            self.work.remove(place)
            return
        self._do(place, rule_for(tag, self.options) or self._beyond_the_table(place))

    def _beyond_the_table(self, place: Place) -> Rule:
        vr = place.node.vr(place.tag)
        if vr == "PN":
            return REMOVE
        if vr in TIMES:
            dates = {"full": Action.KEEP, "modified": Action.DATE}.get(self.options.dates, Action.REMOVE)
            return Rule(dates, Action.REMOVE)
        if vr == "UI" and not self.options.uids:
            known = public(place.tag)
            keyword = known.keyword if known else ""
            if not any(word in keyword for word in NAMES_OF_CLASSES):
                return Rule(Action.UID, Action.REMOVE)
        return KEEP

    def _do(self, place: Place, rule: Rule) -> None:
        self._steps[rule.action](place, rule)

    def _otherwise(self, place: Place, rule: Rule) -> None:
        self._do(place, Rule(rule.otherwise, rule.otherwise))

    def _keep(self, place: Place, rule: Rule) -> None:
        vr, known = place.node.vr(place.tag), public(place.tag)
        if vr == "SQ":
            self._descend(place)
        elif known and known.vr == "SQ":
            self.work.remove(place)  # bytes where items belong: nobody can clean them
        elif rule.otherwise is not Action.KEEP and not self._is_sound(place):
            self._otherwise(place, rule)

    def _is_sound(self, place: Place) -> bool:
        """Whether what an option keeps is what its VR says: a name in a time must not stay because times do."""
        node, tag = place.node, place.tag
        vr, known = node.vr(tag), public(tag)
        if vr in BINARY or (known and vr != known.vr):
            return known is not None and vr == known.vr
        try:
            values = node.values(tag, strict=True)
        except ValueError:
            return False
        return not any(check_value(str(value), vr) for value in values)

    def _remove(self, place: Place, rule: Rule) -> None:
        self.work.remove(place)

    def _empty(self, place: Place, rule: Rule) -> None:
        vr = _vr(place)
        if vr != "SQ":
            self.work.put(place, vr, b"")
        elif place.node.vr(place.tag) != "SQ" or place.node.items(place.tag):
            before = self.work.shown(place)
            place.node.own[place.tag] = Items([], changed=True)
            self.work.note(place, before, "SQ")

    def _dummy(self, place: Place, rule: Rule) -> None:
        node, tag = place.node, place.tag
        vr = _vr(place)
        if not node.length(tag):
            return  # it says nothing already
        if vr == "SQ":
            before = self.work.shown(place)
            put_dummy_items(node, tag)
            self.work.note(place, before, vr)
        elif vr == "UI":
            self._uid(place, rule)
        elif tag == PATIENT_ID:
            old = "\\".join(str(v) for v in node.values(tag))
            self.work.put(place, vr, encode_values((self.keyed.pseudonym(old),), vr, None, node.form.order))
        else:
            self.work.put(place, vr, dummy_bytes(vr, node.form.order))

    def _uid(self, place: Place, rule: Rule) -> None:
        from pydicom.uid import UID_dictionary

        node, tag = place.node, place.tag
        if node.vr(tag) == "SQ":
            self._descend(place)
            return
        if node.vr(tag) != "UI":
            self.work.remove(place)
            return
        old = [str(value) for value in node.values(tag)]
        new = [value if not value or value in UID_dictionary else self.keyed.uid(value) for value in old]
        self.work.put(place, "UI", encode_values(new, "UI", None, node.form.order))

    def _date(self, place: Place, rule: Rule) -> None:
        node, tag = place.node, place.tag
        vr = node.vr(tag)
        if not self._is_sound(place) or vr in BINARY:
            self._otherwise(place, rule)
        elif vr in ("DA", "DT"):
            try:
                values = [moved(str(v), self.shift) if v else "" for v in node.values(tag, strict=True)]
            except ValueError:  # only a year, say: it cannot be moved by days
                self._otherwise(place, rule)
            else:
                self.work.put(place, vr, encode_values(values, vr, None, node.form.order))

    def _descriptor(self, place: Place, rule: Rule) -> None:
        values = [str(value).strip().casefold() for value in place.node.values(place.tag)]
        if not values or not all(value in self.descriptors or not value for value in values):
            self._otherwise(place, rule)

    def _descend(self, place: Place) -> None:
        sequence = place.node.sequence(place.tag)
        sequence.changed = True  # written anew from its items, so that nothing stays that stands between them
        for i, item in enumerate(sequence.items):
            self._level(item.node, f"{place.trail}[{i}].", place.top)

    def _check_tail(self, node: Node) -> None:
        """Behind the last element there may be padding, nothing else."""
        level = node.level
        if level is None:
            return
        end = max((entry[4] for entry in level.index.values()), default=0)
        left = level.source.length - end
        if left and (left > LONGEST_TAIL or level.source.read(end, level.source.length).strip(b"\0")):
            raise Hold("Bytes that belong to no element stand at the end of a data set: nobody can say what they tell.")


def _write_once(node: Node) -> None:
    """Of an element that stands twice, against PS3.5 7.1, write only the one that counts."""
    for tag, _, _ in node.level.repeated() if node.level else ():
        if tag not in node or node.changed_tag(tag):
            continue
        if tag >> 16 == PIXELS:
            raise Hold("The pixel data stands twice in the data set: only one of them is looked at, both would be sent.")
        if node.vr(tag) == "SQ":
            node.sequence(tag).changed = True
        else:
            node.own[tag] = Verbatim(node.vr(tag), node.raw(tag), node.element_bytes(tag))


def _vr(place: Place) -> str:
    """The VR to write: the dictionary's, where it has one only."""
    known = public(place.tag)
    now = place.node.vr(place.tag)
    return known.vr if known and " or " not in known.vr else now


def _name(tag: int) -> str:
    known = public(tag) if not (tag >> 16) % 2 else None
    if known and known.keyword and tag_of(known.keyword) == tag:
        return known.keyword
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
