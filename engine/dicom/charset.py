"""Text in the character set that Specific Character Set (0008,0005) names (PS3.3 C.12.1.1.2, PS3.5 6.1).

An encoding list is what `encodings` makes of the values of (0008,0005): Python codec names, the first the default one.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache

from engine.dicom.vr import CHARSET

__all__ = ["DEFAULT", "UTF8", "Encodings", "decode_text", "encode_text", "encodings"]

Encodings = tuple[str, ...]
DEFAULT: Encodings = ("iso8859",)
UTF8: Encodings = ("UTF8",)

_ESCAPE = b"\x1b"
_RUN = re.compile(rb"\x1b?[^\x1b]+|\x1b")
_RESET = re.compile(rb"[\\\r\n\t\f]")
_RESET_NAME = re.compile(rb"[\\^=]")
_GB2312 = "iso_ir_58"


@lru_cache(maxsize=256)
def encodings(values: tuple[str, ...]) -> Encodings | None:
    """The encodings of a Specific Character Set's values (none: the default repertoire); None when one is unknown."""
    from pydicom.charset import STAND_ALONE_ENCODINGS, convert_encodings, python_encoding

    names = [v.strip() for v in values]
    if any(name not in python_encoding for name in names):
        return None
    if not names:
        return DEFAULT
    if names[0] in STAND_ALONE_ENCODINGS:
        names = names[:1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(convert_encodings(names))


def decode_text(data: bytes, vr: str, codecs: Encodings | None, *, strict: bool = False) -> str:
    """Bytes to text. What cannot be decoded becomes U+FFFD, or raises UnicodeError when `strict`."""
    if vr not in CHARSET:
        codecs = DEFAULT
    if data.isascii() and _ESCAPE not in data:
        return data.decode("ascii")
    if codecs is None:
        if strict:
            raise UnicodeError("the Specific Character Set (0008,0005) is unknown")
        return data.decode("ascii", "replace")
    if _ESCAPE not in data or len(codecs) == 1:
        return data.decode(codecs[0], "strict" if strict else "replace")
    resets = _RESET_NAME if vr == "PN" else _RESET
    return "".join(_decode_run(run, codecs, resets, strict) for run in _RUN.findall(data))


def _decode_run(run: bytes, codecs: Encodings, resets: re.Pattern[bytes], strict: bool) -> str:
    """What one escape sequence rules, up to the next one (PS3.5 6.1.2.5). A delimiter brings the first set back."""
    from pydicom.charset import CODES_TO_ENCODINGS

    errors = "strict" if strict else "replace"
    if not run.startswith(_ESCAPE):
        return run.decode(codecs[0], errors)
    length = 4 if run[1:3] in (b"$(", b"$)") else 3
    codec = CODES_TO_ENCODINGS.get(run[:length])
    if codec is None:
        if strict:
            raise UnicodeError(f"the escape sequence {run[1:length]!r} is unknown")
        return run.decode(codecs[0], errors)
    if codec.startswith("iso2022_jp"):
        return run.decode(codec, errors)
    delimiter = resets.search(run, length)
    end = delimiter.start() if delimiter else len(run)
    return run[length:end].decode(codec, errors) + run[end:].decode(codecs[0], errors)


def encode_text(text: str, vr: str, codecs: Encodings | None) -> bytes:
    """Text to bytes. Raises UnicodeError when the character set does not hold every character of it."""
    if text.isascii():
        return text.encode("ascii")
    if vr not in CHARSET:
        raise UnicodeError(f"a value of VR {vr} holds plain ASCII characters only")
    if codecs is None:
        raise UnicodeError("the Specific Character Set (0008,0005) is unknown")
    if codecs == DEFAULT:
        raise UnicodeError("the default repertoire holds plain ASCII characters only")
    if len(codecs) == 1 and codecs[0] not in ("shift_jis", "iso2022_jp", "iso2022_jp_2", "iso_ir_58", "euc_kr"):
        return text.encode(codecs[0])
    return _encode_extended(text, vr, codecs)


def _encode_extended(text: str, vr: str, codecs: Encodings) -> bytes:
    """With code extensions (ISO 2022): each value and each part of a name begins anew (PS3.5 6.1.2.5.3)."""
    cuts = "\\^=" if vr == "PN" else "\\" if vr in ("LO", "SH", "UC") else ""
    out, run = [], ""
    for c in text + "\0":
        if c in cuts or c == "\0":
            if run:
                out.append(_encode_run(run, codecs))
            out.append(b"" if c == "\0" else c.encode())
            run = ""
        else:
            run += c
    data = b"".join(out)
    if decode_text(data, vr, codecs) != text:
        raise UnicodeError("the character set does not hold every character")
    return data


def _encode_run(run: str, codecs: Encodings) -> bytes:
    from pydicom.charset import encode_string

    if _GB2312 in codecs and not run.isascii():
        return b"\x1b$)A" + run.encode("gb2312")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return bytes(encode_string(run, list(codecs)))
        except UserWarning as e:
            raise UnicodeError(str(e)) from e
