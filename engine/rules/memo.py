"""Remembers what a ruleset said: the instances of a series share nearly all that rules ask, so most are asked already.

The key is everything that the verdicts are made of: the bytes of each element that a rule names with how they are to be
read, the association, and which schedules are on. Equal keys have equal verdicts and reasons; what varies from image to
image (a rule on Instance Number) makes the keys differ, and then every instance is asked as without a memory.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Final, Generic, TypeVar

from engine.dicom.level import CHARACTER_SET, PIXEL_REPRESENTATION, Level
from engine.dicom.paths import TagPath
from engine.dicom.vr import BINARY
from engine.rules.compiled import Seen
from engine.rules.schedule import Schedule

__all__ = ["Memo"]

Answer = TypeVar("Answer")

LONGEST: Final = 1024
"""Bytes of a value that a key holds; an instance with a longer one is not remembered."""
_NO_VALUES: Final = frozenset((BINARY - {"UN"}) | {"SQ"})
"""VRs of which rules see only that the element is there. UN is not one: a dictionary may know better (`Level.vr`)."""


class Memo(Generic[Answer]):
    """A bounded memory of answers by what they were made of. May be used by several threads."""

    def __init__(self, paths: Iterable[TagPath], schedules: Iterable[Schedule], most: int) -> None:
        """`paths` and `schedules`: all that the rules look at; `most`: how many answers are kept."""
        paths = set(paths)
        # these two say how other values are read: the text of all, the numbers of some in implicit VR
        self._tags = sorted({p.flat for p in paths if p.flat is not None} | {CHARACTER_SET, PIXEL_REPRESENTATION})
        self._paths = sorted((p for p in paths if p.flat is None), key=str)
        self._schedules = tuple(schedules)
        self._most = most
        self._answers: dict[Hashable, Answer] = {}

    def key(self, seen: Seen) -> Hashable | None:
        """What the answer for an instance depends on; None when it is too long. Raises Hold on broken bytes."""
        level = seen.header.root
        read = level.source.read
        parts: list[Hashable] = [seen.association, level.form]
        for schedule in self._schedules:
            parts.append(schedule.off_at(seen.received_at))
        for tag in self._tags:
            entry = level.index.get(tag)
            if entry is None:
                parts.append(None)
                continue
            vr, _, value, stop, end = entry
            parts.append(vr)
            if vr in _NO_VALUES:
                continue
            if stop != end or stop - value > LONGEST:
                if not _is_empty(level, tag):
                    return None
                parts.append(level.vr(tag))
            else:
                parts.append(read(value, stop))
        for path in self._paths:
            # as text, because numbers may be equal and read differently: -0.0 and 0.0
            found = repr(seen.find(str(path), path))
            if len(found) > LONGEST:
                return None
            parts.append(found)
        return tuple(parts)

    def get(self, key: Hashable) -> Answer | None:
        return self._answers.get(key)

    def put(self, key: Hashable, answer: Answer) -> None:
        """Keep an answer. When there are too many all are forgotten: series end, and their keys do not come again."""
        if len(self._answers) >= self._most:
            self._answers.clear()
        self._answers[key] = answer


def _is_empty(level: Level, tag: int) -> bool:
    """Whether a long element has no values that a rule could see: bytes or a sequence in implicit VR."""
    return level.vr(tag) in BINARY or level.vr(tag) == "SQ"
