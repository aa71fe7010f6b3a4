"""The DICOM dictionary (PS3.6) and the known private ones, as pydicom ships them, in the form the engine asks for."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple, cast

__all__ = ["Known", "complete", "implicit_vr", "keywords", "private_vr", "public", "tag_of"]


class Known(NamedTuple):
    """What the standard says of a tag: `vm` as it writes it ("1", "1-n", "2-2n"), `vr` maybe "US or SS"."""

    tag: int
    vr: str
    vm: str
    name: str
    keyword: str


@lru_cache(maxsize=8192)
def public(tag: int) -> Known | None:
    """The entry of a standard element, repeating groups (50xx, 60xx) included; None when there is none."""
    entry = _entries().get(tag) or _repeating(tag)
    if entry is None:
        return None
    vr, vm, name, _, keyword = entry
    return Known(tag, str(vr), str(vm), str(name), str(keyword))


@lru_cache(maxsize=4096)
def tag_of(keyword: str) -> int | None:
    """The tag of a keyword; None when there is no such keyword."""
    return _by_keyword().get(keyword)


@cache
def keywords() -> list[str]:
    """Every keyword, in the dictionary's order."""
    return list(_by_keyword())


@lru_cache(maxsize=4096)
def private_vr(group: int, creator: str, element: int) -> str:
    """The VR of a private element (`element` is the low byte) where its creator's dictionary is known, else ""."""
    from pydicom.datadict import private_dictionary_VR

    try:
        return str(private_dictionary_VR((group << 16) | 0x1000 | element, creator))
    except KeyError:
        return ""


@lru_cache(maxsize=8192)
def implicit_vr(tag: int) -> str:
    """The VR to read a standard element with when the bytes do not say it; "UN" when unknown (PS3.5 6.2.2 note)."""
    if tag & 0xFFFF == 0:
        return "UL"
    if (tag >> 16) % 2:
        return "LO" if 0x0010 <= tag & 0xFFFF <= 0x00FF else "UN"
    known = public(tag)
    return known.vr if known else "UN"


def complete(text: str, limit: int = 20) -> Iterator[Known]:
    """Tags whose keyword, name or number begins with or holds `text` (any case), best first: for auto-completion."""
    sought = text.strip().lower().replace(" ", "")
    number = sought.strip("()").replace(",", "")
    ranked: list[tuple[int, str, int]] = []
    for keyword in keywords():
        lower = keyword.lower()
        tag = tag_of(keyword)
        if tag is None:
            continue
        if lower.startswith(sought):
            ranked.append((0, keyword, tag))
        elif sought in lower or (number and f"{tag:08x}".startswith(number)):
            ranked.append((1, keyword, tag))
    for _, _, tag in sorted(ranked)[:limit]:
        known = public(tag)
        if known is not None:
            yield known


Entry = tuple[str, str, str, str, str]


@cache
def _entries() -> Mapping[int, Entry]:
    """pydicom's table of standard elements. It is read alone: importing pydicom brings numpy and its pixel decoders, and
    would be a quarter of what each process of ours costs at its start."""
    spec = importlib.util.find_spec("pydicom")
    file = Path(spec.origin).with_name("_dicom_dict.py") if spec and spec.origin else None
    if "pydicom" not in sys.modules and file is not None and file.is_file():
        alone = importlib.util.spec_from_file_location("engine.dicom._pydicom_table", file)
        if alone is not None and alone.loader is not None:
            table = importlib.util.module_from_spec(alone)
            alone.loader.exec_module(table)
            return cast("Mapping[int, Entry]", table.DicomDictionary)
    from pydicom.datadict import DicomDictionary

    return cast("Mapping[int, Entry]", DicomDictionary)


@cache
def _by_keyword() -> dict[str, int]:
    return {entry[4]: tag for tag, entry in _entries().items()}


def _repeating(tag: int) -> Entry | None:
    """The entry of an element of a repeating group (PS3.5 7.6); few data sets have one, and no private element is one."""
    if (tag >> 16) % 2:
        return None
    from pydicom.datadict import get_entry

    try:
        return cast("Entry", get_entry(tag))
    except KeyError:
        return None
