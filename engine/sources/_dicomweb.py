"""Asking and fetching by DICOMweb: QIDO-RS (PS3.18 10.6) and WADO-RS (PS3.18 10.4), the same for every server of it.

Servers differ where it hurts, so: pages are asked for until one brings nothing new (some cap pages and do not say so, some
pass over `limit` and `offset`), 204 and an empty body are no matches, and a retrieve is whole only when its multipart
message was closed and as many instances came as the server had counted.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import quote

from engine.connection.http import HttpClient
from engine.connection.multipart import MultipartError, Part, media_type, read_parts
from engine.dicom.dictionary import implicit_vr
from engine.dicom.paths import TagPath
from engine.dicom.vr import BINARY, NUMBERS
from engine.durable import write_all
from engine.errors import OutOfSpace, Permanent, Retry
from engine.model import Incoming
from engine.sources._query import Batches, Match, Progress, Query, QuerySource, Retrieved, patients_of

__all__ = ["attribute_id", "canonical", "fetch", "metadata", "search", "try_query"]

_JSON = {"Accept": "application/dicom+json"}
_HEAD = 132  # preamble and DICM
_FLUSH_EVERY = 64 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


# --- QIDO-RS


def search(client: HttpClient, query: Query, page_size: int, stop: threading.Event) -> Iterator[Match]:
    """The matches of a query, page by page, each once. Raises Retry and Permanent as the client does."""
    if query.level == "patient":  # DICOMweb knows no such resource
        found = patients_of(query, lambda studies: search(client, studies, page_size, stop))
        yield from islice(found, query.offset, query.offset + query.limit if query.limit else None)
        return
    path, fixed = _search_path(query)
    parameters = _parameters(query, fixed)
    known: set[tuple[str, str, str]] = set()
    offset, left = query.offset, query.limit or None
    while not stop.is_set() and left != 0:
        size = page_size if left is None else min(page_size, left)
        page = _page(client, path, [*parameters, ("limit", str(size)), ("offset", str(offset))])
        fresh = 0
        for attributes in page:
            match = Match(query.level, fixed | canonical(attributes))
            if match.uids in known:
                continue
            known.add(match.uids)
            fresh += 1
            yield match
            if left is not None:
                left -= 1
                if left == 0:
                    return
        if not fresh:
            return
        offset += len(page)


def try_query(source: QuerySource) -> str:
    """Ask for one study: the sentence for a tick. Raises Retry and Permanent in the peer's words."""
    found = next(source.query(Query(limit=1), threading.Event()), None)
    return "a search was answered" + ("" if found else ": it has no studies")


def _search_path(query: Query) -> tuple[str, dict[str, Any]]:
    """The resource (PS3.18 10.6.1), and what the path says already: servers need not repeat it in their answers."""
    fixed: dict[str, Any] = {}
    path = ""
    for tag, resource, above in (("0020000D", "studies", "study"), ("0020000E", "series", "series")):
        uid = next((v.strip() for k, v in query.filters.items() if attribute_id(k) == tag), "")
        if query.level == above or not uid or any(c in uid for c in "*?\\"):
            break
        path += f"{resource}/{quote(uid, safe='')}/"
        fixed[tag] = {"vr": "UI", "Value": [uid]}
    return path + {"study": "studies", "series": "series", "instance": "instances"}[query.level], fixed


def _parameters(query: Query, fixed: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Filters as matches, everything that is wanted as `includefield` (PS3.18 8.3.4)."""
    filters = [(attribute_id(path), text) for path, text in query.filters.items()]
    wanted = dict.fromkeys(attribute_id(path) for path in query.wanted)
    return [
        *((tag, text) for tag, text in filters if text and tag not in fixed),
        *(("includefield", tag) for tag in wanted if tag not in fixed),
    ]


def attribute_id(path: str) -> str:
    """A tag path as QIDO-RS names it: `00100010`, `00400275.00400009`. Raises Permanent for a private element."""
    steps = TagPath.parse(path).steps
    if any(step.tag is None for step in steps):
        raise Permanent(f"{path} is private: DICOMweb can be asked for standard elements only.")
    return ".".join(f"{step.tag:08X}" for step in steps)


def _page(client: HttpClient, path: str, parameters: list[tuple[str, str]]) -> list[Mapping[str, Any]]:
    answer = client.request("GET", path, params=parameters, headers=_JSON)
    if answer.status_code == 204 or not answer.content.strip():
        return []
    try:
        page = json.loads(answer.content)
    except ValueError as e:
        kind = answer.headers.get("Content-Type", "no type")
        raise Retry(f"The answer is no DICOM JSON, but {kind}: {client.hide(str(e))}.") from e
    if not isinstance(page, list) or not all(isinstance(one, dict) for one in page):
        raise Retry("The answer is JSON, but no list of what was asked for: is the URL that of DICOMweb?")
    return page


def canonical(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """DICOM JSON (PS3.18 F.2) with values as the rest of the engine has them (`Header.as_json`)."""
    out: dict[str, Any] = {}
    for tag, element in attributes.items():
        if not isinstance(element, Mapping) or len(tag) != 8:
            continue
        vr = str(element.get("vr") or _vr_of(tag))
        values = element.get("Value")
        if vr in BINARY or not isinstance(values, list):
            values = []
        converted = [_value(vr, value) for value in values]
        while converted and converted[-1] == "":
            converted.pop()
        out[tag.upper()] = {"vr": vr, "Value": converted} if converted else {"vr": vr}
    return out


def _vr_of(tag: str) -> str:
    try:
        return implicit_vr(int(tag, 16)) or "UN"
    except ValueError:
        return "UN"


def _value(vr: str, value: Any) -> Any:
    if vr == "SQ":
        return canonical(value) if isinstance(value, Mapping) else {}
    if vr == "PN" and isinstance(value, Mapping):
        groups = [str(value.get(name) or "") for name in ("Alphabetic", "Ideographic", "Phonetic")]
        return _whole("=".join(groups).rstrip("="))
    if value is None:
        return ""
    if vr in NUMBERS and vr != "AT":
        return _number(vr, value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # an IS or DS, as a server's JSON writer had it
    return _whole(str(value).rstrip(" \0"))


def _whole(text: str) -> str:
    """Text without half characters, which JSON can say (`"\\ud800"`) and no database takes."""
    return text.encode("utf-8", "replace").decode()


def _number(vr: str, value: Any) -> Any:
    try:
        return float(value) if vr in ("FL", "FD") else int(value)
    except (TypeError, ValueError):
        return str(value)


# --- WADO-RS


def fetch(
    client: HttpClient, match: Match, batches: Batches, stop: threading.Event, progress: Progress, transfer_syntax: str = "*"
) -> Retrieved:
    """Everything of a match, each instance as the server has it, streamed into the spool.

    Raises Retry when the server breaks off, in the middle of the message too, and Permanent when it refuses.
    """
    kind = 'multipart/related; type="application/dicom"'
    accept = f"{kind}; transfer-syntax={transfer_syntax}" if transfer_syntax else kind
    failed: list[str] = []
    with client.stream("GET", _retrieve_path(match), headers={"Accept": accept}) as answer:
        for part in _parts(client, answer):
            _store(part, batches, failed, stop)
            progress(batches.received, match.instances)
            if stop.is_set():
                return Retrieved(batches.received, match.instances, words="It was stopped before its end.")
        partial = answer.status_code == 206
    words = failed[0] if failed else ""
    if partial:
        words = words or "The peer says that it sent a part only (206 Partial Content)."
    elif match.instances is not None and batches.received + len(failed) < match.instances:
        words = words or f"The peer sent {batches.received} of the {match.instances} instances that it counted."
    return Retrieved(batches.received, match.instances, len(failed), words)


def metadata(client: HttpClient, match: Match) -> list[Mapping[str, Any]]:
    """The headers of everything of a match (PS3.18 10.4.1.1.2), as the server's JSON has them."""
    return _page(client, f"{_retrieve_path(match)}/metadata", [])


def _retrieve_path(match: Match) -> str:
    names = zip(("studies", "series", "instances"), match.uids, strict=True)
    return "/".join(f"{name}/{quote(uid, safe='')}" for name, uid in names if uid)


def _parts(client: HttpClient, answer: Any) -> Iterator[Part | Iterable[bytes]]:
    """The instances of an answer. A message that breaks off raises Retry: it is asked for again."""
    content_type = answer.headers.get("Content-Type", "")
    chunks = client.chunks(answer)
    if media_type(content_type)[0] == "application/dicom":  # one instance, not wrapped: some servers do so
        yield chunks
        return
    try:
        yield from read_parts(chunks, content_type)
    except MultipartError as e:
        raise Retry(f"The peer's answer is not whole: {e}") from e


def _store(part: Iterable[bytes], batches: Batches, failed: list[str], stop: threading.Event) -> None:
    """One instance into the spool, its bytes as they come; what is no Part 10 file is counted as failed.

    Raises Retry when the message ends within it: what is not whole does not count.
    """
    stream = iter(part)
    try:
        first = _at_least(stream, _HEAD)
        if first[128:_HEAD] != b"DICM":
            failed.append("The peer sent what is no DICOM file: DICM does not stand at byte 128.")
            return
        incoming = batches.receive(first[:_HEAD])
        try:
            whole = _write(incoming, first[_HEAD:], stream, stop)
        except BaseException:
            incoming.discard()
            raise
        if whole:
            batches.commit(incoming)
        else:
            incoming.discard()
    except MultipartError as e:
        raise Retry(f"The peer's answer is not whole: {e}") from e
    except OSError as e:
        if e.errno in _FULL:
            raise OutOfSpace("The disk of the spool is full: make room; fetching goes on then.") from e
        raise


def _at_least(stream: Iterator[bytes], size: int) -> bytes:
    first = b""
    for chunk in stream:
        first += chunk
        if len(first) >= size:
            break
    return first


def _write(incoming: Incoming, first: bytes, stream: Iterator[bytes], stop: threading.Event) -> bool:
    """Whether it was written to its end; False: it was stopped."""
    write_all(incoming.fd, first)
    unflushed = len(first)
    for chunk in stream:
        if stop.is_set():
            return False
        write_all(incoming.fd, chunk)
        unflushed += len(chunk)
        if unflushed >= _FLUSH_EVERY:  # so that the commit of a huge instance does not have to do it all
            os.fdatasync(incoming.fd)
            unflushed = 0
    return True
