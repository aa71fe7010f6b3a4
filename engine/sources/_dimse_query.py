"""How a query is asked over C-FIND: level by level, each with the keys that belong there (PS3.4 C.4.1.2.1, C.6)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

from engine.dicom.network.models import LEVELS, UNIQUE_KEYS, Model
from engine.dicom.paths import TagPath
from engine.errors import Invalid, Problem
from engine.sources._query import Match, Query, patients_of

__all__ = ["QUERY_LEVEL", "Ask", "keys_of", "matches"]

Ask = Callable[[Mapping[int, str]], Iterator[dict[str, Any]]]
"""One C-FIND: keys to matches."""

QUERY_LEVEL = 0x00080052
_ANYTHING = ("", "*")

_STUDY = frozenset(
    {
        0x00080020, 0x00080030, 0x00080050, 0x00080061, 0x00080062, 0x00080090, 0x00081030, 0x00081032, 0x00081060,
        0x0020000D, 0x00200010, 0x00201206, 0x00201208, 0x00321060, 0x00321032,
    }
)  # fmt: skip
_SERIES = frozenset(
    {
        0x00080021, 0x00080031, 0x00080060, 0x00080080, 0x00081010, 0x0008103E, 0x00081050, 0x00080070, 0x00081090,
        0x00180015, 0x00181030, 0x0020000E, 0x00200011, 0x00201209, 0x00400244, 0x00400245, 0x00400254, 0x00400275,
    }
)  # fmt: skip


def level_of(tag: int) -> str:
    """The level that an attribute is matched at (PS3.4 C.6.1.1): the patient's group is the patient's."""
    if tag >> 16 == 0x0010 and tag not in (0x00101010, 0x00101020, 0x00101030):  # age, size, weight: of the study
        return "patient"
    if tag in _STUDY or tag >> 16 == 0x0010:
        return "study"
    return "series" if tag in _SERIES else "instance"


def matches(query: Query, model: Model, ask: Ask) -> Generator[Match]:
    """What a query finds. Where the unique key of a level above is not given, that level is asked first."""
    filters = {_tag(path, text): text.strip() for path, text in query.filters.items()}
    wanted = [_tag(path) for path in query.wanted]
    if query.level not in model.levels:
        yield from patients_of(query, lambda studies: matches(studies, model, ask))
        return
    for found in _descend(query.level, filters, wanted, model, ask):
        yield Match(query.level, found)


def _descend(
    level: str, filters: Mapping[int, str], wanted: list[int], model: Model, ask: Ask
) -> Iterator[dict[str, Any]]:
    above = model.levels[: model.levels.index(level)]
    missing = [one for one in above if not _single(filters.get(UNIQUE_KEYS[one], ""))]
    if not missing:
        for found in ask(_keys(level, filters, wanted, model)):
            for one in above:  # what the answer need not repeat
                found.setdefault(f"{UNIQUE_KEYS[one]:08X}", {"vr": "", "Value": [filters[UNIQUE_KEYS[one]]]})
            yield found
        return
    upper = missing[-1]
    for parent in list(_descend(upper, filters, wanted, model, ask)):
        known = {k: v for k, v in _uniques(parent, model).items() if v}
        if UNIQUE_KEYS[upper] in known:
            shown = {f"{tag:08X}" for tag in wanted if level_of(tag) != level} & parent.keys()
            for found in _descend(level, {**filters, **known}, wanted, model, ask):
                yield {key: parent[key] for key in shown} | found


def _keys(level: str, filters: Mapping[int, str], wanted: list[int], model: Model) -> dict[int, str]:
    """The identifier of one C-FIND: the level, unique keys of the levels above, and what is matched or wanted there."""
    above = model.levels[: model.levels.index(level)]
    mine = {level} | ({"patient"} if level == "study" and "patient" not in model.levels else set())
    keys = {QUERY_LEVEL: LEVELS[level]} | {UNIQUE_KEYS[one]: filters[UNIQUE_KEYS[one]] for one in above}
    keys |= {tag: "" for tag in wanted if level_of(tag) in mine and tag not in keys}
    keys |= {tag: text for tag, text in filters.items() if level_of(tag) in mine}
    keys.setdefault(UNIQUE_KEYS[level], "")
    return {tag: "" if text == "*" else text for tag, text in keys.items()}


def keys_of(match: Match, model: Model) -> dict[int, str]:
    """The identifier of a retrieval: the level and the unique keys down to it (PS3.4 C.4.2.2.1, C.4.3.2.1)."""
    keys = {QUERY_LEVEL: LEVELS[match.level]}
    known = _uniques(match.attributes, model)
    for level in model.levels[: model.levels.index(match.level) + 1]:
        text = known.get(UNIQUE_KEYS[level], "")
        if not text:
            words = f"The {level} has no unique key ({UNIQUE_KEYS[level]:08X}) in this match, so it cannot be retrieved."
            raise Invalid([Problem((), words)])
        keys[UNIQUE_KEYS[level]] = text
    return keys


def _uniques(found: Mapping[str, Any], model: Model) -> dict[int, str]:
    values = {UNIQUE_KEYS[one]: found.get(f"{UNIQUE_KEYS[one]:08X}", {}).get("Value", ()) for one in model.levels}
    return {tag: str(value[0]) if value else "" for tag, value in values.items()}


def _single(text: str) -> bool:
    return text not in _ANYTHING and not any(c in text for c in "*?\\")


def _tag(path: str, text: str = "") -> int:
    parsed = TagPath.parse(path)
    tag = parsed.flat if parsed.flat is not None else parsed.steps[0].tag
    if tag is None or (text.strip() and parsed.flat is None):
        words = "A C-FIND matches on elements of the standard that stand at the top of the data set: leave this one out."
        raise Invalid([Problem(("filters", path), words)])
    return tag
