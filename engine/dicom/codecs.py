"""Frames to samples and back, by transfer syntax. All codecs come in one wheel (imagecodecs: libjpeg-turbo, CharLS,
OpenJPEG, OpenJPH); run-length encoding (PS3.5 G) is put together here from its PackBits.

A decoded frame is an array of (rows, columns) or (rows, columns, samples) in the size that Bits Allocated says.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from engine.dicom.pixels import CannotConvert, Image

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "EXPLICIT_LITTLE",
    "HTJ2K_LOSSLESS",
    "IMPLICIT_LITTLE",
    "JPEG_2000_LOSSLESS",
    "JPEG_LS_LOSSLESS",
    "LOSSY",
    "NATIVE",
    "READABLE",
    "RLE",
    "decode_frame",
    "encode_frame",
    "encoded_photometric",
]

Samples: TypeAlias = "npt.NDArray[Any]"

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
NATIVE = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, BIG_ENDIAN, "1.2.840.10008.1.2.1.99"})
RLE = "1.2.840.10008.1.2.5"
JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
_JPEG = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
_JPEG_LOSSLESS = frozenset({"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"})
_JPEG_LS = frozenset({JPEG_LS_LOSSLESS, "1.2.840.10008.1.2.4.81"})
_JPEG_2000 = frozenset({JPEG_2000_LOSSLESS, "1.2.840.10008.1.2.4.91"})
_HTJ2K = frozenset({HTJ2K_LOSSLESS, "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"})
LOSSY = frozenset({*_JPEG, "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203"})
"""What may have lost something already: to write it losslessly would only make it longer."""
READABLE = NATIVE | {RLE} | _JPEG | _JPEG_LOSSLESS | _JPEG_LS | _JPEG_2000 | _HTJ2K
"""Transfer syntaxes whose pixel data can be read; not so video, and what is private or new."""


def decode_frame(syntax: str, data: bytes, image: Image) -> tuple[Samples, str]:
    """A frame's samples, and the Photometric Interpretation that they have then. Raises CannotConvert."""
    if syntax in NATIVE:
        return _native(data, image), image.photometric
    try:
        found, photometric = _decode(syntax, data, image)
    except CannotConvert:
        raise
    except Exception as e:  # each codec raises errors of its own kind on odd bytes
        raise CannotConvert(f"a frame cannot be decoded ({' '.join(str(e).split())[:200]})") from e
    shape = (image.rows, image.columns, image.samples)[: 3 if image.samples > 1 else 2]
    if found.shape != shape:
        raise CannotConvert(f"a frame decodes to {found.shape}, the header says {shape}")
    return found, photometric


def _native(data: bytes, image: Image) -> Samples:
    import numpy as np

    if image.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        raise CannotConvert(f"its chroma is subsampled ({image.photometric}) without compression")
    flat = np.frombuffer(data, _dtype(image))
    if image.samples == 1:
        return flat.reshape(image.rows, image.columns)
    if image.planar:
        return flat.reshape(image.samples, image.rows, image.columns).transpose(1, 2, 0)
    return flat.reshape(image.rows, image.columns, image.samples)


def _dtype(image: Image, *, signed: bool | None = None) -> np.dtype[Any]:
    import numpy as np

    letter = "i" if (image.signed if signed is None else signed) else "u"
    return np.dtype(f"<{letter}{image.bits_allocated // 8}")


def _decode(syntax: str, data: bytes, image: Image) -> tuple[Samples, str]:
    import imagecodecs
    import numpy as np

    name = image.photometric
    if syntax == RLE:
        return _rle_decode(data, image), name
    if syntax in _JPEG_2000 or syntax in _HTJ2K:
        read = imagecodecs.jpeg2k_decode if syntax in _JPEG_2000 else imagecodecs.htj2k_decode
        return _fit(read(data), image, _siz_precision(data)), "RGB" if name in ("YBR_RCT", "YBR_ICT") else name
    if syntax in _JPEG_LS:
        return _fit(imagecodecs.jpegls_decode(data), image, _sof_precision(data)), name
    if syntax in _JPEG_LOSSLESS:
        return _fit(np.ascontiguousarray(imagecodecs.jpegsof3_decode(data)), image, _sof_precision(data)), name
    bits = _sof_precision(data)
    if image.samples == 1:
        return _fit(imagecodecs.jpeg_decode(data, bitspersample=bits), image, bits), name
    said = "RGB" if name == "RGB" and not _says_ycc(data) else "YCBCR"
    return _fit(imagecodecs.jpeg8_decode(data, colorspace=said, outcolorspace="RGB"), image, bits), "RGB"


def _fit(found: Samples, image: Image, precision: int) -> Samples:
    """In the size of Bits Allocated, the sign as Pixel Representation says: codestreams do not always know of it."""
    import numpy as np

    if found.dtype.kind not in "iu":
        raise CannotConvert(f"a frame decodes to samples of {found.dtype}")
    if image.signed and found.dtype.kind == "u":
        top = 1 << (precision - 1)
        wide = found.astype(np.int64)
        found = (wide & (top - 1)) - (wide & top)
    elif not image.signed and found.dtype.kind == "i":
        found = found.astype(np.int64) & ((1 << precision) - 1)
    target = _dtype(image)
    limits = np.iinfo(target)
    if found.size and (int(found.min()) < limits.min or int(found.max()) > limits.max):
        raise CannotConvert(f"a frame's samples do not go into {image.bits_allocated} bits")
    return found.astype(target)


def _segments(data: bytes) -> list[tuple[int, int, int]]:
    """The marker segments of a JPEG stream before its first scan: (marker, where its content begins, its end)."""
    out, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:  # a fill byte
            at += 1
            continue
        marker, length = struct.unpack_from(">xBH", data, at)
        if marker == 0xDA:
            break
        out.append((marker, at + 4, at + 2 + length))
        at += 2 + length
    return out


def _sof_precision(data: bytes) -> int:
    for marker, start, _ in _segments(data):
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return data[start]
    raise CannotConvert("a frame is no JPEG stream")


def _says_ycc(data: bytes) -> bool:
    """An Adobe segment says which colours a stream holds, whatever the header of the image does."""
    return any(m == 0xEE and data[a : a + 5] == b"Adobe" and data[e - 1 : e] == b"\1" for m, a, e in _segments(data))


def _siz_precision(data: bytes) -> int:
    at = data.find(b"\xff\x4f\xff\x51")  # SOC, then SIZ: also within the boxes that some writers leave around
    if at < 0 or at + 43 > len(data):
        raise CannotConvert("a frame is no JPEG 2000 codestream")
    return (data[at + 42] & 0x7F) + 1


def _rle_decode(data: bytes, image: Image) -> Samples:
    """PS3.5 G.3: a byte plane in each segment, the most significant byte of the first sample first."""
    import imagecodecs
    import numpy as np

    size = image.bits_allocated // 8
    count, *offsets = struct.unpack_from("<16L", data)
    if count != size * image.samples:
        raise CannotConvert(f"a frame has {count} run-length segments, {size * image.samples} are needed")
    ends = [*offsets[1:count], len(data)]
    planes = np.zeros((image.samples, size, image.pixels), np.uint8)
    for i, (start, end) in enumerate(zip(offsets[:count], ends, strict=True)):
        plane = imagecodecs.packbits_decode(data[start:end])[: image.pixels]
        planes[i // size, i % size, : len(plane)] = np.frombuffer(plane, np.uint8)
        if len(plane) < image.pixels:
            raise CannotConvert("a run-length segment ends too soon")
    little = np.ascontiguousarray(planes[:, ::-1, :].transpose(2, 0, 1))
    flat = little.reshape(-1).view(_dtype(image))
    return flat.reshape((image.rows, image.columns, image.samples)[: 3 if image.samples > 1 else 2])


def encoded_photometric(target: str, image: Image) -> str:
    """JPEG 2000 turns RGB into other colours within the codestream (PS3.5 8.2.4)."""
    return (
        "YBR_RCT"
        if target in (JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS) and image.photometric == "RGB"
        else image.photometric
    )


def encode_frame(target: str, samples: Samples, image: Image) -> bytes:
    """The frame in a lossless transfer syntax, of even length. Raises CannotConvert."""
    encode = _ENCODERS[target]
    if image.bits_allocated == 32 and target != RLE:
        raise CannotConvert("its samples have 32 bits, which this transfer syntax does not take")
    try:
        data = encode(samples, image)
    except CannotConvert:
        raise
    except Exception as e:  # each codec raises errors of its own kind
        raise CannotConvert(f"a frame cannot be encoded ({' '.join(str(e).split())[:200]})") from e
    return data + b"\0" * (len(data) % 2)


def _check_stored(samples: Samples, image: Image) -> None:
    """Bits above Bits Stored (an overlay of old, a marker) would be lost where the codestream has the stored bits only."""
    least = -(1 << (image.bits_stored - 1)) if image.signed else 0
    most = (1 << (image.bits_stored - (1 if image.signed else 0))) - 1
    if samples.size and (int(samples.min()) < least or int(samples.max()) > most):
        raise CannotConvert(f"its samples use bits beyond the {image.bits_stored} stored ones")


def _jpeg_2000(samples: Samples, image: Image) -> bytes:
    import imagecodecs
    import numpy as np

    _check_stored(samples, image)
    data = imagecodecs.jpeg2k_encode(
        np.ascontiguousarray(samples), level=0, codecformat="j2k", reversible=True, bitspersample=image.bits_stored,
        mct=image.photometric == "RGB",
    )  # fmt: skip
    return bytes(data)


def _htj2k(samples: Samples, image: Image) -> bytes:
    import imagecodecs
    import numpy as np

    if image.samples > 1 and image.photometric != "RGB":
        raise CannotConvert(f"the codec would take {image.photometric} for RGB")
    return bytes(imagecodecs.htj2k_encode(np.ascontiguousarray(samples), reversible=True))


def _jpeg_ls(samples: Samples, image: Image) -> bytes:
    """JPEG-LS knows no sign: two's complement goes in as it stands, all allocated bits of it."""
    import imagecodecs
    import numpy as np

    plain = np.ascontiguousarray(samples).view(_dtype(image, signed=False))
    room = bytearray(plain.nbytes * 2 + 4096)  # noise grows
    data = bytes(imagecodecs.jpegls_encode(plain, level=0, out=room))
    if data[2:4] == b"\xff\xe8":  # a SPIFF header, which is for files; the codestream stands for itself in DICOM
        (length,) = struct.unpack_from(">H", data, 4)
        data = data[:2] + data[4 + length :]
    return data


def _rle(samples: Samples, image: Image) -> bytes:
    """PS3.5 G.3 to G.5: rows are encoded each by itself, segments are of even length."""
    import imagecodecs
    import numpy as np

    size = image.bits_allocated // 8
    flat = np.ascontiguousarray(samples).reshape(-1).view(np.uint8)
    octets = flat.reshape(image.rows, image.columns, image.samples, size)
    parts = []
    for sample in range(image.samples):
        for byte in reversed(range(size)):
            part = imagecodecs.packbits_encode(np.ascontiguousarray(octets[:, :, sample, byte]))
            parts.append(part + b"\0" * (len(part) % 2))
    offsets, at = [], 64
    for part in parts:
        offsets.append(at)
        at += len(part)
    return struct.pack("<16L", len(parts), *offsets, *[0] * (15 - len(parts))) + b"".join(parts)


_ENCODERS: dict[str, Callable[[Samples, Image], bytes]] = {
    JPEG_2000_LOSSLESS: _jpeg_2000, HTJ2K_LOSSLESS: _htj2k, JPEG_LS_LOSSLESS: _jpeg_ls, RLE: _rle,
}  # fmt: skip
