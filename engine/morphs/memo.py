"""Remembers what morphs made of an instance: those of a series share nearly all that is changed, so most is changed already.

A morph says which tags it reads and writes. When those of another instance have the same bytes, the new elements are the same,
Original Attributes too but for their time, and are only spliced in. What depends on anything else is done anew each time: a morph
that looks at everything (`deidentify`), a change that turned the data set to another character set, an instance that is held.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final, NamedTuple

from engine.crosswalk.lookup import Lookups
from engine.dicom.header import Header
from engine.dicom.level import CHARACTER_SET, PIXEL_REPRESENTATION, Level
from engine.dicom.patch import IN_META, with_pieces
from engine.dicom.paths import Step
from engine.dicom.splice import spliced
from engine.model import Change
from engine.morphs.apply import Changed, Event, change, finish, worked
from engine.morphs.base import AnyMorph
from engine.morphs.original_attributes import ISSUER_OF_PATIENT_ID, ORIGINAL_ATTRIBUTES, PATIENT_ID, time_text
from engine.morphs.work import Work

__all__ = ["ChangeMemo"]

LONGEST: Final = 1 << 14
"""Bytes of elements that a key holds; an instance with more is changed anew."""
MOST: Final = 16 << 20
"""Bytes that are remembered. When there are more all are forgotten: series end, and their keys do not come again."""
EACH: Final = 2000
"""Bytes that each one takes, beside the elements."""


class _Known(NamedTuple):
    """What came of it once: the new elements by ascending tag, and what is told of them."""

    news: dict[int, bytes]
    in_meta: tuple[tuple[int, str], ...]
    changes: tuple[Change, ...]
    warnings: tuple[str, ...]
    time: int
    """Where the time of the event stands in the new Original Attributes Sequence; -1 when it does not."""


class _Reads:
    """What a chain of morphs depends on."""

    def __init__(self, steps: Sequence[Step]) -> None:
        """`steps`: the first of each path."""
        tags = {s.tag for s in steps if s.tag is not None}
        if PATIENT_ID in tags:
            tags.add(ISSUER_OF_PATIENT_ID)  # recorded together
        self.tags = sorted({*tags, CHARACTER_SET, PIXEL_REPRESENTATION, ORIGINAL_ATTRIBUTES})
        self.private: dict[int, set[int]] = {}
        """Private groups, with the low bytes of the elements that count: which block they are in depends on the others."""
        for step in steps:
            if step.tag is None:
                self.private.setdefault(step.group, set()).add(step.element)
            elif step.tag & 0x10000:
                self.private.setdefault(step.tag >> 16, set()).add(step.tag & 0xFF)

    def key(self, level: Level) -> tuple[Hashable, int] | None:
        """The bytes that the change depends on, and how many; None for too many. Raises Hold when they cannot be read."""
        index, read = level.index, level.source.read
        parts: list[Hashable] = [level.form]
        size = 0
        for tag in self.tags:
            entry = index.get(tag)
            if entry is None:
                parts.append(None)
                continue
            _, start, _, _, end = entry
            size += end - start
            if size > LONGEST:
                return None
            parts.append(read(start, end))
        if self.private:
            for tag, (_, start, _, _, end) in index.items():
                low = self.private.get(tag >> 16)
                if low is None:
                    continue
                parts.append(tag)
                if tag & 0xFF in low or tag & 0xFFFF <= 0xFF:
                    size += end - start
                    if size > LONGEST:
                        return None
                    parts.append(read(start, end))
        return tuple(parts), size

    def covers(self, tag: int) -> bool:
        return tag in self.tags or tag >> 16 in self.private


class ChangeMemo:
    """The changes made so far. `change` gives what `engine.morphs.apply.change` gives. May be used by several threads."""

    def __init__(self, lookups: Lookups | None = None) -> None:
        """`lookups`: what the crosswalk maps know, the same as long as this memory lasts."""
        self._lookups = lookups
        self._reads: dict[int, tuple[Sequence[AnyMorph], _Reads | None]] = {}
        self._known: dict[tuple[Hashable, ...], _Known] = {}
        self._bytes = 0

    def change(self, header: Header, morphs: Sequence[AnyMorph], event: Event) -> Changed:
        """Apply the morphs, or what they are known to make of such a header. Raises Hold as `apply.change` does."""
        reads = self._reads_of(morphs)
        found = None if reads is None else reads.key(header.root)
        if reads is None or found is None:
            return change(header, morphs, event, self._lookups)
        of, size = found
        key = (id(morphs), event.original_attributes, event.system, event.source, event.reason, of)
        known = self._known.get(key)
        if known is not None:
            return _again(header, known, event)
        work = worked(header, morphs, self._lookups)
        changed = finish(work, morphs, event)
        if all(reads.covers(tag) for tag in work.root.own) and not work.root.changed_tag(CHARACTER_SET):
            known = _known(work, changed, event)
            if known is not None:
                self._keep(key, known, size)
        return changed

    def _keep(self, key: tuple[Hashable, ...], known: _Known, size: int) -> None:
        self._bytes += size + sum(map(len, known.news.values())) + EACH
        if self._bytes > MOST:
            self._known.clear()
            self._bytes = 0
        self._known[key] = known

    def _reads_of(self, morphs: Sequence[AnyMorph]) -> _Reads | None:
        found = self._reads.get(id(morphs))
        if found is None:
            # kept with the morphs themselves, so that no others can get the same id
            found = self._reads[id(morphs)] = morphs, _reads(morphs, self._lookups)
        return found[1]


def _reads(morphs: Sequence[AnyMorph], lookups: Lookups | None) -> _Reads | None:
    steps: list[Step] = []
    for morph in morphs:
        paths = None if morph.hides else morph.looks_at(lookups)
        if paths is None or any(path.is_file_meta for path in paths):
            return None
        steps += [path.steps[0] for path in paths]
    return _Reads(steps)


def _known(work: Work, changed: Changed, event: Event) -> _Known | None:
    """What there is to remember; None where the time of the event could be confused with that of an earlier one."""
    root, level = work.root, work.header.root
    news = root.news()
    in_meta = tuple(
        (there, str(values[0]) if (values := root.values(tag)) else "")
        for tag, there in IN_META.items() if root.changed_tag(tag)
    )  # fmt: skip
    time = time_text(event.at).encode("ascii")
    if ORIGINAL_ATTRIBUTES in level.index and time in level.raw(ORIGINAL_ATTRIBUTES):
        return None
    return _Known(news, in_meta, changed.changes, changed.warnings, news.get(ORIGINAL_ATTRIBUTES, b"").rfind(time))


def _again(header: Header, known: _Known, event: Event) -> Changed:
    if not known.changes:
        return Changed(header, (), known.warnings)
    meta, news = header.meta, known.news
    for tag, uid in known.in_meta:
        meta = meta.with_uid(tag, uid)
    if known.time >= 0:
        time, record = time_text(event.at).encode("ascii"), news[ORIGINAL_ATTRIBUTES]
        news = {**news, ORIGINAL_ATTRIBUTES: record[: known.time] + time + record[known.time + len(time) :]}
    made = with_pieces(header, meta, spliced(header.root, news))
    return Changed(made, known.changes, known.warnings)
