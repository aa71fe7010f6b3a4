"""The transfer syntax policy of a `stow_rs` destination: a real Orthanc, and servers that take this and not that."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydicom import dcmread

from engine.destinations.base import Outgoing
from engine.dicom.codecs import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from engine.errors import Permanent
from engine.model import Outcome
from tests.destinations.support import deliver
from tests.destinations.test_stow_rs import XML, reference, response, to
from tests.dicom.test_convert import plain, write
from tests.dimse.support import part10, pydicom_files
from tests.doubles.server import Answer, Asked, serve
from tests.peers import orthanc

CONFIRMED, REFUSED = Outcome.CONFIRMED, Outcome.REFUSED
J2K, RLE, JPEG = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50"


def named(*names: str) -> list[Outgoing]:
    return [part10(f, i) for i, n in enumerate(names) for f in pydicom_files() if f.name == n]


class Picky:
    """Takes images of these transfer syntaxes, and says of others what `how` says."""

    def __init__(self, takes: set[str], how: Callable[[str], Answer | int]) -> None:
        self.takes, self.how = takes, how
        self.stored: dict[str, bytes] = {}
        self.requests: list[list[str]] = []

    def answer(self, asked: Asked) -> Answer:
        boundary = re.search(r"boundary=(\S+)", asked.headers["Content-Type"])[1].encode()  # type: ignore[index]
        bodies = [p.partition(b"\r\n\r\n")[2] for p in (b"\r\n" + asked.body).split(b"\r\n--" + boundary)[1:-1]]
        read = [(dcmread(io.BytesIO(body), stop_before_pixels=True), body) for body in bodies]
        self.requests.append([str(ds.file_meta.TransferSyntaxUID) for ds, _ in read])
        stored, failed = [], []
        for ds, body in read:
            uid, syntax = str(ds.SOPInstanceUID), str(ds.file_meta.TransferSyntaxUID)
            if syntax in self.takes:
                self.stored[uid] = body
                stored.append(reference(uid))
                continue
            said = self.how(syntax)
            if isinstance(said, Answer):
                return said
            failed.append(reference(uid, _00081197=said))
        return response(stored, failed, 202 if failed and stored else 409 if failed else 200)


@contextmanager
def picky(takes: set[str], how: Callable[[str], Answer | int] = lambda _: 0xC122) -> Iterator[tuple[Picky, str]]:
    server = Picky(takes, how)
    with serve(server.answer) as url:
        yield server, url


def grey(folder: Path, count: int) -> list[Outgoing]:
    for i in range(count):
        write(folder / f"{i}.dcm", np.full((1, 8, 8), i, "u2"), stored=12, SOPInstanceUID=f"1.2.3.44.{i}")
    return [part10(folder / f"{i}.dcm", i) for i in range(count)]


def syntax_of(body: bytes) -> str:
    return str(dcmread(io.BytesIO(body), stop_before_pixels=True).file_meta.TransferSyntaxUID)


def test_orthanc_gets_what_the_policy_says(tmp_path: Path) -> None:
    [original] = [f for f in pydicom_files() if f.name == "CT_small.dcm"]
    outgoing = named("CT_small.dcm", "MR_small_RLE.dcm", "rtplan.dcm", "SC_rgb_jpeg_dcmtk.dcm")
    with orthanc(tmp_path / "orthanc") as (_, url):
        for send, syntaxes in (
            ("jpeg_2000_lossless", [J2K, J2K, IMPLICIT_LITTLE, JPEG]),
            ("decompress", [EXPLICIT_LITTLE, EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_LITTLE]),
        ):
            receipts = deliver(to(f"{url}/dicom-web", transfer_syntax={"send": send}), outgoing)
            assert [(r.index, r.outcome) for r in receipts] == [(i, CONFIRMED) for i in range(4)]
            for one, receipt, syntax in zip(outgoing, receipts, syntaxes, strict=True):
                [found] = httpx.post(f"{url}/tools/lookup", content=one.sop_instance_uid, timeout=60).json()
                got = httpx.get(f"{url}{found['Path']}/file", timeout=60).content
                assert syntax_of(got) == syntax
                assert ("sent in" in receipt.words) == (syntax != one.transfer_syntax_uid)
                httpx.delete(f"{url}{found['Path']}", timeout=60).raise_for_status()
                if one is outgoing[0]:
                    (tmp_path / "got.dcm").write_bytes(got)
                    assert (plain(tmp_path / "got.dcm", None) == plain(original, None)).all()


@pytest.mark.parametrize(
    "how", [lambda _: 0xC122, lambda _: Answer(415, b"No JPEG here.", {"Content-Type": "text/plain"})], ids=["C122", "415"]
)
def test_what_is_not_taken_goes_in_the_next_way_and_only_that(how: Callable[[str], Answer | int]) -> None:
    outgoing = named("MR_small_RLE.dcm", "CT_small.dcm", "MR_small_implicit.dcm")
    with picky({EXPLICIT_LITTLE}, how) as (server, url):
        receipts = {r.index: r for r in deliver(to(url), outgoing)}
        assert [receipts[i].outcome for i in range(3)] == [CONFIRMED] * 3
        assert "sent in Explicit VR Little Endian" in receipts[0].words and "sent in" not in receipts[1].words
        assert server.stored[outgoing[1].sop_instance_uid] == outgoing[1].file.read()
        assert {syntax_of(body) for body in server.stored.values()} == {EXPLICIT_LITTLE}
        strict = {r.index: r for r in deliver(to(url, transfer_syntax={"fall_back": False}), outgoing)}
        assert [strict[i].outcome for i in range(3)] == [REFUSED, CONFIRMED, REFUSED]
        assert "sent in RLE Lossless" in strict[0].words
        assert ("Transfer Syntax not supported" in strict[0].words) or ("No JPEG here" in strict[0].words)
        assert len(receipts) == len(strict) == 3


def test_a_compression_that_is_not_taken_is_asked_for_once(tmp_path: Path) -> None:
    some = grey(tmp_path, 4)
    with picky({EXPLICIT_LITTLE}) as (server, url):
        receipts = deliver(to(url, instances_per_request=1, transfer_syntax={"send": "jpeg_2000_lossless"}), some)
        assert [r.outcome for r in receipts] == [CONFIRMED] * 4
        assert sorted(s for [s] in server.requests) == [*[EXPLICIT_LITTLE] * 4, *[J2K] * 2], "one was written beforehand"
        policy = {"send": "jpeg_2000_lossless", "otherwise": "refuse"}
        receipts = deliver(to(url, transfer_syntax=policy), some)
        assert [(r.outcome, r.code) for r in receipts] == [(REFUSED, "0xC122")] * 4
        assert all("JPEG 2000" in r.words for r in receipts)


def test_an_image_that_grows_keeps_to_the_request_and_a_damaged_one_stands_alone(tmp_path: Path) -> None:
    outgoing = named(*["MR_small_RLE.dcm"] * 3)
    copies: list[Outgoing] = []
    for i, one in enumerate(outgoing):
        (tmp_path / f"{i}.dcm").write_bytes(one.file.read())
        copies.append(part10(tmp_path / f"{i}.dcm", i))
    (tmp_path / "1.dcm").write_bytes((tmp_path / "1.dcm").read_bytes()[:3000])
    with picky({EXPLICIT_LITTLE}) as (server, url):
        receipts = {r.index: r for r in deliver(to(url, transfer_syntax={"send": "decompress"}), copies)}
        assert [receipts[i].outcome for i in range(3)] == [CONFIRMED, REFUSED, CONFIRMED]
        assert receipts[1].words
        assert [r for r in server.requests if r] == [[EXPLICIT_LITTLE]] * 2, "the same UID is never twice in a request"


def test_406_is_met_with_the_older_form_of_answer(tmp_path: Path) -> None:
    asked: list[str] = []

    def how(request: Asked) -> Answer:
        asked.append(request.headers["Accept"])
        if asked[-1] != "application/dicom+xml":
            return Answer(406, b"XML only", {"Content-Type": "text/plain"})
        uid = re.search(rb"1\.2\.3\.44\.\d", request.body)[0].decode()  # type: ignore[index]
        return Answer(200, XML.replace("1.2.4", uid).encode(), {"Content-Type": "application/dicom+xml"})

    with serve(how) as url:
        receipts = deliver(to(url, instances_per_request=1), grey(tmp_path, 2))
    assert [r.outcome for r in receipts] == [CONFIRMED] * 2
    assert asked == ["application/dicom+json", "application/dicom+xml", "application/dicom+xml"]
    with serve(lambda _: Answer(406, b"")) as url, pytest.raises(Permanent, match="406 Not Acceptable"):
        deliver(to(url), grey(tmp_path, 1))
