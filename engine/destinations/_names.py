"""File names made from tags: a template's placeholders filled so that no value can be more than a part of a name.

A value is kept as it is where it is plain. Where characters had to be replaced, or a part cut, `~` and a short hash of
what it was are added (a `~` of the value's own counts as a character to replace), so that two different values never
share a name because of it.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from engine.dicom.paths import TagPath

__all__ = ["Template", "parse_template"]

PART_BYTES = 120
"""The longest part of a path, in UTF-8; file systems take 255, and suffixes must find room."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_ODD = set('\\/:*?"<>|~')
_ODD_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_RESERVED = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{n}" for port in ("COM", "LPT") for n in range(10)}


class Piece(NamedTuple):
    """Literal text, or a tag path to be read."""

    text: str
    is_tag: bool


class Template(NamedTuple):
    """The parts of a path, each a run of pieces."""

    parts: tuple[tuple[Piece, ...], ...]

    def fill(self, read: Callable[[str], str]) -> tuple[str, ...]:
        """The folders' names and, last, the file's. `read` gives a tag path's first value ("" becomes `unknown`)."""
        return tuple(_fill(part, read) for part in self.parts)


def parse_template(text: str) -> Template:
    """Read and check a template. Raises ValueError with what is wrong and where, in words."""
    if text.startswith("/"):
        raise ValueError("The template begins with `/`: it stands below the path, so begin with a name.")
    parts = tuple(_parse_part(part) for part in _split(text))
    if not any(piece.is_tag for piece in parts[-1]):
        raise ValueError("The last part is the file's name: it needs a tag, such as {SOPInstanceUID}.")
    return Template(parts)


def _split(text: str) -> list[str]:
    """At each `/` outside of braces."""
    parts, depth = [""], 0
    for char in text:
        depth += (char == "{") - (char == "}")
        if char == "/" and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def _parse_part(part: str) -> tuple[Piece, ...]:
    if not part:
        raise ValueError("The template has an empty part: write one `/` between names and none at the end.")
    pieces: list[Piece] = []
    at = 0
    for match in _PLACEHOLDER.finditer(part):
        if match.start() > at:
            pieces.append(Piece(part[at : match.start()], False))
        path = match[1].strip()
        try:
            TagPath.parse(path)
        except ValueError as error:
            raise ValueError(f"In {{{match[1]}}}: {error}") from error
        pieces.append(Piece(path, True))
        at = match.end()
    if at < len(part):
        pieces.append(Piece(part[at:], False))
    _check_literals(part, pieces)
    return tuple(pieces)


def _check_literals(part: str, pieces: list[Piece]) -> None:
    literals = [piece.text for piece in pieces if not piece.is_tag]
    for text in literals:
        if "{" in text or "}" in text:
            raise ValueError(f"In {part!r} a brace has no partner: tags stand as {{PatientID}}.")
        for char in text:
            if _is_odd(char):
                raise ValueError(f"In {part!r}, {char!r} cannot be part of a name on every system.")
    if part[0] in ". " or part[-1] in ". ":
        raise ValueError(f"{part!r} begins or ends with a dot or a space, which not every system keeps.")
    if len(pieces) == 1 and literals and _is_reserved(part):
        raise ValueError(f"{part!r} is a device's name on Windows.")
    if sum(len(text.encode()) for text in literals) > PART_BYTES // 2:
        raise ValueError(f"The fixed text in {part!r} is longer than {PART_BYTES // 2} bytes.")


def _fill(part: tuple[Piece, ...], read: Callable[[str], str]) -> str:
    name = "".join(_plain(read(piece.text) or "unknown") if piece.is_tag else piece.text for piece in part)
    end = part[-1].text if len(part) > 1 and not part[-1].is_tag and part[-1].text.startswith(".") else ""
    stem = name[: len(name) - len(end)]
    if _is_reserved(stem):
        stem = f"_{stem}~{_hash(stem)}"
    if len((stem + end).encode()) > PART_BYTES:
        mark = f"~{_hash(stem)}"
        room = PART_BYTES - len((mark + end).encode())
        stem = stem.encode()[:room].decode(errors="ignore").rstrip(". ") + mark
    return stem + end


def _plain(value: str) -> str:
    """A value as a part of a name, with a hash of itself when anything had to be replaced."""
    safe = "".join("_" if _is_odd(char) else char for char in value)
    core = safe.strip(". ")
    lead = len(safe) - len(safe.lstrip(". "))
    if len(core) < len(safe):
        safe = "_" * lead + core + "_" * (len(safe) - lead - len(core))
    return safe if safe == value else f"{safe}~{_hash(value)}"


def _is_odd(char: str) -> bool:
    return char in _ODD or unicodedata.category(char) in _ODD_CATEGORIES


def _is_reserved(name: str) -> bool:
    return name.partition(".")[0].rstrip(" ").upper() in _RESERVED


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:10]
