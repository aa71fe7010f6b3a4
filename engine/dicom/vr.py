"""What the standard says of each value representation (PS3.5 6.2), as tables."""

from __future__ import annotations

__all__ = [
    "BINARY", "BYTES", "CHARSET", "FLOATS", "INTEGERS", "LONG", "MAX_BYTES", "MAX_CHARS", "NUMBERS", "SHORT", "SINGLE",
]

SHORT = {
    vr.encode(): vr
    for vr in (
        "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM",
        "UI", "UL", "US",
    )
}
"""Explicit VRs with a 16-bit length (PS3.5 7.1.2), by their bytes."""

LONG = {vr.encode(): vr for vr in ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")}
"""Explicit VRs with two reserved bytes and a 32-bit length (PS3.5 7.1.2), by their bytes."""

BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
"""Bytes, not values: never decoded, never set."""

CHARSET = frozenset({"SH", "LO", "ST", "LT", "PN", "UC", "UT"})
"""Written in the Specific Character Set (0008,0005); all other text uses the default repertoire (PS3.5 6.1.2.2)."""

SINGLE = frozenset({"ST", "LT", "UT", "UR"})
"""Text in which a backslash is a character: always one value."""

INTEGERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q"}
FLOATS = {"FL": "f", "FD": "d"}
NUMBERS = INTEGERS | FLOATS
"""Binary numbers, with their `struct` code."""

BYTES = {"AT": 4, "FL": 4, "FD": 8, "SL": 4, "SS": 2, "SV": 8, "UL": 4, "US": 2, "UV": 8}
"""Bytes of one value."""

MAX_BYTES = {"AE": 16, "CS": 16, "DS": 16, "IS": 12, "UI": 64, "DT": 26, "TM": 14}
"""Longest value of default-repertoire text (PS3.5 table 6.2-1)."""

MAX_CHARS = {"LO": 64, "SH": 16, "ST": 1024, "LT": 10240}
"""Longest value in characters (PS3.5 table 6.2-1); for PN it is 64 for each component group."""
