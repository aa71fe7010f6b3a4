"""The one grammar of tag paths: what rules match on, morphs change and templates name.

    PatientName                                         a keyword of the DICOM dictionary (PS3.6)
    (0010,0020)   00100020                              the same by number
    RequestAttributesSequence[0].ScheduledProcedureStepID   inside a sequence's first item
    RequestAttributesSequence[*].ScheduledProcedureStepID   inside each of its items
    (0029,"SIEMENS CSA HEADER",10)                      a private element, by its creator (PS3.5 7.8.1)
    (0002,0016)                                         file meta: may be read, never changed
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from engine.dicom.dictionary import Known, keywords, private_vr, public, tag_of

__all__ = ["Step", "TagPath", "TagPathText"]

_STEP = re.compile(
    r"""\s*(?:
        \(\s*(?P<group>[0-9A-Fa-f]{4})\s*,\s*(?P<element>[0-9A-Fa-f]{4})\s*\)
      | \(\s*(?P<pgroup>[0-9A-Fa-f]{4})\s*,\s*"(?P<creator>[^"\\]{1,64})"\s*,\s*(?P<offset>[0-9A-Fa-f]{1,2})\s*\)
      | (?P<number>[0-9A-Fa-f]{8})(?![0-9A-Za-z_])
      | (?P<keyword>[A-Za-z_][A-Za-z0-9_]*)
    )\s*(?:\[\s*(?P<index>\*|[0-9]{1,6})\s*\])?\s*""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Step:
    """One element on the way: by `tag`, or (tag None) private by `group`, `creator` and `element` (the low byte).

    `index` names an item of a sequence (0 is the first), `all` stands for `[*]`; neither: the element as a whole.
    """

    tag: int | None
    group: int
    creator: str = ""
    element: int = 0
    index: int | None = None
    all: bool = False
    name: str = ""
    """Its canonical text without the index: a keyword, else (gggg,eeee), else by the private creator."""

    def __str__(self) -> str:
        return self.name + ("[*]" if self.all else "" if self.index is None else f"[{self.index}]")


@dataclass(frozen=True, slots=True, eq=False)
class TagPath:
    """A parsed tag path, frozen and hashable; `str()` gives its canonical text."""

    steps: tuple[Step, ...]
    vr: str
    """The dictionary's VR of its last step: "US or SS" where the standard leaves the choice, "" when nobody knows it, as
    with most private elements."""
    text: str
    flat: int | None
    """The tag of a path that is one standard element of the data set itself, else None."""

    @classmethod
    def parse(cls, text: str) -> TagPath:
        """Read a path. Raises ValueError, whose words name the place in the path and what to write instead."""
        return _parse(text)

    @property
    def is_private(self) -> bool:
        """Whether the element itself (the last step) is private."""
        return self.steps[-1].tag is None

    @property
    def is_file_meta(self) -> bool:
        return self.steps[0].group == 0x0002

    @property
    def has_wildcard(self) -> bool:
        return any(step.all for step in self.steps)

    @property
    def known(self) -> Known | None:
        """The dictionary's words for the element: keyword, name, VR and VM; None for private ones."""
        tag = self.steps[-1].tag
        return None if tag is None else public(tag)

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TagPath) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


def _check_path(text: str) -> str:
    TagPath.parse(text)
    return text.strip()


TagPathText = Annotated[
    str,
    AfterValidator(_check_path),
    Field(
        description="A tag: keyword, (gggg,eeee), `Sequence[0].Keyword`, `Sequence[*].Keyword` or a private one by its "
        'creator, `(0029,"CREATOR",10)`.',
        examples=["PatientID", "(0010,0020)", "RequestAttributesSequence[0].ScheduledProcedureStepID"],
        json_schema_extra={"format": "tag-path"},
    ),
]
"""A tag path in a model: stays the text that the person wrote, checked by `TagPath.parse`."""


@lru_cache(maxsize=4096)
def _parse(text: str) -> TagPath:
    if not text.strip():
        raise ValueError("a tag is needed, such as PatientID or (0010,0020)")
    steps: list[Step] = []
    at, vr = 0, ""
    while True:
        match = _STEP.match(text, at)
        if match is None:
            raise ValueError(f"{_where(text, at)}: a keyword, (gggg,eeee) or (gggg,\"CREATOR\",ee) is expected")
        step, vr = _step(match, text, at)
        steps.append(step)
        at = match.end()
        if at == len(text):
            break
        if text[at] != ".":
            raise ValueError(f"{_where(text, at)}: a dot or the end is expected")
        if vr not in ("SQ", "", "UN"):
            raise ValueError(f"{step} is no sequence (its VR is {vr}): nothing is inside it")
        if step.index is None and not step.all:
            raise ValueError(f"say which item of {step}: {step}[0] is its first, {step}[*] is each")
        at += 1
    if (steps[-1].index is not None or steps[-1].all) and vr not in ("SQ", "", "UN"):
        raise ValueError(f"{steps[-1].name} is no sequence (its VR is {vr}): it has no items")
    if len(steps) > 1 and any(s.group == 0x0002 for s in steps):
        raise ValueError("file meta elements (0002,eeee) do not stand inside sequences")
    only = steps[0] if len(steps) == 1 and steps[0].index is None and not steps[0].all else None
    flat = only.tag if only and only.group != 0x0002 else None
    return TagPath(tuple(steps), vr, ".".join(map(str, steps)), flat)


def _step(match: re.Match[str], text: str, at: int) -> tuple[Step, str]:
    index = match["index"]
    items: dict[str, Any] = {"all": index == "*", "index": int(index) if index and index != "*" else None}
    if match["creator"] is not None:
        group = int(match["pgroup"], 16)
        if group % 2 == 0 or group < 9:
            raise ValueError(f"{_where(text, at)}: private elements have an odd group of 0009 or more, not {group:04X}")
        creator, offset = match["creator"].strip(), int(match["offset"], 16)
        if not creator:
            raise ValueError(f"{_where(text, at)}: the private creator is empty")
        name = f'({group:04X},"{creator}",{offset:02X})'
        return Step(None, group, creator, offset, name=name, **items), private_vr(group, creator, offset)
    if match["keyword"] is not None and match["number"] is None:
        tag = tag_of(match["keyword"])
        if tag is None:
            near = difflib.get_close_matches(match["keyword"], keywords(), n=1, cutoff=0.7)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f'unknown keyword "{match["keyword"]}"{hint}')
    else:
        tag = int(match["number"] or match["group"] + match["element"], 16)
    if (tag >> 16) % 2:
        raise ValueError(
            f'{_where(text, at)}: name a private element by its creator: ({tag >> 16:04X},"CREATOR",{tag & 0xFF:02X})'
        )
    known = public(tag)
    if known is None:
        raise ValueError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is not in the DICOM dictionary")
    if tag >> 16 == 0 or tag >> 16 == 0xFFFE:
        raise ValueError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is not an element of a data set")
    named = bool(known.keyword) and tag_of(known.keyword) == tag  # that of a repeating group (60xx) does not say which
    name = known.keyword if named else f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    return Step(tag, tag >> 16, name=name, **items), known.vr


def _where(text: str, at: int) -> str:
    rest = text[at : at + 24]
    return f'at "{rest}"' if rest.strip() else "at the end"
