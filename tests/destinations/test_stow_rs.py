"""STOW-RS out: a real Orthanc, and a server that answers as servers do when something is wrong."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.connection.multipart import MultipartWriter
from engine.destinations._store_response import parse_store_response
from engine.destinations.stow_rs import StowRs
from engine.dicom.content import Content
from engine.errors import Permanent, Retry
from engine.model import Outcome, Receipt
from tests.destinations.support import deliver, instance, instances
from tests.doubles.server import Answer, Asked, serve
from tests.peers import orthanc

CONFIRMED, RETRY, REFUSED = Outcome.CONFIRMED, Outcome.RETRY, Outcome.REFUSED
JSON = {"Content-Type": "application/dicom+json"}


@pytest.fixture(scope="module")
def orthanc_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as (_, url):
        yield url


def to(url: str, **more: object) -> StowRs:
    return StowRs.model_validate({"name": "pacs", "url": url, "http": {"silence_seconds": 60}, **more})


def test_what_orthanc_gives_back_is_what_was_sent(orthanc_url: str, tmp_path: Path) -> None:
    some = [instance(tmp_path, i, uid=f"1.2.90.{i + 1}", pixels=bytes([i, 1]) * 40_000) for i in range(7)]
    receipts = deliver(to(f"{orthanc_url}/dicom-web", instances_per_request=3), some)
    assert [(r.index, r.outcome, r.code) for r in receipts] == [(i, CONFIRMED, "200") for i in range(7)]
    for one, receipt in zip(some, receipts, strict=True):
        assert receipt.location.endswith(f"/instances/{one.sop_instance_uid}")
        [found] = httpx.post(f"{orthanc_url}/tools/lookup", content=one.sop_instance_uid).json()
        got = httpx.get(f"{orthanc_url}{found['Path']}/file").content
        assert got.endswith(one.data_set.read())


def test_orthanc_refuses_what_it_cannot_read_and_that_alone(orthanc_url: str, tmp_path: Path) -> None:
    """Orthanc drops a part that is no DICOM without a word, and answers 400 when it could store none."""
    some = [instance(tmp_path, i, uid=f"1.2.91.{i + 1}") for i in range(4)]
    damaged = some[2].data_set.pieces[0]
    assert not isinstance(damaged, bytes)
    damaged.path.write_bytes(b"\0" * damaged.path.stat().st_size)
    outcomes = {r.index: r for r in deliver(to(f"{orthanc_url}/dicom-web"), some)}
    assert [outcomes[i].outcome for i in (0, 1, 3)] == [CONFIRMED] * 3
    assert outcomes[2].outcome is not CONFIRMED
    assert outcomes[2].words


def test_orthanc_leaves_the_standard_where_the_manual_says(orthanc_url: str, tmp_path: Path) -> None:
    """docs/how-to/dicomweb-out.md: when this fails, Orthanc has changed, and the list there with it."""
    good = instance(tmp_path, 0, uid="1.2.92.1").file
    bare = Content((good.read().replace(b"\x20\0\x0e\0UI", b"\x20\0\x0f\0UI"),))  # of no series: Orthanc does not store it
    rubbish = Content((b"no DICOM at all" * 20,))

    def ask(*parts: tuple[dict[str, str], Content], accept: str = "application/dicom+json") -> httpx.Response:
        writer = MultipartWriter(list(parts))
        headers = {"Content-Type": writer.content_type, "Accept": accept}
        return httpx.post(f"{orthanc_url}/dicom-web/studies", content=iter(writer), headers=headers, timeout=60)

    none = ask(({}, bare))
    assert (none.status_code, none.headers.get("Content-Type")) == (400, None)
    [failed] = parse_store_response(none.content).failed.values()
    assert failed.reason == 0xC000
    dropped = ask(({}, good), ({}, rubbish))
    said = parse_store_response(dropped.content)
    assert (dropped.status_code, list(said.stored), said.failed, said.other) == (400, ["1.2.92.1"], {}, ())
    ignored = ask(({"Content-Type": "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"}, good))
    assert ignored.status_code == 200
    assert not parse_store_response(ignored.content).says_something
    single = httpx.post(
        f"{orthanc_url}/dicom-web/studies", content=good.read(), headers={"Content-Type": "application/dicom"}, timeout=60
    )
    assert single.status_code == 415
    assert b'<Value number="1" />' in ask(({}, good), accept="application/dicom+xml").content


class Server:
    """Takes store requests apart, and answers by `how`: it gets the UIDs of the request."""

    def __init__(self, how: Callable[[list[str], Asked], Answer]) -> None:
        self.requests: list[list[str]] = []
        self._how = how

    def answer(self, asked: Asked) -> Answer:
        boundary = re.search(r"boundary=(\S+)", asked.headers["Content-Type"])[1].encode()  # type: ignore[index]
        parts = (b"\r\n" + asked.body).split(b"\r\n--" + boundary)[1:-1]
        assert asked.headers["Content-Length"] == str(len(asked.body))
        uids = [re.search(rb"1\.2\.3\.\d+", part)[0].decode() for part in parts]  # type: ignore[index]
        self.requests.append(uids)
        return self._how(uids, asked)


@pytest.fixture
def serving() -> Iterator[Callable[[Callable[[list[str], Asked], Answer]], tuple[Server, str]]]:
    with ExitStack() as stack:

        def start(how: Callable[[list[str], Asked], Answer]) -> tuple[Server, str]:
            server = Server(how)
            return server, stack.enter_context(serve(server.answer))

        yield start


Serving = Callable[[Callable[[list[str], Asked], Answer]], tuple[Server, str]]


def reference(uid: str, **more: Any) -> dict[str, Any]:
    return {"00081155": {"vr": "UI", "Value": [uid]}} | {k[1:]: {"vr": "US", "Value": [v]} for k, v in more.items()}


def response(stored: list[Any] = [], failed: list[Any] = [], status: int = 200) -> Answer:  # noqa: B006
    body: dict[str, Any] = {"00081199": {"vr": "SQ", "Value": stored}} if stored else {}
    body |= {"00081198": {"vr": "SQ", "Value": failed}} if failed else {}
    return Answer(status, json.dumps(body).encode(), JSON)


def by_index(receipts: list[Receipt]) -> list[Outcome]:
    return [r.outcome for r in sorted(receipts, key=lambda r: r.index)]


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [(0xA700, RETRY), (0x0110, RETRY), (0xA900, REFUSED), (0xC000, REFUSED), (0x0122, REFUSED), (0xC122, REFUSED),
     (0x0124, REFUSED), (0x0111, CONFIRMED), (0xB00E, CONFIRMED), (0, REFUSED)],
)  # fmt: skip
def test_each_failure_reason_of_a_partly_stored_request(
    serving: Serving, tmp_path: Path, reason: int, outcome: Outcome
) -> None:
    def how(uids: list[str], _: Asked) -> Answer:
        return response([reference(u) for u in uids[1:]], [reference(uids[0], _00081197=reason)], 202)

    _, url = serving(how)
    receipts = deliver(to(url), instances(tmp_path, 3))
    assert by_index(receipts) == [outcome, CONFIRMED, CONFIRMED]
    assert all(r.words for r in receipts if r.index == 0)


def test_already_there_can_be_refused(serving: Serving, tmp_path: Path) -> None:
    _, url = serving(lambda uids, _: response(failed=[reference(u, _00081197=0x0111) for u in uids], status=409))
    assert by_index(deliver(to(url, already_there="refuse"), instances(tmp_path, 2))) == [REFUSED] * 2


def test_a_warning_is_told_and_confirms(serving: Serving, tmp_path: Path) -> None:
    _, url = serving(lambda uids, _: response([reference(u, _00081196=0xB000) for u in uids]))
    [receipt] = deliver(to(url), instances(tmp_path, 1))
    assert (receipt.outcome, receipt.code, receipt.words) == (CONFIRMED, "0xB000", "Warning: Coercion of data elements")


def test_what_an_answer_does_not_name_is_sent_again_alone_and_never_counted_as_sent(
    serving: Serving, tmp_path: Path
) -> None:
    def how(uids: list[str], _: Asked) -> Answer:
        return response([reference(u) for u in uids if u != "1.2.3.1"])

    server, url = serving(how)
    receipts = deliver(to(url), instances(tmp_path, 3))
    assert by_index(receipts) == [CONFIRMED, RETRY, CONFIRMED]
    assert server.requests == [["1.2.3.0", "1.2.3.1", "1.2.3.2"], ["1.2.3.1"]]


UNREAD = {
    "no answer": (Answer(200, b"", JSON), "is empty"),
    "a proxy's page": (Answer(200, b"<html><body>Welcome</body></html>"), "cannot be read"),
    "half of the JSON": (Answer(200, b'{"00081199": {"vr": "SQ", "Val', JSON), "cannot be read"),
    "JSON of no data set": (Answer(200, b"3", JSON), "cannot be read"),
    "entities": (Answer(200, b'<!DOCTYPE x [<!ENTITY a "aa">]><NativeDicomModel/>'), "cannot be read"),
}


@pytest.mark.parametrize("case", UNREAD)
def test_success_without_a_store_response_confirms_nothing(serving: Serving, tmp_path: Path, case: str) -> None:
    answer, words = UNREAD[case]
    _, url = serving(lambda *_: answer)
    receipts = deliver(to(url), instances(tmp_path, 2))
    assert by_index(receipts) == [RETRY] * 2
    assert all(words in r.words for r in receipts)


@pytest.mark.parametrize("status", [413, 400, 415, 409])
def test_a_refused_request_is_halved_down_to_the_image_at_fault(serving: Serving, tmp_path: Path, status: int) -> None:
    def how(uids: list[str], _: Asked) -> Answer:
        if "1.2.3.5" in uids:
            return Answer(status, b"That one.", {"Content-Type": "text/plain"})
        return response([reference(u) for u in uids])

    server, url = serving(how)
    receipts = deliver(to(url), instances(tmp_path, 8))
    assert by_index(receipts) == [CONFIRMED] * 5 + [REFUSED] + [CONFIRMED] * 2
    [refused] = [r for r in receipts if r.index == 5]
    assert refused.code == str(status)
    assert "That one." in refused.words
    assert len(server.requests) == 7


def test_requests_are_bounded_in_number_and_bytes_and_hold_a_uid_once(serving: Serving, tmp_path: Path) -> None:
    server, url = serving(lambda uids, _: response([reference(u) for u in uids]))
    some = [instance(tmp_path, i, pixels=b"\1\2" * 300_000) for i in range(4)]
    deliver(to(url, megabytes_per_request=1), some)
    assert [len(r) for r in server.requests] == [1, 1, 1, 1]
    server.requests.clear()
    again = instance(tmp_path, 4, uid="1.2.3.1", pixels=b"\3\4" * 10)
    deliver(to(url, megabytes_per_request=3, instances_per_request=3), [*some[:2], again, *some[2:]])
    assert server.requests == [["1.2.3.0", "1.2.3.1"], ["1.2.3.1", "1.2.3.2", "1.2.3.3"]]


BROKEN: dict[str, tuple[Answer, type[Exception], str]] = {
    "half an answer": (Answer(200, json.dumps({"00081199": {"vr": "SQ"}}).encode() * 9, JSON, cut=20), Retry, "broke off"),
    "429": (Answer(429, b"", {"Retry-After": "7"}), Retry, "429"),
    "500": (Answer(500, b"Oops", {"Content-Type": "text/plain"}), Retry, "500 Internal Server Error: Oops"),
    "503": (Answer(503, b""), Retry, "503"),
    "507": (Answer(507, b""), Retry, "507"),
    "401": (Answer(401, b""), Permanent, "look at the authentication"),
    "403": (Answer(403, b""), Permanent, "may not do this"),
    "404": (Answer(404, b""), Permanent, "look at the URL"),
    "302": (Answer(302, b"", {"Location": "/login"}), Permanent, "lose its body"),
    "silence": (Answer(silent=True), Retry, "fell silent"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_breaks_is_told_and_nothing_counts_as_sent(serving: Serving, tmp_path: Path, case: str) -> None:
    answer, error, words = BROKEN[case]
    _, url = serving(lambda *_: answer)
    receipts: list[Receipt] = []
    silence = 0.5 if case == "silence" else 60
    with pytest.raises(error, match=re.escape(words)) as caught:
        to(url, http={"silence_seconds": silence}).deliver(instances(tmp_path, 2), receipts.append, threading.Event())
    assert not receipts
    if case == "429":
        assert caught.value.after == 7  # type: ignore[attr-defined]


def test_a_full_server_is_spared_the_rest(serving: Serving, tmp_path: Path) -> None:
    server, url = serving(lambda uids, _: response(failed=[reference(u, _00081197=0xA700) for u in uids], status=409))
    receipts: list[Receipt] = []
    with pytest.raises(Retry, match="10 times in a row: Refused: Out of resources"):
        to(url, instances_per_request=1).deliver(instances(tmp_path, 30), receipts.append, threading.Event())
    assert len(server.requests) == 10
    assert {r.outcome for r in receipts} == {RETRY}


def test_a_spool_file_that_is_too_short_refuses_that_image_alone(serving: Serving, tmp_path: Path) -> None:
    _, url = serving(lambda uids, _: response([reference(u) for u in uids]))
    some = instances(tmp_path, 4)
    piece = some[1].data_set.pieces[0]
    assert not isinstance(piece, bytes)
    piece.path.write_bytes(piece.path.read_bytes()[:-100])
    receipts = deliver(to(url), some)
    assert by_index(receipts) == [CONFIRMED, REFUSED, CONFIRMED, CONFIRMED]


def test_it_stops_between_requests(serving: Serving, tmp_path: Path) -> None:
    stop = threading.Event()

    def how(uids: list[str], _: Asked) -> Answer:
        stop.set()
        return response([reference(u) for u in uids])

    _, url = serving(how)
    receipts = deliver(to(url, instances_per_request=2), instances(tmp_path, 6), stop)
    assert sorted(r.index for r in receipts) == [0, 1]


XML = """<?xml version="1.0" encoding="utf-8"?>
<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">
 <DicomAttribute tag="00081198" vr="SQ" keyword="FailedSOPSequence"><Item number="1">
   <DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2.3</Value></DicomAttribute>
   <DicomAttribute tag="00081197" vr="US"><Value number="1">272</Value></DicomAttribute>
   <DicomAttribute tag="00090097" vr="LT" privateCreator="GOOGLE"><Value number="1">It differs.</Value></DicomAttribute>
 </Item><Value number="1"/></DicomAttribute>
 <DicomAttribute tag="00081199" vr="SQ"><Item number="1">
   <DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2.4</Value></DicomAttribute>
   <DicomAttribute tag="00081190" vr="UR"><Value number="1">http://x/1</Value></DicomAttribute>
 </Item></DicomAttribute>
</NativeDicomModel>"""


def test_store_responses_in_xml_and_with_azures_details() -> None:
    said = parse_store_response(XML.encode())
    assert said.failed["1.2.3"] == (272, "It differs.")
    assert said.stored["1.2.4"] == ("http://x/1", 0)
    azure = {"00081198": {"vr": "SQ", "Value": [{
        "00081155": {"vr": "UI", "Value": ["1.2"]}, "00081197": {"vr": "US", "Value": [43264]},
        "00741048": {"vr": "SQ", "Value": [{"00000902": {"vr": "LO", "Value": ["StudyDate is no date"]}}]},
    }]}}  # fmt: skip
    assert parse_store_response(json.dumps(azure).encode()).failed["1.2"] == (43264, "StudyDate is no date")


def test_the_check_against_orthanc_and_against_nobody(orthanc_url: str, tmp_path: Path) -> None:
    assert [t.ok for t in to(f"{orthanc_url}/dicom-web").check()] == [True, True, None, True, True]
    assert [t.ok for t in to(f"{orthanc_url}/elsewhere").check()] == [True, True, None, None, False]
    assert [t.ok for t in to("http://127.0.0.1:9/x").check()] == [True, False, None, None, None]
    assert to("http://nowhere.invalid/x").check()[0].ok is False


