"""Values made from other tags: `{StudyDate}_{Modality}`, with `{StudyDescription|none}` for what may be missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from engine.dicom.paths import TagPath
from engine.errors import Hold

__all__ = ["Hole", "fill", "parse", "plain", "tags_of"]

_PART = re.compile(r"""\{\{|\}\}|\{(?P<hole>(?:[^{}"]|"[^"]*")*)\}|[{}]|[^{}]+""")


class Hole(NamedTuple):
    """A tag in a template. `instead` stands in when it is missing or empty; None: that holds the instance."""

    path: TagPath
    instead: str | None


@lru_cache(maxsize=1024)
def parse(template: str) -> tuple[str | Hole, ...]:
    """The template's parts: text and holes. Raises ValueError that says what is wrong with it."""
    parts: list[str | Hole] = []
    for match in _PART.finditer(template):
        text = match.group()
        if text in ("{{", "}}"):
            parts.append(text[0])
        elif match["hole"] is not None:
            parts.append(_hole(match["hole"]))
        elif text in ("{", "}"):
            raise ValueError(f"a single {text} stands at place {match.start() + 1}: write {text * 2} for the character itself")
        else:
            parts.append(text)
    return tuple(parts)


def _hole(text: str) -> Hole:
    quoted = text.rfind('"') + 1
    name, bar, instead = text[quoted:].partition("|")
    return Hole(TagPath.parse(text[:quoted] + name), instead if bar else None)


def plain(template: str) -> str | None:
    """The text of a template without holes; None when it has any."""
    parts = parse(template)
    return None if any(isinstance(p, Hole) for p in parts) else "".join(p for p in parts if isinstance(p, str))


def tags_of(template: str) -> tuple[TagPath, ...]:
    """The tags that a template takes values from."""
    return tuple(part.path for part in parse(template) if isinstance(part, Hole))


def fill(template: str, text: Callable[[TagPath], str]) -> str:
    """The template with its tags' values; `text` gives a path's first value, "" when missing or empty.

    Raises Hold when a tag has no value and nothing stands in for it.
    """
    out = []
    for part in parse(template):
        if isinstance(part, str):
            out.append(part)
            continue
        value = text(part.path)
        if not value:
            if part.instead is None:
                raise Hold(f"{part.path} is missing or empty; write {{{part.path}|...}} to say what stands in for it.")
            value = part.instead
        out.append(value)
    return "".join(out)
