"""multipart/related as it streams: however it is cut, the same parts come out; what is cut off is told."""

from __future__ import annotations

import email
import email.policy
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.connection.multipart import (
    MultipartError,
    MultipartParser,
    MultipartWriter,
    PartBegins,
    PartEnds,
    Truncated,
    boundary_of,
    media_type,
    read_parts,
)
from engine.dicom.content import Content, Slice

BOUNDARY = b"b0.und"
NASTY = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"\r\n", b"-", b"--", b"--b0.un", b"\r\n--b0.undX", b"\r\n--b0.und \tx", b"\0", b"pixels", b"\r\n--"]
    ),
    max_size=12,
).map(b"".join)  # fmt: skip
"""Bodies that nearly are delimiters. (A body that holds one is no body of this message: RFC 2046 5.1.1.)"""
PARTS = st.lists(st.tuples(st.sampled_from([{}, {"content-type": "application/dicom", "x-a": "1; b=2"}]), NASTY), max_size=4)


def message(parts: list[tuple[dict[str, str], bytes]], *, line: bytes = b"\r\n", preamble: bytes = b"") -> bytes:
    out = preamble + (line if preamble else b"")
    for headers, body in parts:
        out += b"--" + BOUNDARY + line
        out += b"".join(f"{k}: {v}".encode() + line for k, v in headers.items())
        out += line + body + line
    return out + b"--" + BOUNDARY + b"--" + line


def parse(data: bytes, cuts: list[int] | None = None) -> list[tuple[dict[str, str], bytes]]:
    parser, found = MultipartParser(BOUNDARY), []
    edges = [0, *sorted(min(c, len(data)) for c in cuts or []), len(data)]
    for start, stop in itertools.pairwise(edges):
        for event in parser.feed(data[start:stop]):
            if isinstance(event, PartBegins):
                found.append((dict(event.headers), []))
            elif isinstance(event, bytes):
                assert event
                found[-1][1].append(event)
            else:
                assert isinstance(event, PartEnds)
    parser.close()
    return [(headers, b"".join(body)) for headers, body in found]


@given(PARTS, st.lists(st.integers(0, 400), max_size=8))
def test_any_cut_gives_the_same_parts(parts: list[tuple[dict[str, str], bytes]], cuts: list[int]) -> None:
    assert parse(message(parts), cuts) == parts
    assert parse(message(parts, preamble=b"This is a message\r\nof parts.--b0.und"), cuts) == parts


def test_every_single_cut_and_every_byte_alone() -> None:
    parts = [({"content-type": "application/dicom"}, b"A\r\n--b0.unB\r\n"), ({}, b""), ({"a": "b"}, b"\r\r\n\n--")]
    data = message(parts, preamble=b"before")
    for cut in range(len(data) + 1):
        assert parse(data, [cut]) == parts
    assert parse(data, list(range(len(data)))) == parts


@given(PARTS, st.data())
def test_a_message_cut_off_anywhere_is_told(parts: list[tuple[dict[str, str], bytes]], data: st.DataObject) -> None:
    whole = message(parts)
    length = data.draw(st.integers(0, len(whole) - 3))  # the closing line's end is not needed
    with pytest.raises(Truncated, match=r"closing delimiter|stands nowhere"):
        parse(whole[:length])


def test_what_was_whole_before_the_end_is_given() -> None:
    data = message([({}, b"one"), ({}, b"two")])
    parser = MultipartParser(BOUNDARY)
    events = parser.feed(data[: data.index(b"two") + 2])
    assert events.count(PartEnds()) == 1 and b"one" in events
    with pytest.raises(Truncated):
        parser.close()


def test_lines_that_end_in_lf_alone_are_read_where_the_first_does() -> None:
    parts = [({"content-type": "application/dicom"}, b"ends in CR\r"), ({}, b"")]
    data = message(parts, line=b"\n")
    for cut in range(len(data) + 1):
        assert parse(data, [cut]) == parts


def test_in_a_message_of_crlf_a_lone_lf_before_the_boundary_is_a_bodys_own() -> None:
    parts = [({}, b"pixels\n--b0.und\r\nmore")]
    assert parse(message(parts)) == parts


def test_padding_epilogue_folded_headers_and_a_part_without_body() -> None:
    data = (
        b"--b0.und \t \r\nContent-Type: application/dicom;\r\n  transfer-syntax=1.2\r\nX: 1\r\nX: 2\r\n\r\nbody"
        b"\r\n--b0.und\r\nA: b\r\n\r\n--b0.und--epilogue\r\n--b0.und\r\n"
    )
    expected = [
        ({"content-type": "application/dicom; transfer-syntax=1.2", "x": "1"}, b"body"), ({"a": "b"}, b""),
    ]  # fmt: skip
    for cut in range(len(data) + 1):
        assert parse(data, [cut]) == expected


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"x" * 70_000, "No delimiter"),
        (b"--b0.und\r\n" + b"a: " + b"b" * 20_000, "longer than 16 kB"),
        (b"--b0.und\r\nnonsense\r\n\r\n", "no name and colon"),
        (b"--b0.und\r\n: x\r\n\r\n", "no name and colon"),
    ],
)
def test_what_is_no_message_is_told(data: bytes, words: str) -> None:
    with pytest.raises(MultipartError, match=words):
        parse(data, list(range(0, len(data), 1000)))


def test_memory_stays_at_a_chunk() -> None:
    parser = MultipartParser(BOUNDARY)
    parser.feed(b"--b0.und\r\n\r\n")
    chunk = (b"\r\n--b0.un" * 8000)[: 1 << 16]
    for _ in range(100):
        out = b"".join(e for e in parser.feed(chunk) if isinstance(e, bytes))
        assert len(chunk) - 20 <= len(out) <= len(chunk) + 20


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary="a b/c:;=\\"d"', b'a b/c:;="d'),
        ("Multipart/Related;boundary=abc;type=application/dicom", b"abc"),
        ("multipart/related; type=application/dicom; boundary=x--y ; start=1", b"x--y"),
        ('multipart/related; type="boundary=no"; BOUNDARY=yes', b"yes"),
    ],
)
def test_boundaries(header: str, boundary: bytes) -> None:
    assert boundary_of(header) == boundary


@pytest.mark.parametrize(
    "header",
    ["", "application/dicom", "multipart/related", 'multipart/related; boundary=""', f"multipart/related; boundary={'x' * 300}",
     "multipart/related; boundary=ü", 'multipart/related; boundary="a\tb"'],
)  # fmt: skip
def test_boundaries_that_are_none(header: str) -> None:
    with pytest.raises(MultipartError):
        boundary_of(header)


def test_media_types() -> None:
    assert media_type("application/dicom") == ("application/dicom", {})
    assert media_type('Application/DICOM+json; charset="utf-8"; transfer-syntax=1.2') == (
        "application/dicom+json",
        {"charset": "utf-8", "transfer-syntax": "1.2"},
    )


def pieces(data: bytes, size: int = 7) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def test_parts_as_they_stream() -> None:
    parts = [({"content-type": "Application/DICOM; x=1"}, b"one" * 50), ({}, b"two" * 50), ({}, b"three")]
    data = message(parts)
    content_type = 'multipart/related; boundary="b0.und"'
    found = [(part.content_type, b"".join(part), part.whole) for part in read_parts(pieces(data), content_type)]
    assert found == [("application/dicom", b"one" * 50, True), ("", b"two" * 50, True), ("", b"three", True)]
    passed_over = [next(iter(part)) for part in read_parts(pieces(data), content_type)]
    assert [text[:1] for text in passed_over] == [b"o", b"t", b"t"]


def test_a_part_that_breaks_off_is_never_whole() -> None:
    data = message([({}, b"one"), ({}, b"two")])
    seen = []
    with pytest.raises(Truncated):
        for part in read_parts(pieces(data[: data.index(b"two") + 3]), "multipart/related; boundary=b0.und"):
            seen.append(part)
            b"".join(part)
    assert [part.whole for part in seen] == [True, False]


def test_what_is_written_is_read_again_and_has_the_length_it_says(tmp_path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"pixels" * 1000)
    bodies = [Content((b"head", Slice(file, 6, 5994))), Content((b"",)), Content((b"last\r\n",))]
    own = {"Content-Type": "application/dicom+json", "Content-Location": "a/b"}
    writer = MultipartWriter([({}, bodies[0]), (own, bodies[1]), ({}, bodies[2])])
    data = b"".join(writer)
    assert len(data) == writer.length
    assert b"".join(writer) == data
    found = [(dict(p.headers), b"".join(p)) for p in read_parts(pieces(data, 1000), writer.content_type)]
    assert found == [
        ({"content-type": "application/dicom"}, bodies[0].read()),
        ({"content-type": "application/dicom+json", "content-location": "a/b"}, b""),
        ({"content-type": "application/dicom"}, b"last\r\n"),
    ]
    other = email.message_from_bytes(
        b"Content-Type: " + writer.content_type.encode() + b"\r\n\r\n" + data, policy=email.policy.HTTP
    )
    types = [p.get_content_type() for p in other.iter_parts()]
    assert types == ["application/dicom", "application/dicom+json", "application/dicom"]
