"""What is sent by STOW-RS is in the spool byte for byte before it is answered; each thing that can be wrong has its status."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from pydicom import Dataset, dcmread

from engine.dicom.file_meta import encode_head
from engine.dicom.store_response import StoreResponse
from engine.model import Association
from engine.sources.stow_rs import StowRs
from engine.spool.intake import SpoolBatch, SpoolIncoming, SpoolIntake
from tests.peers import wait_until
from tests.stow.support import Door, comment, failed, multipart, other, stored

NATIVE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"


def uid(image: bytes) -> str:
    return str(dcmread(io.BytesIO(image), stop_before_pixels=True).SOPInstanceUID)


def study(image: bytes) -> str:
    return str(dcmread(io.BytesIO(image), stop_before_pixels=True).StudyInstanceUID)


def changed(image: bytes, **values: object) -> bytes:
    """The image with other values, or without those that are None."""
    ds = dcmread(io.BytesIO(image))
    for keyword, value in values.items():
        target = ds.file_meta if keyword.startswith("MediaStorage") else ds
        if value is None:
            delattr(target, keyword)
        else:
            setattr(target, keyword, value)
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=False)
    return out.getvalue()


def test_a_multipart_request(door: Door, images: list[bytes]) -> None:
    answer = door.send(*images)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom+json")
    assert stored(answer.json()) == [uid(i) for i in images]
    assert answer.json()["00081190"] == {"vr": "UR"}
    assert door.received() == images
    (association,) = door.associations()
    assert (association.source, association.source_kind) == ("web", "stow_rs")
    assert (association.user, association.source_ip) == ("gateway/nightly", "127.0.0.1")
    parsed = Dataset.from_json(answer.json())
    assert [str(i.ReferencedSOPInstanceUID) for i in parsed.ReferencedSOPSequence] == stored(answer.json())


def test_one_instance_as_it_is_and_in_chunks_of_unknown_length(door: Door, images: list[bytes]) -> None:
    assert door.post(images[0], "application/dicom").status_code == 200
    body, content_type = multipart(images[1:3])
    pieces = iter([body[:1], body[1:130], body[130:-5], body[-5:]])
    answer = door.post(pieces, content_type)
    assert answer.status_code == 200
    assert sorted(door.received()) == sorted(images[:3])


def test_the_answer_in_xml(door: Door, images: list[bytes]) -> None:
    answer = door.send(images[0], b"no image <&>", accept="application/dicom+xml")
    assert (answer.status_code, answer.headers["content-type"]) == (202, "application/dicom+xml")
    root = ElementTree.fromstring(answer.text)
    assert root.tag == f"{NATIVE}NativeDicomModel"
    by_keyword = {e.get("keyword"): e.findtext(f"{NATIVE}Value") for e in root.iter(f"{NATIVE}DicomAttribute")}
    assert by_keyword["ReferencedSOPInstanceUID"] == uid(images[0])
    assert by_keyword["FailureReason"] == str(0xC000)
    both = door.send(images[0], accept="application/dicom+xml;q=0.5, application/dicom+json")
    assert both.headers["content-type"] == "application/dicom+json"
    assert door.send(images[0], accept="*/*").headers["content-type"] == "application/dicom+json"


def test_a_request_to_a_study_takes_that_study_alone(door: Door, images: list[bytes], others: list[bytes]) -> None:
    answer = door.send(images[0], others[0], study=study(images[0]))
    assert answer.status_code == 202
    assert stored(answer.json()) == [uid(images[0])]
    assert failed(answer.json()) == {uid(others[0]): 0xA900}
    assert "another study" in comment(answer.json())
    answer = door.send(*others, study=study(images[0]))
    assert (answer.status_code, len(failed(answer.json()))) == (409, 2)
    assert door.received() == images[:1]
    assert door.send(images[0], study="no.uid").status_code == 400


def test_what_is_wrong_with_an_instance_harms_no_other(door: Door, images: list[bytes]) -> None:
    nameless = changed(images[1], SOPInstanceUID=None, MediaStorageSOPInstanceUID=None)
    answer = door.send(
        images[0], b"", b"not DICOM" * 100, bytes(128) + b"DICM" + b"\x02\0\x10\0??", images[2][:-100], nameless,
        changed(images[3], MediaStorageSOPClassUID="1.2.840.10008.1.1", SOPClassUID="1.2.840.10008.1.1"), images[4],
    )  # fmt: skip
    assert answer.status_code == 202
    assert stored(answer.json()) == [uid(images[0]), uid(images[4])]
    assert failed(answer.json()) == {uid(images[2]): 0xC000, uid(images[3]): 0x0122}
    assert other(answer.json()) == [0xC000] * 4
    assert door.received() == [images[0], images[4]]


def test_nothing_that_can_be_stored_is_409_and_leaves_no_trace(door: Door) -> None:
    answer = door.send(b"neither", b"nor")
    assert (answer.status_code, other(answer.json())) == (409, [0xC000] * 2)
    assert "no DICOM file" in comment(answer.json())
    assert door.received() == []
    assert list((door.settings.spool / "receiving").iterdir()) == []


def test_uids_that_stand_in_the_data_set_alone(door: Door, images: list[bytes]) -> None:
    image = changed(images[0], MediaStorageSOPInstanceUID=None, MediaStorageSOPClassUID=None)
    answer = door.post(image, "application/dicom")
    assert (answer.status_code, stored(answer.json())) == (200, [uid(images[0])])
    assert door.received() == [image]


def test_a_deflated_instance_is_not_inflated_whole(door: Door, images: list[bytes]) -> None:
    ds = dcmread(io.BytesIO(images[0]))
    whole = io.BytesIO()
    ds.save_as(whole)
    data_set = whole.getvalue()[132 + 12 + ds.file_meta.FileMetaInformationGroupLength :]
    head = encode_head(ds.SOPClassUID, ds.SOPInstanceUID, "1.2.840.10008.1.2.1.99")
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    image = head + squeeze.compress(data_set + bytes(200 << 20)) + squeeze.flush()
    answer = door.send(image, study=study(images[0]))
    assert (answer.status_code, stored(answer.json())) == (200, [uid(images[0])])
    assert door.received() == [image]
    answer = door.send(head + b"not deflated", study=study(images[0]))
    assert (answer.status_code, failed(answer.json())) == (409, {uid(images[0]): 0xC000})


def test_the_same_instance_twice_is_stored_twice(door: Door, images: list[bytes]) -> None:
    answer = door.send(images[0], images[0])
    assert (answer.status_code, stored(answer.json())) == (200, [uid(images[0])] * 2)
    assert door.received() == [images[0]] * 2


@pytest.mark.parametrize(
    ("content_type", "status", "words"),
    [
        ("", 415, "of no type"),
        ("application/json", 415, "Send multipart/related"),
        ("multipart/form-data; boundary=x", 415, "multipart/form-data"),
        ('multipart/related; type="application/dicom+xml"; boundary=x', 415, "dicom+xml"),
        ('multipart/related; type="application/dicom"', 400, "boundary"),
        ('multipart/related; type="application/dicom"; boundary=y', 400, "stands nowhere"),
        ('multipart/related; type="application/dicom"; boundary=x', 400, "holds no part"),
    ],
)
def test_bodies_that_are_not_taken(door: Door, content_type: str, status: int, words: str) -> None:
    answer = door.post(b"--x--\r\n", content_type)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert words in answer.json()["detail"]


def test_a_compressed_body_is_not_taken(door: Door, images: list[bytes]) -> None:
    body, content_type = multipart(images[:1])
    answer = door.post(gzip.compress(body), content_type, Content_Encoding="gzip")
    assert (answer.status_code, "gzip" in answer.json()["detail"]) == (415, True)


def test_a_part_of_another_type(door: Door, images: list[bytes]) -> None:
    body, content_type = multipart(images[:2])
    body = body.replace(b"Content-Type: application/dicom", b"Content-Type: text/plain", 1)
    answer = door.post(body, content_type)
    assert (answer.status_code, stored(answer.json()), other(answer.json())) == (202, [uid(images[1])], [0xC000])


def test_a_message_that_is_cut_off_keeps_what_was_whole(door: Door, images: list[bytes]) -> None:
    body, content_type = multipart(images[:3])
    answer = door.post(body[: len(body) - len(images[2])], content_type)
    assert (answer.status_code, stored(answer.json()), other(answer.json())) == (202, [uid(i) for i in images[:2]], [0xC000])
    assert "closing delimiter" in comment(answer.json())
    assert door.received() == images[:2]
    answer = door.post(body[:1000], content_type)
    assert (answer.status_code, "Nothing was stored" in answer.json()["detail"]) == (400, True)
    assert door.receiving() == []


def test_a_sender_that_goes_in_the_middle_of_a_part(door: Door, images: list[bytes]) -> None:
    body, content_type = multipart(images[:2])
    with door.raw(f"Content-Type: {content_type}", f"Content-Length: {len(body)}") as s:
        s.sendall(body[: len(body) - len(images[1]) // 2])
        wait_until(lambda: len(door.receiving()) == 2, 60, "the second image to begin")
    wait_until(lambda: door.received() == images[:1], 60, "the first image")
    wait_until(lambda: not list((door.settings.spool / "receiving").iterdir()), 60, "the rest to be cleared away")


def test_a_sender_that_falls_silent_is_broken_off(door: Door, images: list[bytes]) -> None:
    door.configure({"name": "web", "kind": "stow_rs", "network_timeout": 0.5})
    body, content_type = multipart(images[:1])
    with door.raw(f"Content-Type: {content_type}", f"Content-Length: {len(body)}") as s:
        s.sendall(body[:500])
        assert s.recv(4096).startswith(b"HTTP/1.1 408 ")
    wait_until(lambda: not list((door.settings.spool / "receiving").iterdir()), 60, "nothing to be left")


def test_a_slow_sender_is_waited_for(door: Door, images: list[bytes]) -> None:
    body, content_type = multipart(images[:1])
    trickle = threading.Event()
    with door.raw(f"Content-Type: {content_type}", f"Content-Length: {len(body)}") as s:
        for start in range(0, len(body), 400):
            s.sendall(body[start : start + 400])
            trickle.wait(0.001)
        assert s.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert door.received() == images[:1]


def test_who_waits_for_a_word_before_the_body_hears_it(door: Door, images: list[bytes]) -> None:
    body, content_type = multipart(images[:1])
    with door.raw(f"Content-Type: {content_type}", f"Content-Length: {len(body)}", "Expect: 100-continue") as s:
        assert s.recv(4096).startswith(b"HTTP/1.1 100 ")
        s.sendall(body)
        assert s.recv(4096).startswith(b"HTTP/1.1 200 ")
    door.beat(ago=7200)
    with door.raw(f"Content-Type: {content_type}", f"Content-Length: {len(body)}", "Expect: 100-continue") as s:
        assert s.recv(4096).startswith(b"HTTP/1.1 503 ")


def test_too_large(door: Door, images: list[bytes]) -> None:
    door.configure({"name": "web", "kind": "stow_rs", "max_instance_mb": 1, "max_request_mb": 2})
    large = changed(images[1], PixelData=bytes(1 << 20))
    answer = door.send(images[0], large)
    assert (answer.status_code, failed(answer.json())) == (202, {uid(images[1]): 0xC000})
    answer = door.send(large)
    assert (answer.status_code, comment(answer.json())) == (413, "larger than this source takes (1 MB)")
    body, content_type = multipart([images[0]] * 2 + [bytes(3 << 20)])
    answer = door.post(body, content_type)
    assert (answer.status_code, "2 MB" in answer.json()["detail"]) == (413, True)
    assert door.received() == images[:1]
    with door.raw(f"Content-Type: {content_type}", "Transfer-Encoding: chunked") as s:
        s.sendall(f"{1 << 20:x}\r\n".encode() + body[: 1 << 20] + b"\r\n")
        s.sendall(f"{2 << 20:x}\r\n".encode() + body[1 << 20 : (3 << 20) - 9])
        assert s.recv(4096).startswith(b"HTTP/1.1 202 ")  # what was whole before is stored, and named
    wait_until(lambda: len(door.received()) == 3, 60, "those two")


def test_no_room(door: Door, images: list[bytes]) -> None:
    door.set(min_free_mb=1 << 40)
    answer = door.send(*images)
    assert (answer.status_code, answer.json()["type"]) == (507, "urn:axiom:problem:out-of-space")


def test_no_room_any_more(tmp_path: Path, images: list[bytes]) -> None:
    """The disk fills up while a request comes in: the second of its images goes to a device that is always full."""
    count = itertools.count()

    class Batch(SpoolBatch):
        def receive(self, head: bytes) -> SpoolIncoming:
            incoming = super().receive(head)
            if next(count) == 1:
                os.close(incoming.fd)
                incoming.fd = os.open("/dev/full", os.O_WRONLY)
            return incoming

    class Filling(SpoolIntake):
        def open(self, association: Association) -> SpoolBatch:
            return Batch(self, association)

    intake = Filling(tmp_path, node="node-1", max_instances=250, min_free_bytes=0)
    body, content_type = multipart(images[:3])
    source = StowRs(name="web")
    response = source.receive([body], content_type, "", Association("web", "stow_rs"), intake, tmp_path)
    assert response.status == 202
    assert [s.sop_instance_uid for s in response.stored] == [uid(images[0]), uid(images[2])]
    assert [(f.sop_instance_uid, f.reason, f.status) for f in response.failed] == [(uid(images[1]), 0xA700, 507)]
    assert [f.read_bytes() for f in sorted(tmp_path.glob("ready/*/*.dcm"))] == [images[0], images[2]]
    assert StoreResponse(failed=response.failed).status == 507


def test_who_may_store(door: Door, images: list[bytes]) -> None:
    body, content_type = multipart(images[:1])
    assert httpx.post(door.url, content=body, headers={"Content-Type": content_type}).status_code == 401
    viewer = door.make_key("ada", "all", role="User")
    answer = door.post(body, content_type, key=viewer)
    assert (answer.status_code, "permission to store" in answer.json()["detail"]) == (403, True)
    assert door.post(body, content_type, key=door.make_key("boss", "view", role="Admin", permissions=["view"])).status_code == 403
    assert door.post(body, content_type, key=door.make_key("boss", "in", role="Admin", permissions=["store"])).status_code == 200
    with door.site.signed_in("machine", "Sender") as client:
        headers = {"Content-Type": content_type}
        assert client.post("/dicomweb/studies", content=body, headers=headers).status_code == 200
        assert client.get("/config").status_code == 403
    assert [a.user for a in door.associations()] == ["boss/in", "machine"]


def test_a_source_says_whom_it_lets_in(door: Door, images: list[bytes]) -> None:
    door.configure(
        {"name": "a-elsewhere", "kind": "stow_rs", "ip_ranges": ["10.0.0.0/8"]},
        {"name": "b-boss", "kind": "stow_rs", "users": ["boss"]},
        {"name": "c-key", "kind": "stow_rs", "users": ["gateway/other"]},
    )
    answer = door.send(images[0])
    assert (answer.status_code, "stow_rs takes images from you at 127.0.0.1" in answer.json()["detail"]) == (403, True)
    assert door.send(images[0], key=door.make_key("gateway", "other")).status_code == 200
    assert door.send(images[0], key=door.make_key("boss", "any", role="Admin")).status_code == 200
    assert [a.source for a in door.associations()] == ["c-key", "b-boss"]


def test_without_a_source_or_an_engine(door: Door, images: list[bytes]) -> None:
    door.beat(ago=7200)
    answer = door.send(images[0])
    assert (answer.status_code, "No engine runs" in answer.json()["detail"]) == (503, True)
    assert "retry-after" in answer.headers
    door.configure({"name": "web", "kind": "stow_rs", "instances": ["node-7"]})
    answer = door.send(images[0])
    assert (answer.status_code, "other nodes" in answer.json()["detail"]) == (503, True)
    door.configure()
    answer = door.send(images[0])
    assert (answer.status_code, "add a source of kind stow_rs" in answer.json()["detail"]) == (404, True)


def test_one_request_too_many_is_told_to_come_again(door: Door, images: list[bytes]) -> None:
    door.configure({"name": "web", "kind": "stow_rs", "max_requests": 1})
    body, content_type = multipart(images[:1])
    with door.raw(f"Content-Type: {content_type}", f"Content-Length: {len(body)}") as s:
        s.sendall(body[:5000])
        wait_until(lambda: door.receiving() or list((door.settings.spool / "receiving").iterdir()), 60, "the first")
        answer = door.send(images[1])
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        s.sendall(body[5000:])
        assert s.recv(4096).startswith(b"HTTP/1.1 200 ")
    wait_until(lambda: door.send(images[1]).status_code == 200, 60, "room for another")


def test_many_at_once_and_batches_that_are_cut(door: Door, images: list[bytes]) -> None:
    door.set(batch_instances=4)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: door.send(*images), range(8)))
    assert [a.status_code for a in answers] == [200] * 8
    assert sorted(door.received()) == sorted(images * 8)
    sizes = sorted(len(list(folder.glob("*.dcm"))) for folder in door.spool.batches("ready"))
    assert sizes == [2] * 8 + [4] * 8


def test_other_methods_and_addresses(door: Door) -> None:
    headers = {"Authorization": f"Bearer {door.key}"}
    for path in ("", "/1.2.3", "/1.2.3/series/4/instances/5"):
        answer = httpx.get(door.url + path, headers=headers)
        assert (answer.status_code, "a router, not an archive" in answer.json()["detail"]) == (404, True)
    assert httpx.put(door.url, headers=headers).status_code == 405
    assert httpx.post(f"{door.url}/1.2.3/series", headers=headers).status_code == 405


def test_the_document_says_all_statuses(door: Door) -> None:
    document = door.site.anonymous().get("/openapi.json").json()
    operation = document["paths"]["/api/v1/dicomweb/studies"]["post"]
    assert {"200", "202", "400", "401", "403", "404", "409", "413", "415", "503", "507"} <= operation["responses"].keys()
    assert "application/dicom+json" in operation["responses"]["409"]["content"]
    assert operation["x-needs"] == "store"
    assert set(operation["requestBody"]["content"]) == {"multipart/related", "application/dicom"}


def test_threads_of_other_routes_do_not_wait_for_senders(door: Door, images: list[bytes]) -> None:
    door.configure({"name": "web", "kind": "stow_rs", "max_requests": 60})
    body, content_type = multipart(images[:1])
    stop = threading.Event()

    def hold() -> None:
        with door.raw(f"Content-Type: {content_type}", f"Content-Length: {len(body)}") as s:
            s.sendall(body[:5000])
            stop.wait(60)

    with ThreadPoolExecutor(50) as pool:
        for _ in range(50):
            pool.submit(hold)
        try:
            wait_until(lambda: len(list((door.settings.spool / "receiving").iterdir())) == 50, 60, "fifty slow senders")
            assert door.site.anonymous().get("/health/live").status_code == 200
            assert door.send(images[1]).status_code == 200
        finally:
            stop.set()
