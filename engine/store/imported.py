"""What an importer gives: families for `Store.apply`, and what could not be carried over, in words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import Invalid, Problem

__all__ = ["Imported", "as_name", "read_json", "unfamiliar"]


@dataclass
class Imported:
    """Families with their items, and a sentence for each thing that a person must look at."""

    document: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, family: str, item: dict[str, Any]) -> None:
        self.document.setdefault(family, []).append(item)

    def merged(self, live: Mapping[str, Any]) -> dict[str, Any]:
        """The families as they would be: what is live, and what was imported in the place of what has its name."""
        out = {}
        for family, items in self.document.items():
            names = {item["name"] for item in items}
            out[family] = [i for i in live.get(family, []) if i["name"] not in names] + items
        return out


def as_name(text: str, taken: set[str]) -> str:
    """A name such as ours must be, different from those taken (it joins them)."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-_.")[:56].strip("-_.") or "unnamed"
    name, number = plain, 1
    while name.lower() in taken:
        number += 1
        name = f"{plain}-{number}"
    taken.add(name.lower())
    return name


_COMMENTS = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/', re.DOTALL)


def read_json(text: str) -> dict[str, Any]:
    """A JSON object; comments as Orthanc allows them are passed over. Raises Invalid with the line."""
    bare = _COMMENTS.sub(lambda m: m[1] or re.sub(r"[^\n]", " ", m[0]), text)
    try:
        data = json.loads(bare)
    except (ValueError, RecursionError) as e:
        where = f"line {e.lineno}: {e.msg}" if isinstance(e, json.JSONDecodeError) else "nested too deeply"
        raise Invalid([Problem((), f"This is not JSON: {where}.")]) from e
    if not isinstance(data, dict):
        raise Invalid([Problem((), "A JSON object is expected.")])
    return data


def unfamiliar(what: str, name: str, given: Mapping[str, Any], known: set[str]) -> list[str]:
    """A note for fields that say something and are not carried over."""
    odd = sorted(key for key, value in given.items() if key not in known and value not in ("", None, [], {}, False))
    return [f"{what} {name}: not carried over: {', '.join(odd)}."] if odd else []
