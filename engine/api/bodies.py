"""What requests carry: JSON objects that the engine's own models judge, numbers in addresses, and `If-Match`."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from fastapi import Header, Request
from pydantic import BeforeValidator

from engine.errors import Invalid, Problem

__all__ = ["Flag", "Whole", "etag", "expected_revision", "read_object", "refuse_half_characters"]


_WHOLE = re.compile(r"-?[0-9]{1,18}")


def _whole(value: Any) -> Any:
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise ValueError("Write a whole number, in digits alone.")
    return value


def _flag(value: Any) -> Any:
    if isinstance(value, str) and value not in ("true", "false"):
        raise ValueError("Write true or false.")
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
"""A number in a query or a path: `1.0`, `1_000` and ` 1` would be taken too, though the document says integer."""

Flag = Annotated[bool, BeforeValidator(_flag)]
"""A switch in a query: `true` or `false`, as the document says; not `on`, `y` or `1`."""


async def read_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises Invalid: the sentence says what came instead."""
    raw = await request.body()
    try:
        body = json.loads(raw, object_pairs_hook=_once, parse_constant=_no_number)
    except ValueError as e:
        words = str(e) if isinstance(e, _TwiceError) else "The body is not JSON."
        raise Invalid([Problem((), words)]) from e
    except RecursionError as e:
        raise Invalid([Problem((), "The body is nested too deeply.")]) from e
    if not isinstance(body, dict):
        raise Invalid([Problem((), "The body must be a JSON object.")])
    refuse_half_characters(body)
    return body


def refuse_half_characters(value: Any) -> None:
    """JSON can write half of a character (`\\ud800`); nothing else can. Raises Invalid."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as e:
        raise Invalid([Problem((), "A text in the body holds half a character.")]) from e


class _TwiceError(ValueError):
    """A key that stands twice in an object."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise _TwiceError("An object in the body has a key twice.")
    return out


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def etag(revision: int) -> str:
    """The live revision as an entity tag."""
    return f'"{revision}"'


_ETAG = re.compile(r'(?:W/)?"(\d{1,9})"')


def expected_revision(
    if_match: Annotated[
        str,
        Header(
            description='The ETag of the answer that the change was made from, `"12"`; else 412.',
            json_schema_extra={"pattern": r'^(\*|(W/)?"[0-9]{1,9}")?$'},
        ),
    ] = "",
) -> int | None:
    """The revision that the change was made from, when the request says it."""
    if if_match.strip() in ("", "*"):
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if not found:
        raise Invalid([Problem(("If-Match",), 'If-Match takes the ETag of an earlier answer, such as "12".')])
    return int(found[1])
