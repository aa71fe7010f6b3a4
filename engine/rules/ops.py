"""The one table of operators: for each its word, what people read, what it means in Python and what in DuckDB.

Python decides what arrives, SQL asks the same of history; a property test holds the two equal. A negative operator is the
positive one turned round: where a positive one needs any of several values to hold, its negative needs all of them not to.
An element that is there but empty counts as one empty text, which is neither before nor after another; one that is missing
satisfies nothing, not even `ne`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import re2

from engine.rules import addresses
from engine.rules.sql import quote

__all__ = ["ADDRESS_FIELDS", "ASSOCIATION_FIELDS", "OPS", "Op", "compile_regex", "escape", "operator_names"]

Takes = Literal["nothing", "one", "many"]
Looks = Literal["presence", "span", "text", "address"]


@dataclass(frozen=True, slots=True)
class Op:
    """One operator."""

    word: str
    reads: str
    """As people read it: "Modality is CT"."""
    looks: Looks
    """What it looks at: whether the element is there, values compared by VR, their written form, an IP address."""
    takes: Takes = "one"
    negates: str = ""
    """The operator whose contrary it is."""
    ordered: bool = False
    """Whether it needs an order: only for VRs that have one."""
    pattern: Callable[[str], str] | None = None
    """What it looks for, as RE2: how `ignore_case` is told the same way to both engines."""
    test: Callable[..., Any] | None = None
    """In Python: of (value's span, rule's span); of (written form, rule's value); of (address, rule's value)."""
    sql: Callable[..., str] | None = None
    """The same in SQL."""
    sql_joined: Callable[[str, str], str] | None = None
    """In SQL of several values joined by backslashes, for a rule's value without one: whether it holds of any."""

    @property
    def positive(self) -> Op:
        """The operator that this one negates, or itself."""
        return OPS[self.negates] if self.negates else self

    @property
    def can_ignore_case(self) -> bool:
        return self.positive.pattern is not None


@lru_cache(maxsize=4096)
def compile_regex(pattern: str) -> Any:
    """A compiled RE2 expression: linear in the text's length, whatever it is. Raises ValueError with RE2's words."""
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as e:
        words = e.args[0].decode() if e.args and isinstance(e.args[0], bytes) else str(e)
        raise ValueError(f"the regular expression is not valid: {words} (RE2 syntax)") from e
    if "(?<" in pattern:  # taken here, refused by DuckDB's RE2
        raise ValueError("the regular expression is not valid: write (?P<name>...) for a named group (RE2 syntax)")
    return compiled


def escape(text: str) -> str:
    """A text as an RE2 expression that matches it alone."""
    return "".join(c if c.isalnum() or ord(c) > 127 or c == "_" else "\\x00" if c == "\0" else f"\\{c}" for c in text)


def _whole(text: str) -> str:
    return rf"\A(?:{escape(text)})\z"


def _sql_regex(v: str, value: str) -> str:
    return f"regexp_matches({v}, {quote(value)})"


def _regex_test(value: str) -> Callable[[str], bool]:
    search = compile_regex(value).search
    return lambda text: search(text) is not None


def _call(method: str) -> Callable[[str], Callable[[str], bool]]:
    return lambda value: lambda text: bool(getattr(text, method)(value))


def _in_range(first: str, last: str) -> Callable[[str], bool]:
    return lambda text: (key := addresses.address_key(text)) is not None and first <= key <= last


def _sql_in_subnet(v: str, value: str) -> str:
    return addresses.sql_in_range(v, *addresses.parse_subnet(value))


def _sql_same_address(v: str, value: str) -> str:
    key = addresses.parse_address(value)
    return addresses.sql_in_range(v, key, key)


def _within(v: Any, b: Any) -> bool:
    return bool(b[0] <= v[0] and v[1] <= b[1])


def _sql_within(v: Any, b: Any) -> str:
    if b[0] == b[1] and v.first == v.last:
        return f"{v.first} = {b[0]}"
    return f"({v.first} >= {b[0]} AND {v.last} <= {b[1]})"


_BREAK = "\\"
"""Between values (PS3.5 6.4)."""

_ROWS = (
    Op("eq", "is", "span", pattern=_whole, test=_within, sql=_sql_within),
    Op("ne", "is not", "span", negates="eq"),
    Op("gt", "is more than", "span", ordered=True, test=lambda v, b: v[0] > b[1], sql=lambda v, b: f"{v.first} > {b[1]}"),
    Op("ge", "is at least", "span", ordered=True, test=lambda v, b: v[0] >= b[0], sql=lambda v, b: f"{v.first} >= {b[0]}"),
    Op("lt", "is less than", "span", ordered=True, test=lambda v, b: v[1] < b[0], sql=lambda v, b: f"{v.last} < {b[0]}"),
    Op("le", "is at most", "span", ordered=True, test=lambda v, b: v[1] <= b[1], sql=lambda v, b: f"{v.last} <= {b[1]}"),
    Op("exists", "is there", "presence", takes="nothing"),
    Op("not_exists", "is missing", "presence", takes="nothing", negates="exists"),
    Op("contains", "contains", "text", pattern=escape, test=lambda value: lambda text: value in text,
       sql=lambda v, value: f"contains({v}, {quote(value)})", sql_joined=lambda v, value: f"contains({v}, {quote(value)})"),
    Op("not_contains", "does not contain", "text", negates="contains"),
    Op("startswith", "begins with", "text", pattern=lambda t: rf"\A{escape(t)}", test=_call("startswith"),
       sql=lambda v, value: f"starts_with({v}, {quote(value)})",
       sql_joined=lambda v, value: f"(starts_with({v}, {quote(value)}) OR contains({v}, {quote(_BREAK + value)}))"),
    Op("endswith", "ends with", "text", pattern=lambda t: rf"{escape(t)}\z", test=_call("endswith"),
       sql=lambda v, value: f"ends_with({v}, {quote(value)})",
       sql_joined=lambda v, value: f"(ends_with({v}, {quote(value)}) OR contains({v}, {quote(value + _BREAK)}))"),
    Op("regex", "matches", "text", pattern=lambda t: t, test=_regex_test, sql=_sql_regex),
    Op("not_regex", "does not match", "text", negates="regex"),
    Op("in", "is one of", "span", takes="many", pattern=_whole, test=_within, sql=_sql_within),
    Op("not_in", "is none of", "span", takes="many", negates="in"),
    Op("ip_eq", "is the address", "address", test=lambda t: _in_range(*[addresses.parse_address(t)] * 2), sql=_sql_same_address),
    Op("ip_startswith", "is an address that begins with", "address", test=_call("startswith"),
       sql=lambda v, value: f"starts_with({v}, {quote(value)})"),
    Op("ip_in_subnet", "is in the subnet", "address", test=lambda t: _in_range(*addresses.parse_subnet(t)), sql=_sql_in_subnet),
)  # fmt: skip

OPS: dict[str, Op] = {op.word: op for op in _ROWS}
"""Operator -> what it is and does, in the order in which people see them."""

ASSOCIATION_FIELDS = ("calling_ae", "called_ae", "source_ip", "tls_subject", "user")
"""What rules may ask of the sender; an empty one counts as missing."""
ADDRESS_FIELDS = ("source_ip",)
"""Those that hold an IP address: only these take the `ip_...` operators."""


def operator_names(*, address: bool = False) -> list[str]:
    """The operators for tags, or with `address` those for an IP address too."""
    return [op.word for op in OPS.values() if address or op.looks != "address"]
