"""multipart/related (RFC 2046 5.1, RFC 2387), as DICOMweb sends it both ways: read and written as it streams.

Reading is fed with chunks cut anywhere and holds no more than a chunk and a delimiter. Bytes of a part come out exactly as
they stood. Lines end as the first delimiter's does: CRLF, or LF alone where a sender writes so.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from engine.errors import AxiomError

__all__ = [
    "Body", "MultipartError", "MultipartParser", "MultipartWriter", "Part", "PartBegins", "PartEnds", "Truncated",
    "boundary_of", "media_type", "read_parts",
]

LARGEST_HEADERS: Final = 16 << 10
LARGEST_PREAMBLE: Final = 64 << 10
LARGEST_PADDING: Final = 256
LARGEST_BOUNDARY: Final = 256
"""RFC 2046 allows 70 characters; senders have been seen to use more."""


class MultipartError(AxiomError):
    """The bytes are no multipart message. The words say what stands where."""


class Truncated(MultipartError):
    """The message ended before its closing delimiter: what was being read is not whole."""


@dataclass(frozen=True, slots=True)
class PartBegins:
    """A part's headers have come: names in lower case."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartEnds:
    """The part that began last is whole."""


Event = PartBegins | bytes | PartEnds
"""What `MultipartParser.feed` gives: for each part its beginning, its bytes in any number of runs, its end."""

_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;"]*))')


def media_type(value: str) -> tuple[str, dict[str, str]]:
    """A Content-Type's type, in lower case, and its parameters (RFC 9110 8.3.1), values as written.

    Values that should be quoted and are not (`type=application/dicom`) are taken as they stand.
    """
    kind = value.partition(";")[0].strip().lower()
    parameters: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(value[value.find(";") :] if ";" in value else ""):
        parameters.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or plain.strip())
    return kind, parameters


def boundary_of(content_type: str) -> bytes:
    """The boundary that a multipart Content-Type names. Raises MultipartError when it names none that can be."""
    kind, parameters = media_type(content_type)
    if not kind.startswith("multipart/"):
        raise MultipartError(f"The body is {kind or 'of no type'}, not multipart.")
    boundary = parameters.get("boundary", "").rstrip(" ")
    if not boundary:
        raise MultipartError("The Content-Type of a multipart body has to name its boundary; this one does not.")
    if len(boundary) > LARGEST_BOUNDARY or not boundary.isascii() or not boundary.isprintable():
        raise MultipartError("The boundary in the Content-Type is too long, or holds what a boundary cannot.")
    return boundary.encode("ascii")


class MultipartParser:
    """Takes a message's chunks, gives its parts. A line that only begins like a delimiter stays the part's own."""

    def __init__(self, boundary: bytes) -> None:
        self._mark = b"--" + boundary
        self._buffer = b"\n"  # so that a delimiter at the very start stands behind a line's end, as all do
        self._delimiter = b"\n" + self._mark
        self._step = self._preamble
        self._seen = 0
        self.finished = False
        """Whether the closing delimiter has come; what follows it is passed over."""

    def feed(self, chunk: bytes) -> list[Event]:
        """What the next bytes complete. Raises MultipartError for what cannot be a multipart message."""
        if self.finished:
            return []
        self._buffer += chunk
        events: list[Event] = []
        while self._step(events):
            pass
        return events

    def close(self) -> None:
        """To be called when no bytes are left. Raises Truncated unless the message was whole."""
        if not self.finished:
            began = self._step != self._preamble
            words = "ended before its closing delimiter" if began else "has no delimiter: its boundary stands nowhere in it"
            raise Truncated(f"The multipart message {words}.")

    def _preamble(self, events: list[Event]) -> bool:
        at = self._buffer.find(self._delimiter)
        if at < 0:
            self._drop(max(0, len(self._buffer) - len(self._delimiter)))
            return False
        end = self._behind(at)
        if end is None:
            self._drop(at)
            return False
        if end < 0:
            self._drop(at + 1)
            return True
        if not self.finished and self._buffer[end - 2 : end] == b"\r\n":
            self._delimiter = b"\r" + self._delimiter
        self._buffer = self._buffer[end:]
        self._step, self._seen = self._headers, 0
        return not self.finished

    def _drop(self, count: int) -> None:
        self._seen += count
        self._buffer = self._buffer[count:]
        if self._seen > LARGEST_PREAMBLE:
            raise MultipartError("No delimiter with the boundary of the Content-Type stands at the start of the body.")

    def _behind(self, at: int) -> int | None:
        """Where the delimiter's line at `at` ends; -1: it is no delimiter; None: more is needed to tell."""
        start = at + len(self._delimiter)
        rest = self._buffer[start : start + LARGEST_PADDING + 2]
        if rest.startswith(b"--"):
            self.finished = True
            return start + 2
        padding = len(rest) - len(rest.lstrip(b" \t"))
        line = rest[padding : padding + 2]
        if line.startswith(b"\n"):
            return start + padding + 1
        if line == b"\r\n":
            return start + padding + 2
        undecided = line in (b"", b"\r") or rest == b"-"
        return None if undecided and len(rest) < LARGEST_PADDING + 2 else -1

    def _headers(self, events: list[Event]) -> bool:
        found = _BLANK.search(self._buffer)
        if (found.end() if found else len(self._buffer)) > LARGEST_HEADERS:
            raise MultipartError(f"The headers of a part are longer than {LARGEST_HEADERS >> 10} kB.")
        if not found:
            return False
        events.append(PartBegins(_headers_of(self._buffer[: found.start()])))
        # the blank line's own end may belong to a delimiter: a part without a body needs no line of its own
        line_end = min(found.end(), len(self._delimiter) - len(self._mark))
        self._buffer = self._buffer[found.end() - line_end :]
        self._step, self._seen = self._body_begins, line_end
        return True

    def _body_begins(self, events: list[Event]) -> bool:
        if self._delimiter.startswith(self._buffer[: len(self._delimiter)]):
            end = self._behind(0) if len(self._buffer) >= len(self._delimiter) else None
            if end is None:
                return False
            if end > 0:
                return self._end_part(events, end)
        self._buffer = self._buffer[self._seen :]
        self._step = self._body
        return True

    def _body(self, events: list[Event]) -> bool:
        buffer, start = self._buffer, 0
        while (at := buffer.find(self._delimiter, start)) >= 0:
            end = self._behind(at)
            if end is None:
                break
            if end > 0:
                if at:
                    events.append(buffer[:at])
                return self._end_part(events, end)
            start = at + 1
        if at < 0:  # a delimiter may have begun at the buffer's end
            at = buffer.find(self._delimiter[:1], max(start, len(buffer) - len(self._delimiter) + 1))
            while at >= 0 and not self._delimiter.startswith(buffer[at:]):
                at = buffer.find(self._delimiter[:1], at + 1)
        keep = at if at >= 0 else len(buffer)
        if keep:
            events.append(buffer[:keep])
            self._buffer = buffer[keep:]
        return False

    def _end_part(self, events: list[Event], end: int) -> bool:
        events.append(PartEnds())
        self._buffer = b"" if self.finished else self._buffer[end:]
        self._step = self._headers
        return not self.finished


_BLANK = re.compile(rb"\A\r?\n|\r?\n\r?\n")


def _headers_of(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    unfolded = re.sub(rb"\r?\n[ \t]+", b" ", block)
    for line in filter(None, re.split(rb"\r?\n", unfolded)):
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name.strip():
            raise MultipartError("A part's header line has no name and colon.")
        headers.setdefault(name.strip().lower(), value.strip())
    return headers


class Part:
    """One part of a message as it streams: iterate it once for its bytes. Going on to the next part passes over the rest."""

    def __init__(self, headers: Mapping[str, str], events: Iterator[Event]) -> None:
        self.headers = headers
        """Names in lower case."""
        self._events = events
        self.whole = False
        """Whether its end has been read."""

    @property
    def content_type(self) -> str:
        """In lower case and without parameters; "" when it has none."""
        return media_type(self.headers.get("content-type", ""))[0]

    def __iter__(self) -> Iterator[bytes]:
        """Raises Truncated when the message ends within the part, MultipartError when it breaks, and what its chunks raise."""
        while not self.whole:
            event = next(self._events)
            if isinstance(event, bytes):
                yield event
            else:
                self.whole = True


def read_parts(chunks: Iterable[bytes], content_type: str) -> Iterator[Part]:
    """A message's parts, as they stream. Raises MultipartError (Truncated when it ends too early) where it shows.

    `content_type`: the message's own header, which names the boundary.
    """
    parser = MultipartParser(boundary_of(content_type))
    events = _events(parser, chunks)
    for event in events:
        if isinstance(event, PartBegins):
            part = Part(event.headers, events)
            yield part
            for _ in part:
                pass


def _events(parser: MultipartParser, chunks: Iterable[bytes]) -> Iterator[Event]:
    for chunk in chunks:
        yield from parser.feed(chunk)
    parser.close()


class Body(Protocol):
    """The bytes of a part to be written: `engine.dicom.content.Content` is one."""

    @property
    def length(self) -> int: ...

    def chunks(self) -> Iterator[bytes]: ...


class MultipartWriter:
    """A multipart/related message made of bodies that are read while it is sent. May be iterated again (a retry).

    `length` is known beforehand, for a Content-Length. The boundary is random, 122 bits: it stands in no body.
    """

    def __init__(self, parts: Sequence[tuple[Mapping[str, str], Body]], part_type: str = "application/dicom") -> None:
        """`parts`: each with its headers (without any, it gets its Content-Type from `part_type`)."""
        self._boundary = f"axiom-{secrets.token_hex(16)}"
        self._parts = [(self._head(headers or {"Content-Type": part_type}), body) for headers, body in parts]
        self._closing = f"--{self._boundary}--\r\n".encode()
        self.content_type = f'multipart/related; type="{part_type}"; boundary={self._boundary}'
        """For the request's Content-Type."""
        self.length = sum(len(head) + body.length + 2 for head, body in self._parts) + len(self._closing)

    def __iter__(self) -> Iterator[bytes]:
        """Raises what reading a body raises: the message is then broken off, and its receiver sees so."""
        for head, body in self._parts:
            yield head
            yield from body.chunks()
            yield b"\r\n"
        yield self._closing

    def _head(self, headers: Mapping[str, str]) -> bytes:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"--{self._boundary}\r\n{lines}\r\n".encode("latin-1")
