"""What an HTTP peer says when it refuses, in its own words: from the bodies that peers use, trimmed for a line."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["peer_words", "trim"]

LONGEST = 400
_TAGS = re.compile(r"(?s)<(script|style)\b.*?</\1>|<[^>]*>")
_XML_ERROR = re.compile(r"(?s)<Message>(.*?)</Message>(?:.*?<Details>(.*?)</Details>)?")
_FAILURES = ("00081198", "0008119A")
_COMMENTS = ("00000902", "00090097")
"""A store response's failures (PS3.18 10.5.3), and what a peer adds to them: Error Comment, and Google's detail."""
_KEYS = ("title", "detail", "error_description", "message", "Message", "Details", "OrthancError", "reason")


def peer_words(content_type: str, body: bytes, hide: Callable[[str], str] = lambda text: text) -> str:
    """The sentence in an error's body, "" when there is none: problem details (RFC 9457), Google's error object, OAuth
    (RFC 6749 5.2), Cloud Storage's XML, Orthanc's JSON, a store response, a page of HTML, or plain text.

    `hide` takes secrets out, before anything is cut: half a secret is one, too.
    """
    text = body[:65_536].decode("utf-8", "replace")
    kind = content_type.partition(";")[0].strip().lower()
    if kind.endswith("json") or text.lstrip()[:1] in ("{", "["):
        try:
            return trim(hide(". ".join(dict.fromkeys(w.rstrip(". ") for w in _said(json.loads(text)) if w))))
        except (ValueError, RecursionError):
            pass  # cut off, or no JSON after all: then it is read as text
    if found := _XML_ERROR.search(text):
        return trim(hide(html.unescape(". ".join(filter(None, found.groups())))))
    if kind.endswith("html") or text.lstrip()[:1] == "<":
        text = html.unescape(_TAGS.sub(" ", text))
    return trim(hide(text)) if kind.startswith("text/") or kind.endswith(("html", "xml")) or not kind else ""


def _said(value: Any) -> Iterator[str]:
    """The texts of known keys, in the order in which they are usually read."""
    if isinstance(value, list):
        for one in value[:3]:
            yield from _said(one)
        return
    if not isinstance(value, dict):
        return
    for tag in (*_FAILURES, *_COMMENTS):
        inner = value.get(tag)
        for one in (inner.get("Value") or ())[:3] if isinstance(inner, dict) else ():
            if isinstance(one, dict):
                yield from _said(one)
            elif isinstance(one, str):
                yield one
    error = value.get("error")
    if isinstance(error, str):
        yield error
    elif error is not None:
        yield from _said(error)
    for key in _KEYS:
        if isinstance(text := value.get(key), str):
            yield text
    if isinstance(status := value.get("status"), str):
        yield status


def trim(text: str, longest: int = LONGEST) -> str:
    """One line of printable characters, cut with an ellipsis."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"
