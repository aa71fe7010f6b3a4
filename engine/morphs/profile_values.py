"""What de-identification writes in the place of what it takes away: dummies that are valid for their VR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from engine.dicom.charset import DEFAULT
from engine.dicom.dictionary import public, tag_of
from engine.dicom.edit import Node
from engine.dicom.edit import Sequence as Items
from engine.dicom.encode import encode_values
from engine.dicom.vr import BINARY, FLOATS, INTEGERS

__all__ = ["DUMMY", "dummy_bytes", "put_codes", "put_dummy_items"]

DUMMY: Final = "REMOVED"
_DUMMIES: Final = {
    "AS": "000Y", "AT": "00000000", "DA": "19000101", "DS": "0", "DT": "19000101000000", "IS": "0", "TM": "000000",
    "UR": "http://removed.invalid",
}
_ZEROS: Final = bytes(8)
"""Whole numbers of every width that a binary VR has."""

_CODE: Final = {"CodeValue": DUMMY, "CodingSchemeDesignator": "99REMOVED", "CodeMeaning": DUMMY}

Template = dict[str, "str | list[Template]"]
"""An item to write: values by keyword, sequences as lists of items."""

_PERSON: Final[Template] = {"PersonIdentificationCodeSequence": [{**_CODE}], "InstitutionName": DUMMY}
_ITEMS: Final[dict[str, Template]] = {
    "ContentSequence": {
        "RelationshipType": "CONTAINS",
        "ValueType": "TEXT",
        "ConceptNameCodeSequence": [{"CodeValue": "121106", "CodingSchemeDesignator": "DCM", "CodeMeaning": "Comment"}],
        "TextValue": DUMMY,
    },
    "FlowIdentifierSequence": {"FlowIdentifier": ""},
    "InstitutionCodeSequence": {**_CODE},
    "OperatorIdentificationSequence": _PERSON,
    "PersonIdentificationCodeSequence": {**_CODE},
    "VerifyingObserverSequence": {
        "VerifyingObserverName": DUMMY,
        "VerifyingObserverIdentificationCodeSequence": [],
        "VerifyingOrganization": DUMMY,
        "VerificationDateTime": _DUMMIES["DT"],
    },
    "GraphicAnnotationSequence": {
        "TextObjectSequence": [
            {
                "AnchorPointAnnotationUnits": "DISPLAY",
                "UnformattedTextValue": DUMMY,
                "AnchorPoint": "0\\0",
                "AnchorPointVisibility": "N",
            }
        ]
    },
}
"""The sequences that Table E.1-1 has a D for, each as one item that its module allows and that says nothing."""

GRAPHIC_LAYER: Final = 0x00700002


def dummy_bytes(vr: str, order: str) -> bytes:
    """A value that says nothing, as its bytes."""
    if vr in BINARY:
        return _ZEROS
    text = "0" if vr in INTEGERS or vr in FLOATS else _DUMMIES.get(vr, DUMMY)
    return encode_values((text,), vr, DEFAULT, order)


def put_dummy_items(node: Node, tag: int) -> None:
    """Put one item that says nothing in the place of a sequence's items.

    The layer that graphics are on stays as it was named: Graphic Layer Sequence, which stays too, has to know it.
    """
    known = public(tag)
    layer = b""
    for item in node.items(tag)[:1]:
        layer = item.raw(GRAPHIC_LAYER) if GRAPHIC_LAYER in item and item.vr(GRAPHIC_LAYER) == "CS" else b""
    node.own[tag] = Items([], changed=True)
    item = node.add_item(tag)
    _fill(item, _ITEMS.get(known.keyword if known else "", {}))
    if layer:
        item.put(GRAPHIC_LAYER, "CS", layer)


def put_codes(node: Node, tag: int, codes: Sequence[tuple[str, str]]) -> None:
    """Make a sequence one of DICOM codes, given as value and meaning (PS3.3 8.8)."""
    node.own[tag] = Items([], changed=True)
    for value, meaning in codes:
        _fill(node.add_item(tag), {"CodeValue": value, "CodingSchemeDesignator": "DCM", "CodeMeaning": meaning})


def _fill(node: Node, template: Template) -> None:
    for keyword, value in template.items():
        tag = tag_of(keyword)
        known = public(tag) if tag is not None else None
        if tag is None or known is None:
            raise LookupError(f"{keyword} is not in the DICOM dictionary")
        if isinstance(value, list):
            node.own[tag] = Items([], changed=True)
            for inner in value:
                _fill(node.add_item(tag), inner)
        elif known.vr in BINARY:
            node.put(tag, known.vr, _ZEROS)
        else:
            node.put(tag, known.vr, encode_values(tuple(value.split("\\")), known.vr, DEFAULT, node.form.order))
