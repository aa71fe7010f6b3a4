"""The file meta information in front of a received data set (PS3.10 7.1): always explicit VR little endian, group 0002."""

from __future__ import annotations

import struct
from typing import Final

from engine.dicom.decode import decode
from engine.dicom.encode import pad
from engine.dicom.level import Element
from engine.errors import Hold

__all__ = ["GROUP_LENGTH", "IMPLICIT_SYNTAXES", "TRANSFER_SYNTAX", "Meta"]

IMPLICIT_SYNTAXES: Final = frozenset({"1.2.840.10008.1.2", "1.2.840.113619.5.2"})
TRANSFER_SYNTAX: Final = 0x00020010
GROUP_LENGTH: Final = 0x00020000
_LONG: Final = frozenset({b"OB", b"OW", b"UN", b"UT", b"SQ"})
_ELEMENT: Final = struct.Struct("<HH2sH")

Span = tuple[str, int, int, int]
"""VR, where the element begins, where its value begins, where it ends."""


class Meta:
    """Preamble, `DICM` and file meta as received (`head`), decoded where asked."""

    __slots__ = ("_elements", "end", "head", "spans")

    def __init__(self, data: bytes, known: tuple[dict[int, Span], int] | None = None) -> None:
        """`data` begins with the preamble and may go on with the data set; `end` tells where that begins.

        known: `spans` and `end` of one that is written alike.
        When `end` is beyond `data`, more of the file is needed. Raises Hold for what is no DICOM file.
        """
        self._elements: dict[int, Element] = {}
        self.spans: dict[int, Span]
        if known is not None:
            self.spans, self.end = known
        else:
            self.spans = {}
            self.end = self._walk(data)
        self.head = data[: self.end]

    def element(self, tag: int) -> Element | None:
        """One element, None when it is not there."""
        if tag in self.spans and tag not in self._elements:
            vr, _, value, end = self.spans[tag]
            self._elements[tag] = Element(tag, vr, decode(self.head[value:end], vr, None, "<"))
        return self._elements.get(tag)

    def elements(self) -> list[Element]:
        return [element for tag in self.spans if (element := self.element(tag)) is not None]

    def text(self, tag: int) -> str:
        """The first value as text, "" when it is missing or empty."""
        element = self.element(tag)
        return str(element.values[0]) if element and element.values else ""

    def with_uid(self, tag: int, uid: str) -> Meta:
        """The same with one UID replaced or put in, and the group length right; the rest stays as it was."""
        value = pad(uid.encode("ascii"), "UI")
        element = _ELEMENT.pack(tag >> 16, tag & 0xFFFF, b"UI", len(value)) + value
        if tag in self.spans:
            _, start, _, end = self.spans[tag]
        else:
            start = end = min((span[1] for other, span in self.spans.items() if other > tag), default=self.end)
        made = bytearray(self.head[:start] + element + self.head[end:])
        length = self.spans.get(GROUP_LENGTH)
        if length is not None and length[3] - length[2] == 4:
            made[length[2] : length[3]] = struct.pack("<L", len(made) - length[3])
        return Meta(bytes(made))

    def _walk(self, data: bytes) -> int:
        """The file meta ends with the elements of group 0002, however long it says that it is.

        Only where such elements have strayed into the data set, right behind it, its group length parts the two.
        """
        if data[128:132] != b"DICM":
            raise Hold('This is no DICOM file: "DICM" does not stand at byte 128 (PS3.10 7.1).')
        pos, said, size = 132, 0, len(data)
        while pos + 8 <= size:
            group, number, code, length = _ELEMENT.unpack_from(data, pos)
            if group != 2 or (pos == said and self._strays(data, code)):
                break
            value = pos + 8
            if code in _LONG:
                value += 4
                length = struct.unpack_from("<L", data, pos + 8)[0] if value <= size else 0
            elif not code.isalpha():
                raise Hold(f"The file meta information is broken at byte {pos}: no VR stands there.")
            end = value + length
            if number == 0 and end == 144 <= size:
                said = 144 + int(struct.unpack_from("<L", data, value)[0])
            self.spans[0x00020000 | number] = (code.decode(), pos, value, end)
            pos = end
        return pos

    def _strays(self, data: bytes, code: bytes) -> bool:
        if TRANSFER_SYNTAX not in self.spans:
            return False
        _, _, value, end = self.spans[TRANSFER_SYNTAX]
        syntax = data[value:end].decode("ascii", "replace").rstrip(" \0")
        return not (syntax in IMPLICIT_SYNTAXES and code.isalpha())
