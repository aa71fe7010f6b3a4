"""Numbers as decimals (DS, IS and the integer VRs): exact, without float surprises, the same in Python and in SQL.

DuckDB has no decimal of any size, so that SQL compares sort keys: texts whose order is the order of the numbers.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

from engine.rules.sql import let, quote

__all__ = ["parse_number", "read_number", "sort_key", "sql_is_number", "sql_quick", "sql_sort_key"]

_LONGEST = 64
"""Characters; a DS has 16 at most (PS3.5 6.2). Bounds the work on broken headers."""
EXACT = 15
"""Decimal digits that a double tells apart."""
_SHAPE = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?"
_PARTS = r"^[+-]?([0-9]*)\.?([0-9]*)(?:[eE]([+-]?[0-9]+))?$"
_MIDDLE = 500_000
"""Added to exponents, so that they are written with six digits and no sign."""
_NUMBER = re.compile(_SHAPE)
_COMPLEMENT = str.maketrans("0123456789", "9876543210")


def read_number(value: str | int | float) -> Decimal | None:
    """An element's value as a number; None when it is not one."""
    text = str(value).strip(" ")
    return Decimal(text) if len(text) <= _LONGEST and _NUMBER.fullmatch(text) else None


def parse_number(text: str) -> Decimal:
    """A rule's value as a number. Raises ValueError in words."""
    number = read_number(text)
    if number is None:
        raise ValueError(f'"{text}" is not a number')
    return number


def sort_key(number: Decimal) -> str:
    """A text that sorts as the number does: sign, exponent, digits; those of negative ones complemented."""
    digits, exponent = number.as_tuple().digits, number.as_tuple().exponent
    assert isinstance(exponent, int)
    mantissa = "".join(map(str, digits)).lstrip("0")
    point = len(mantissa) + exponent
    mantissa = mantissa.rstrip("0")
    if not mantissa:
        return "1"
    key = f"{_MIDDLE + point:06d}{mantissa}"
    return f"0{key.translate(_COMPLEMENT)}~" if number < 0 else f"2{key}"


def sql_is_number(v: str) -> str:
    trimmed = f"trim({v}, ' ')"
    return f"(length({trimmed}) <= {_LONGEST} AND regexp_full_match({trimmed}, {quote(_SHAPE)}))"


def sql_sort_key(v: str) -> str:
    """`sort_key` of a text that is a number, in SQL."""
    digits = "(m.i || m.f)"
    point = f"(length(m.i) - (length({digits}) - length(ltrim({digits}, '0'))) + coalesce(TRY_CAST(m.e AS INTEGER), 0))"
    key = f"(right('000000' || CAST({_MIDDLE} + {point} AS VARCHAR), 6) || trim({digits}, '0'))"
    body = (
        f"CASE WHEN trim({digits}, '0') = '' THEN '1' WHEN starts_with(trim({v}, ' '), '-') "
        f"THEN '0' || translate({key}, '0123456789', '9876543210') || '~' ELSE '2' || {key} END"
    )
    return let("m", f"regexp_extract(trim({v}, ' '), {quote(_PARTS)}, ['i', 'f', 'e'])", body)


def sql_quick(v: str, parsed: Decimal) -> list[tuple[str, str, str]]:
    """Of a text that is a number: (when, SQL of it, SQL of `parsed`) that compare as the exact numbers do.

    Rounding to a double keeps the order, so that two numbers whose doubles differ stand as these do. Two with the same double
    are the same number where neither has more than 15 digits (or an exponent, which could take it out of a double's range).
    """
    double = f"TRY_CAST(trim({v}, ' ') AS DOUBLE)"
    rounded = float(parsed)
    if math.isinf(rounded):
        return []
    literal = f"CAST({quote(repr(rounded))} AS DOUBLE)"
    quick = [(f"{double} <> {literal}", double, literal)]
    digits = len(parsed.normalize().as_tuple().digits)
    if digits <= EXACT and (not parsed or -EXACT <= parsed.adjusted() <= EXACT):
        quick.append((f"{double} = {literal} AND length({v}) <= {EXACT} AND NOT contains(lower({v}), 'e')", literal, literal))
    return quick
