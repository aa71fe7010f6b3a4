"""Addresses of senders: ranges as a person writes them, and whether an address is in one."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator

__all__ = ["IpRange", "plain_address", "within"]


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as e:
        raise ValueError(f"{e}. Write an address or a range like 10.1.0.0/16 or fd00::/8.") from e
    return text


IpRange = Annotated[str, AfterValidator(_network)]


def plain_address(text: str) -> str:
    """An IPv4-mapped IPv6 address as IPv4, without a zone; what is no address as it is."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def within(address: str, ranges: Sequence[str]) -> bool:
    """Whether an address (as `plain_address` gives it) is in one of the ranges; what is no address is in none."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in ipaddress.ip_network(one) for one in ranges)
