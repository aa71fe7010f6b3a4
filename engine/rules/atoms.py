"""What is certain about leaves on the same tag: that one follows from another, or that no value satisfies both.

This is what `proof` may use. It errs on one side only: what is not known here counts as possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from engine.rules.addresses import parse_address, parse_subnet
from engine.rules.kinds import Kind
from engine.rules.leaf import Leaf
from engine.rules.moments import Moments

__all__ = ["possible"]


class Box(NamedTuple):
    """Values whose first moment is not before, and whose last is not after (each a value and -1, 0, +1: below, at, above)."""

    first_from: tuple[Any, int] | None
    last_to: tuple[Any, int] | None


def possible(leaves: Sequence[tuple[Leaf, bool]]) -> bool:
    """Whether an element may be such that each leaf on its tag is as told; False is proved, True is not.

    The element may hold several values: a positive test must be met by one of them, a negative one by none.
    """
    if _missing(leaves) or _unreadable(leaves):
        return True
    wanted: list[Leaf] = []
    banned: list[Leaf] = []
    for leaf, truth in leaves:
        if leaf.op.looks == "presence":
            if truth is leaf.negative:
                return False
            continue
        (wanted if truth is not leaf.negative else banned).append(leaf)
    return all(_one_value(leaf, banned) for leaf in wanted)


def _missing(leaves: Sequence[tuple[Leaf, bool]]) -> bool:
    """Whether all is as told when the tag is missing: nothing holds but `not_exists`."""
    return all(truth is (leaf.op.looks == "presence" and leaf.negative) for leaf, truth in leaves)


def _unreadable(leaves: Sequence[tuple[Leaf, bool]]) -> bool:
    """Whether all is as told when the tag is there and holds bytes or items: nothing holds but `exists`."""
    return all(truth is (leaf.op.looks == "presence" and not leaf.negative) for leaf, truth in leaves)


def _one_value(wanted: Leaf, banned: Sequence[Leaf]) -> bool:
    """Whether some value may satisfy `wanted` and none of `banned`."""
    exact = _constants(wanted)
    if exact is not None:
        tests = [leaf.test(leaf.kind) for leaf in banned if leaf.kind is not None]
        return any(not any(test is not None and test(value) for test in tests) for value in exact)
    return not any(_follows(wanted, leaf) for leaf in banned)


def _constants(leaf: Leaf) -> list[str] | None:
    """The only values that satisfy the leaf, where they can be listed: texts compared letter by letter."""
    kind = leaf.kind
    if kind is None or leaf.op.word not in ("eq", "in") or leaf.ignore_case or kind.parts or "LO" not in kind.vrs:
        return None
    return [str(kind.parse(value)) for value in leaf.values]


def _follows(one: Leaf, other: Leaf) -> bool:
    """Whether every value that satisfies `one` satisfies `other`, for certain."""
    if (one.op, one.values, one.ignore_case, one.kind) == (other.op, other.values, other.ignore_case, other.kind):
        return True
    if one.kind is None or one.kind is not other.kind:
        return False
    if one.op.looks == "span" and other.op.looks == "span" and not one.ignore_case:
        if other.ignore_case:
            return one.op.word in ("eq", "in") and other.op.word in ("eq", "in") and set(one.values) <= set(other.values)
        inner, outer = _boxes(one, one.kind), _boxes(other, one.kind)
        return inner is not None and outer is not None and all(any(_inside(a, b) for b in outer) for a in inner)
    return _text_follows(one, other)


def _text_follows(one: Leaf, other: Leaf) -> bool:
    if one.op.looks == "address" and other.op.looks == "address":
        return _address_follows(one, other)
    if one.op.looks != "text" or len(one.values) != 1 or len(other.values) != 1 or one.ignore_case or other.ignore_case:
        return False
    a, b = one.values[0], other.values[0]
    match one.op.word, other.op.word:
        case ("startswith", "startswith"):
            return a.startswith(b)
        case ("endswith", "endswith"):
            return a.endswith(b)
        case ("startswith" | "endswith" | "contains", "contains"):
            return b in a
    return False


def _address_follows(one: Leaf, other: Leaf) -> bool:
    inner, outer = _addresses(one), _addresses(other)
    return inner is not None and outer is not None and outer[0] <= inner[0] and inner[1] <= outer[1]


def _addresses(leaf: Leaf) -> tuple[str, str] | None:
    """First and last address that satisfy the leaf."""
    match leaf.op.word:
        case "ip_eq":
            return (parse_address(leaf.values[0]),) * 2
        case "ip_in_subnet":
            return parse_subnet(leaf.values[0])
    return None


def _boxes(leaf: Leaf, kind: Kind) -> list[Box] | None:
    """What a span operator asks of first and last; None where that depends on an offset from UTC, or on letters."""
    if kind.parts:
        return None
    out = []
    for value in leaf.values:
        try:
            parsed = kind.parse(value)
        except ValueError:
            continue
        if isinstance(parsed, Moments) and parsed.offset is not None:
            return None
        low, high = (parsed.first, parsed.last) if isinstance(parsed, Moments) else (parsed, parsed)
        out.append(_box(leaf.op.word, low, high))
    return out


def _box(word: str, low: Any, high: Any) -> Box:
    match word:
        case "gt":
            return Box((high, 1), None)
        case "ge":
            return Box((low, 0), None)
        case "lt":
            return Box(None, (low, -1))
        case "le":
            return Box(None, (high, 0))
    return Box((low, 0), (high, 0))


def _inside(a: Box, b: Box) -> bool:
    """Whether every value in `a` is in `b`."""
    begins = b.first_from is None or (a.first_from is not None and a.first_from >= b.first_from)
    return begins and (b.last_to is None or (a.last_to is not None and a.last_to <= b.last_to))
