"""IP addresses and subnets, v4 and v6, in one space: an IPv4 address is the IPv4-mapped IPv6 address (RFC 4291 2.5.5.2).

An address is 32 hexadecimal digits here, so that a subnet is a range of texts, in Python as in SQL.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from engine.rules.sql import let, quote

__all__ = ["address_key", "parse_address", "parse_subnet", "sql_address_key", "sql_in_range"]

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_V4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_MAPPED = "0" * 20 + "f" * 4


@lru_cache(maxsize=4096)
def address_key(text: str) -> str | None:
    """An address as 32 hexadecimal digits; None when it is none. A v6 zone (`%eth0`) is no part of the address."""
    bare = text.partition("%")[0] if ":" in text else text
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    number = int(address)
    return f"{_MAPPED}{number:08x}" if address.version == 4 else f"{number:032x}"


def parse_address(text: str) -> str:
    """A rule's address as its key. Raises ValueError in words."""
    key = address_key(text.strip())
    if key is None:
        raise ValueError(f'"{text}" is not an IP address: write it like 10.1.2.3 or 2001:db8::1')
    return key


def parse_subnet(text: str) -> tuple[str, str]:
    """A subnet in CIDR as (first, last) key. Raises ValueError in words; bits after the prefix must be zero."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=True)
    except ValueError:
        raise ValueError(_subnet_words(text)) from None
    keys = address_key(str(network.network_address)), address_key(str(network.broadcast_address))
    assert keys[0] is not None and keys[1] is not None
    return keys[0], keys[1]


def _subnet_words(text: str) -> str:
    try:
        meant = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return f'"{text}" is not a subnet: write it like 10.1.0.0/16 or 2001:db8::/32'
    return f'"{text}" has bits after its prefix: the subnet is {meant}'


def sql_address_key(v: str) -> str:
    """`address_key` of a text in SQL; NULL when it is no address."""
    v4 = f"CASE WHEN regexp_full_match({v}, {quote(_V4)}) THEN {_sql_v4(v)} END"
    return f"(CASE WHEN contains({v}, ':') THEN {_sql_v6(v)} ELSE {v4} END)"


def sql_in_range(v: str, first: str, last: str) -> str:
    """Whether an address lies between two keys. Nearly all are v4, for which one pattern says it."""
    v6 = f"coalesce({_sql_v6(v)} BETWEEN {quote(first)} AND {quote(last)}, false)"
    return f"(CASE WHEN contains({v}, ':') THEN {v6} ELSE {_sql_v4_in_range(v, first, last)} END)"


def _sql_v4_in_range(v: str, first: str, last: str) -> str:
    low, high = max(first, _MAPPED + "0" * 8), min(last, _MAPPED + "f" * 8)
    if low > high:
        return "false"
    bounds = [(int(low[i : i + 2], 16), int(high[i : i + 2], 16)) for i in range(24, 32, 2)]  # a subnet: each byte a range
    pattern = r"\.".join(_octets(*bound) for bound in bounds)
    return f"regexp_full_match({v}, {quote(pattern)})"


def _octets(low: int, high: int) -> str:
    return _OCTET if (low, high) == (0, 255) else "(?:" + "|".join(map(str, range(low, high + 1))) + ")"


def _sql_v4(v: str, mapped: str = _MAPPED) -> str:
    numbers = [f"CAST(split_part({v}, '.', {i}) AS INTEGER)" for i in range(1, 5)]
    return " || ".join([f"'{mapped}'", *(f"right('0' || lower(to_hex({number})), 2)" for number in numbers)])


def _sql_v6(address: str) -> str:
    """The groups left and right of `::`, with as many zero groups between as are missing; a dotted tail is two groups."""
    v = f"split_part({address}, '%', 1)"
    tail = f"regexp_extract({v}, '[^:]*$')"
    dotted = f"regexp_full_match({tail}, {quote(_V4)})"
    as_groups = f"regexp_replace({_sql_v4(tail, '')}, '^(....)', '\\1:')"
    whole = f"(CASE WHEN {dotted} THEN regexp_replace({v}, '[^:]*$', '') || {as_groups} ELSE {v} END)"
    groups = "(CASE WHEN {0} = '' THEN []::VARCHAR[] ELSE string_split({0}, ':') END)"
    left, right = groups.format("split_part(w, '::', 1)"), groups.format("split_part(w, '::', 2)")
    squeezed = "contains(w, '::')"
    sides = f"{{'l': {left}, 'r': CASE WHEN {squeezed} THEN {right} ELSE []::VARCHAR[] END}}"
    zeros = "list_transform(range(8 - len(g.l) - len(g.r)), lambda i: '0')"
    count = f"(CASE WHEN {squeezed} THEN len(g.l) + len(g.r) <= 7 ELSE len(g.l) = 8 END)"
    every = "len(list_filter(list_concat(g.l, g.r), lambda p: NOT regexp_full_match(p, '[0-9a-fA-F]{1,4}'))) = 0"
    padded = f"list_transform(list_concat(g.l, {zeros}, g.r), lambda p: right('0000' || lower(p), 4))"
    key = f"CASE WHEN {count} AND {every} THEN array_to_string({padded}, '') END"
    one_run = f"(NOT {squeezed} OR NOT contains(substr(w, strpos(w, '::') + 1), '::'))"
    parsed = let("w", whole, f"CASE WHEN {one_run} THEN {let('g', sides, key)} END")
    return f"(CASE WHEN contains({v}, ':') THEN {parsed} END)"
