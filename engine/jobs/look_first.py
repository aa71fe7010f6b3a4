"""Metadata first: the rules see a study's headers before its pixels are fetched, and what none of them wants stays there.

Whatever leaves a doubt is fetched: headers that cannot be had, are not all there or cannot be read, elements that the server
keeps aside (bulk data), rules that look at file meta or private elements, which metadata need not have.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.configuration import Configuration
from engine.dicom.file_meta import encode_head
from engine.dicom.header import Header
from engine.dicom.paths import TagPath
from engine.errors import AxiomError
from engine.jobs.context import Context
from engine.rules.decide import Changer
from engine.sources._query import Match, QuerySource

__all__ = ["unwanted"]

log = logging.getLogger(__name__)

_EXPLICIT = "1.2.840.10008.1.2.1"
_PIXELS = "7FE0"
_UNCHANGED: Changer = lambda rule, header: (header, (), ())  # noqa: E731  (a value of that type)


def unwanted(context: Context, source: QuerySource, match: Match, stop: threading.Event) -> str:
    """Why a match need not be fetched, in words; "" when it is to be fetched."""
    decider = context.decider()
    if not _decidable(context.configuration()):
        return ""
    count = 0
    try:
        with tempfile.TemporaryDirectory(prefix="axiom-look-", dir=context.settings.run_dir) as folder:
            for attributes in source.metadata(match, stop):
                header = _header(attributes, Path(folder) / "header.dcm")
                decision = decider.rulebook.decide(header, source.association(), datetime.now(UTC), _UNCHANGED)
                if decision.branches or decision.shadows:
                    return ""
                count += 1
    except (AxiomError, ValueError, TypeError, KeyError, AttributeError, OSError) as e:
        log.info("%s: the headers of a study cannot be decided beforehand (%s): it is fetched", source.name, type(e).__name__)
        return ""
    if stop.is_set() or not count or (match.instances is not None and count < match.instances):
        return ""
    return f"No rule of revision {decider.revision} matches any of its {count} instances: it was not fetched."


def _decidable(configuration: Configuration) -> bool:
    """Whether metadata can hold everything that the rules look at."""
    tags = {
        tag
        for ruleset in configuration.rulesets for rule in ruleset.rules if rule.when is not None
        for tag in _tags(rule.when.model_dump(mode="json", by_alias=True))
    }  # fmt: skip
    paths = [TagPath.parse(tag) for tag in tags]
    return not any(path.is_file_meta or step.tag is None for path in paths for step in path.steps)


def _tags(condition: Any) -> Iterator[str]:
    if isinstance(condition, Mapping):
        if isinstance(condition.get("tag"), str):
            yield condition["tag"]
        for value in condition.values():
            yield from _tags(value)
    elif isinstance(condition, list):
        for value in condition:
            yield from _tags(value)


def _header(attributes: Mapping[str, Any], path: Path) -> Header:
    """DICOM JSON as a header that the rules can be asked about. Raises ValueError where the server keeps a value aside."""
    from pydicom.dataset import Dataset

    kept: dict[str, Any] = {}
    for tag, element in attributes.items():
        if tag.startswith(_PIXELS):
            kept[tag] = {"vr": "OB", "InlineBinary": "AAA="}
        elif not tag.startswith("0002"):
            if _kept_aside(element):
                raise ValueError("bulk data")
            kept[tag] = element
    data_set = Dataset.from_json(kept)
    uids = str(data_set.SOPClassUID), str(data_set.SOPInstanceUID)
    with path.open("wb") as file:
        file.write(encode_head(*uids, _EXPLICIT))
        data_set.save_as(file, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return Header.read(path)


def _kept_aside(element: Any) -> bool:
    if isinstance(element, Mapping):
        return "BulkDataURI" in element or any(_kept_aside(value) for value in element.values())
    return isinstance(element, list) and any(_kept_aside(value) for value in element)
