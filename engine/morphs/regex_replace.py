"""Morph `regex_replace`: replaces what a regular expression finds in a tag's value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self

import re2
from pydantic import Field, model_validator

from engine.crosswalk.lookup import Lookups
from engine.dicom.paths import TagPath
from engine.morphs.text_change import TextChange
from engine.morphs.work import Work

__all__ = ["RegexReplace"]

_PIECE = re.compile(r"\\(?:(?P<number>[0-9])|g<(?P<name>[A-Za-z_][A-Za-z0-9_]*|[0-9]+)>|(?P<other>.?))|[^\\]+", re.DOTALL)


class RegexReplace(TextChange):
    r"""Replaces what a regular expression (RE2: linear time) finds in each value. `\1` in the replacement is the first group."""

    label: ClassVar[str] = "Replace by regex"
    kind: Literal["regex_replace"] = "regex_replace"
    pattern: str = Field(min_length=1, max_length=4096, examples=[r"^(\d+)-.*$"])
    """RE2 syntax; finds anywhere in the value: use ^ and $ for all of it."""
    replacement: str = Field(default="", max_length=4096, examples=[r"\1"])
    r"""`\1` to `\9` and `\g<name>` are groups, `\0` is all that was found, `\\` a backslash."""
    every: bool = True
    """Replace every find, not only the first."""
    ignore_case: bool = False
    """Find capital and small letters alike."""

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        _compile(self.pattern, self.ignore_case)
        _parts(self.replacement, self.pattern, self.ignore_case)
        return self

    def looks_at(self, lookups: Lookups | None) -> Sequence[TagPath]:
        return [self.path]

    @property
    def sources(self) -> tuple[TagPath, ...]:
        return (self.path,)

    def apply(self, work: Work) -> None:
        regex = _compile(self.pattern, self.ignore_case)
        parts = _parts(self.replacement, self.pattern, self.ignore_case)
        for place, values in self.texts(work):
            work.write(place, [_replaced(value, regex, parts, self.every) for value in values])


@lru_cache(maxsize=1024)
def _compile(pattern: str, ignore_case: bool) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    try:
        return re2.compile(pattern, options)
    except re2.error as e:
        words = e.args[0].decode("utf-8", "replace") if e.args and isinstance(e.args[0], bytes) else str(e)
        raise ValueError(f"the regular expression is not valid: {words}") from e


@lru_cache(maxsize=1024)
def _parts(replacement: str, pattern: str, ignore_case: bool) -> tuple[str | int, ...]:
    regex = _compile(pattern, ignore_case)
    parts: list[str | int] = []
    for match in _PIECE.finditer(replacement):
        name = match["number"] or match["name"]
        if name is None:
            if match["other"] is not None and match["other"] != "\\":
                raise ValueError(f"\\{match['other']} means nothing in a replacement: write \\\\ for a backslash")
            parts.append("\\" if match["other"] else match.group())
            continue
        number = int(name) if name.isdecimal() else regex.groupindex.get(name)
        if number is None or number > regex.groups:
            raise ValueError(f"the replacement names the group {name}, which the regular expression does not have")
        parts.append(number)
    return tuple(parts)


def _replaced(value: str, regex: Any, parts: tuple[str | int, ...], every: bool) -> str:
    out, at = [], 0
    for match in regex.finditer(value):
        out.append(value[at : match.start()])
        out += [part if isinstance(part, str) else match.group(part) or "" for part in parts]
        at = match.end()
        if not every:
            break
    return "".join(out) + value[at:]
