"""Which tags may be changed at all: those of the data set, but not its pixels."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from engine.dicom.paths import TagPath, TagPathText

__all__ = ["ChangedTag", "refuse_unchangeable"]


def refuse_unchangeable(text: str) -> str:
    """Refuse the tags that no morph may change. Raises ValueError in words."""
    path = TagPath.parse(text)
    if path.is_file_meta:
        raise ValueError(f"{path} is file meta: it is read-only, and follows the data set by itself")
    if path.steps[0].group == 0x7FE0:
        raise ValueError(f"{path} belongs to the pixel data, which is never changed")
    return text


ChangedTag = Annotated[TagPathText, AfterValidator(refuse_unchangeable)]
"""A tag that a morph changes: no file meta, no pixel data."""
