"""Query/Retrieve information models (PS3.4 C.3, C.6): SOP classes, levels and their unique keys; common storage classes."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

__all__ = ["COMMON_STORAGE", "LEVELS", "MODELS", "TRANSFER_SYNTAXES", "UNIQUE_KEYS", "Level", "Model", "Root"]

Root = Literal["study", "patient"]
Level = Literal["patient", "study", "series", "instance"]

LEVELS: Final[dict[str, str]] = {"patient": "PATIENT", "study": "STUDY", "series": "SERIES", "instance": "IMAGE"}
"""Our levels, top down, and how Query/Retrieve Level (0008,0052) writes them."""

UNIQUE_KEYS: Final[dict[str, int]] = {
    "patient": 0x00100020, "study": 0x0020000D, "series": 0x0020000E, "instance": 0x00080018,
}  # fmt: skip
"""The unique key of each level (PS3.4 C.6.1.1)."""


class Model(NamedTuple):
    """The SOP classes of a root, and its levels, top down."""

    find: str
    move: str
    get: str
    levels: tuple[str, ...]


MODELS: Final[dict[str, Model]] = {
    "patient": Model(
        "1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.1.2", "1.2.840.10008.5.1.4.1.2.1.3",
        ("patient", "study", "series", "instance"),
    ),
    "study": Model(
        "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3",
        ("study", "series", "instance"),
    ),
}  # fmt: skip

_CLASSES = (
    "2 2.1 2.2 4 4.1 4.2 4.3 1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 3.1 6.1 6.2 7 7.1 7.2 7.3 7.4 12.1 12.1.1 12.2 12.2.1 "
    "13.1.1 13.1.2 13.1.3 13.1.4 13.1.5 20 30 128 128.1 130 66 66.1 66.2 66.3 66.4 66.5 66.6 67 68.1 68.2 11.1 11.2 11.3 "
    "11.4 11.5 11.8 77.1.1 77.1.1.1 77.1.2 77.1.2.1 77.1.3 77.1.4 77.1.4.1 77.1.5.1 77.1.5.2 77.1.5.3 77.1.5.4 77.1.6 "
    "78.1 78.2 78.3 78.4 78.5 78.6 78.7 78.8 79.1 80.1 81.1 88.11 88.22 88.33 88.34 88.35 88.40 88.50 88.59 88.65 88.67 "
    "88.68 88.69 88.70 88.71 90.1 104.1 104.2 104.3 104.4 104.5 481.1 481.2 481.3 481.4 481.5 481.6 481.7 481.8 481.9 "
    "9.1.1 9.1.2 9.1.3 9.2.1 9.3.1 9.4.1 9.5.1 9.6.1 14.1 14.2 5 6 3"
)
COMMON_STORAGE: Final[tuple[str, ...]] = tuple(f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in _CLASSES.split())
"""What is proposed for a C-GET when nothing is known of a study: images first, then what else archives hold."""

TRANSFER_SYNTAXES: Final[tuple[str, ...]] = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.4.90",  # JPEG 2000, lossless only
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless SV1
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-lossless
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.201",  # HTJ2K, lossless only
    "1.2.840.10008.1.2.4.202",  # HTJ2K with RPCL, lossless only
    "1.2.840.10008.1.2.4.203",  # HTJ2K
    "1.2.840.10008.1.2.4.102",  # MPEG-4 AVC/H.264 High Profile
    "1.2.840.10008.1.2.4.103",  # MPEG-4 AVC/H.264 BD-compatible
    "1.2.840.10008.1.2.4.100",  # MPEG2 Main Profile / Main Level
    "1.2.840.10008.1.2.4.107",  # HEVC/H.265 Main Profile
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
)
"""In what a C-GET takes images, the most wanted first."""
