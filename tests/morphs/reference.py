"""The morphs done by pydicom on the whole data set: what the patcher must agree with."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pydicom
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR

from engine.dicom.paths import Step, TagPath

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE


def tag_of(ds: Dataset, step: Step, *, make: bool = False) -> int | None:
    if step.tag is not None:
        return step.tag
    try:
        block = ds.private_block(step.group, step.creator, create=make)
    except KeyError:
        return None
    return int(block.get_tag(step.element))


def levels(ds: Dataset, steps: tuple[Step, ...], *, make: bool = False) -> Iterator[tuple[Dataset, int]]:
    tag = tag_of(ds, steps[0], make=make and not (steps[0].all and len(steps) > 1))
    if tag is None:
        return
    if len(steps) == 1:
        if make or tag in ds:
            yield ds, tag
        return
    if tag not in ds:
        if not make or steps[0].all:
            return
        ds.add_new(tag, "SQ", [])
    if ds[tag].VR != "SQ":
        return
    items = ds[tag].value
    if steps[0].all:
        chosen = list(items)
    else:
        index = steps[0].index or 0
        if index == len(items) and make:
            items.append(Dataset())
        chosen = items[index : index + 1]
    for item in chosen:
        yield from levels(item, steps[1:], make=make)


def as_values(element: DataElement) -> list[str]:
    value = element.value
    if value is None or value == "":
        return []
    many = value if isinstance(value, list | pydicom.multival.MultiValue) else [value]
    texts = [str(getattr(v, "original_string", v)) if not isinstance(v, pydicom.valuerep.PersonName) else str(v) for v in many]
    return [t.strip() if element.VR in ("SH", "LO", "CS", "DS", "IS", "DA") else t.rstrip() for t in texts]


def put(ds: Dataset, tag: int, vr: str, values: list[str]) -> None:
    if vr in ("US", "FD"):
        numbers: list[Any] = [float(v) if vr == "FD" else int(v) for v in values]
        ds[tag] = DataElement(tag, vr, numbers if len(numbers) != 1 else numbers[0])
        return
    ds[tag] = DataElement(tag, vr, "\\".join(values) if vr == "LT" else values if len(values) != 1 else values[0])


def vr_of(tag: int) -> str:
    return "LO" if (tag >> 16) % 2 else str(dictionary_VR(tag))


def apply(ds: Dataset, morph: dict[str, Any]) -> None:
    """One morph, as its configuration says it."""
    path = TagPath.parse(morph["tag"])
    kind = morph["kind"]
    if kind == "set":
        for level, tag in list(levels(ds, path.steps, make=True)):
            vr = vr_of(tag)
            put(level, tag, vr, morph["value"].split("\\") if vr != "LT" else [morph["value"]])
    elif kind == "delete":
        for level, tag in list(levels(ds, path.steps)):
            del level[tag]
    elif kind in ("prepend", "suffix"):
        for level, tag in list(levels(ds, path.steps)):
            values = as_values(level[tag])
            if values:
                before, after = (morph["value"], "") if kind == "prepend" else ("", morph["value"])
                put(level, tag, level[tag].VR if level[tag].VR != "UN" else vr_of(tag), [before + v + after for v in values])
    else:
        _transfer(ds, path, TagPath.parse(morph["to"]), move=kind == "move")


def _transfer(ds: Dataset, source: TagPath, target: TagPath, *, move: bool) -> None:
    places = list(levels(ds, source.steps))
    if not places:
        return
    first = places[0][0][places[0][1]]
    first_vr = first.VR
    if first_vr in ("SQ", "UN", "OB"):
        value = copy.deepcopy(first.value)
        for level, tag in list(levels(ds, target.steps, make=True)):
            level[tag] = DataElement(tag, first_vr, copy.deepcopy(value))
    else:
        values = [v for level, tag in places for v in as_values(level[tag])]
        for level, tag in list(levels(ds, target.steps, make=True)):
            put(level, tag, first_vr if (tag >> 16) % 2 else vr_of(tag), values)
    if move:
        for level, tag in places:
            del level[tag]


def read(data: bytes) -> Dataset:
    ds = pydicom.dcmread(BytesIO(data))
    strip(ds)
    ds.decode()
    return ds


def strip(ds: Dataset) -> None:
    """Group lengths have no meaning of their own, and pydicom does not write them."""
    for tag in [t for t in list(ds.keys()) if t.element == 0 or t.group in (0x0000, 0x0002)]:
        del ds[tag]
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                strip(item)


def again(ds: Dataset) -> Dataset:
    """Written and read by pydicom: the same types on both sides."""
    out = BytesIO()
    ds.save_as(out, enforce_file_format=False)
    return read(out.getvalue())


