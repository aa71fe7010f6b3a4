"""The Store Instances Response of DICOMweb (PS3.18 10.5.3, tables 10.5.3-1 and -2), read from JSON or XML.

What peers add is read too: a failure's detail as Google (private element, LT), Azure (Failed Attributes with an Error
Comment) and others write it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from xml.etree import ElementTree

from engine.connection.words import trim

__all__ = ["Failed", "StoreResponse", "Stored", "parse_store_response"]

SOP_INSTANCE, RETRIEVE_URL = "00081155", "00081190"
WARNING, FAILURE = "00081196", "00081197"
FAILED_SOPS, REFERENCED_SOPS, OTHER_FAILURES = "00081198", "00081199", "0008119A"
ERROR_COMMENT = "00000902"


class Stored(NamedTuple):
    """An instance that the peer has: its Retrieve URL ("" untold), and the warning it was stored with (0: none)."""

    url: str
    warning: int


class Failed(NamedTuple):
    """An instance that the peer has not: the Failure Reason (0: none given), and its own words."""

    reason: int
    detail: str


class StoreResponse(NamedTuple):
    """What became of the instances of one request, by SOP Instance UID; `other` failures name none."""

    stored: dict[str, Stored]
    failed: dict[str, Failed]
    other: tuple[Failed, ...]

    @property
    def says_something(self) -> bool:
        return bool(self.stored or self.failed or self.other)


Attributes = dict[str, Any]
"""A data set as in the DICOM JSON Model (PS3.18 F.2)."""


def parse_store_response(body: bytes) -> StoreResponse:
    """Read it in whichever form it is: some peers answer in another one than was asked for, or name none.

    Raises ValueError when it is neither JSON nor XML of that kind (half an answer, a page of a proxy).
    """
    text = body.lstrip(b"\xef\xbb\xbf \t\r\n")
    data = _from_xml(text) if text[:1] == b"<" else _from_json(text)
    failed = list(_items(data, FAILED_SOPS))
    return StoreResponse(
        stored={
            _text(item, SOP_INSTANCE): Stored(trim(_text(item, RETRIEVE_URL), 1000), _number(item, WARNING))
            for item in _items(data, REFERENCED_SOPS)
        },
        failed={_text(item, SOP_INSTANCE): _failed(item) for item in failed if _text(item, SOP_INSTANCE)},
        other=tuple(
            _failed(item) for item in (*_items(data, OTHER_FAILURES), *(f for f in failed if not _text(f, SOP_INSTANCE)))
        ),
    )


def _failed(item: Attributes) -> Failed:
    return Failed(_number(item, FAILURE), trim("; ".join(dict.fromkeys(_details(item)))))


def _details(item: Attributes) -> Iterator[str]:
    for tag, element in item.items():
        if not isinstance(element, dict):
            continue
        for value in element.get("Value") or ():
            if isinstance(value, dict):
                yield from _details(value)
            elif isinstance(value, str) and (tag == ERROR_COMMENT or element.get("vr") in ("LT", "ST", "UT")):
                yield value


def _from_json(text: bytes) -> Attributes:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is no whole JSON") from error
    if isinstance(data, list) and len(data) == 1:  # a list of one data set, as other transactions have it
        [data] = data
    if not isinstance(data, dict):
        raise ValueError("it is no data set")  # noqa: TRY004  (it is the value of a text that is wrong)
    return data


def _from_xml(text: bytes) -> Attributes:
    """The Native DICOM Model (PS3.19 A.1) in the shape of the JSON one."""
    if b"<!" in text.replace(b"<!--", b""):  # a DOCTYPE, with entities to expand: no store response has one
        raise ValueError("it declares a document type")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  (no entities, and as long as an answer may be)
    except ElementTree.ParseError as error:
        raise ValueError("it is no whole XML") from error
    if _local(root) != "NativeDicomModel":
        raise ValueError(f"it is {trim(_local(root), 40)}, no data set")
    return _attributes(root)


def _attributes(node: ElementTree.Element) -> Attributes:
    out: Attributes = {}
    for child in node:
        if _local(child) == "DicomAttribute":
            items = [_attributes(i) for i in child if _local(i) == "Item"]
            texts = [v.text for v in child if _local(v) == "Value" and v.text]
            out[child.get("tag", "").upper()] = {"vr": child.get("vr", ""), "Value": items or texts}
    return out


def _local(node: ElementTree.Element) -> str:
    return str(node.tag).rpartition("}")[2]


def _items(data: Attributes, tag: str) -> Iterator[Attributes]:
    element = data.get(tag)
    for item in (element.get("Value") or ()) if isinstance(element, dict) else ():
        if isinstance(item, dict):
            yield item


def _text(item: Attributes, tag: str) -> str:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]).strip().rstrip("\0") if values and isinstance(values, list) else ""


def _number(item: Attributes, tag: str) -> int:
    try:
        return int(_text(item, tag) or 0)
    except ValueError:
        return 0
