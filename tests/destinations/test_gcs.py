"""Cloud Storage as a destination: the emulator, and the double (tests/doubles/cloud_storage.py) for what it leaves out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

import engine.destinations._upload as upload
from engine.destinations.gcs import Gcs
from engine.errors import Permanent, Retry
from engine.model import Outcome
from tests.destinations.emulator import emulator
from tests.destinations.support import deliver, instance
from tests.doubles.cloud_storage import CloudStorage, cloud_storage
from tests.doubles.google_tokens import google_error
from tests.doubles.server import Answer

BIG = b"\1\2\3\4" * 2_600_000  # more than fits into one request, and no multiple of anything
NAME = "4711/1.2.3/1.2.3.0.dcm"


@pytest.fixture
def double() -> Iterator[CloudStorage]:
    with cloud_storage() as running:
        yield running


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "CHUNK", 1 << 20)
    monkeypatch.setattr(upload, "FIRST_PAUSE", 0.001)


def to(double: CloudStorage, folder: Path, **more: object) -> Gcs:
    fields = {"bucket": "bucket", "endpoint": double.url, "service_account": f"file:{double.tokens.key_file(folder)}"}
    return Gcs.model_validate({"name": "cloud", **fields, **more})


@pytest.mark.parametrize("pixels", [b"\1\2" * 1000, BIG], ids=["small", "large"])
def test_what_arrives_is_what_left_and_is_not_sent_twice(double: CloudStorage, tmp_path: Path, pixels: bytes) -> None:
    one = instance(tmp_path, 0, pixels=pixels)
    [receipt] = deliver(to(double, tmp_path, metadata={"modality": "Modality"}, storage_class="NEARLINE"), [one])
    assert (receipt.outcome, receipt.location, receipt.size) == (Outcome.CONFIRMED, f"gs://bucket/{NAME}", one.file.length)
    stored = double.objects[NAME]
    assert stored.data == one.file.read()
    assert stored.about["metadata"] == {"modality": "CT"}
    assert stored.about["storageClass"] == "NEARLINE"
    assert stored.about["contentType"] == "application/dicom"
    double.asked.clear()
    [again] = deliver(to(double, tmp_path), [one])
    assert again.outcome is Outcome.CONFIRMED
    assert "was there already" in again.words
    assert double.objects[NAME].generation == stored.generation
    if pixels is BIG:
        assert [a.method for a in double.asked] == ["GET"]


@pytest.mark.parametrize("pixels", [b"\5\6" * 900, BIG[4:]], ids=["small", "large"])
@pytest.mark.parametrize("policy", ["keep_both", "replace", "refuse"])
def test_other_bytes_of_the_same_name(double: CloudStorage, tmp_path: Path, policy: str, pixels: bytes) -> None:
    older, newer = instance(tmp_path, 0), instance(tmp_path, 1, uid="1.2.3.0", pixels=pixels)
    destination = to(double, tmp_path, collision=policy)
    deliver(destination, [older])
    [receipt] = deliver(destination, [newer])
    names = {name: one.data for name, one in double.objects.items()}
    other = NAME.replace(".dcm", ".1.dcm")
    if policy == "keep_both":
        assert names == {NAME: older.file.read(), other: newer.file.read()}
        [again] = deliver(destination, [newer])
        assert again.location.endswith(other)
        assert len(double.objects) == 2
    elif policy == "replace":
        assert names == {NAME: newer.file.read()}
    else:
        assert names == {NAME: older.file.read()}
        assert (receipt.outcome, receipt.code) == (Outcome.REFUSED, "412")


@pytest.mark.parametrize(
    "breaks",
    [
        [(300_000, Answer(503))],
        [(0, Answer(500)), (0, Answer(502)), (700_000, Answer(429, headers={"Retry-After": "0"}))],
        [(1 << 20, Answer(200, b"x" * 50, cut=3))],
        [(600_000, Answer(308, headers={"Range": f"bytes=0-{(512 << 10) - 1}"}))],
    ],
    ids=["503", "three in a row", "connection", "less than was sent"],
)  # fmt: skip
def test_a_broken_upload_goes_on_where_it_stopped(
    double: CloudStorage, tmp_path: Path, breaks: list[tuple[int, Answer]]
) -> None:
    one = instance(tmp_path, 0, pixels=BIG)
    double.breaks = breaks
    [receipt] = deliver(to(double, tmp_path), [one])
    assert receipt.outcome is Outcome.CONFIRMED
    assert double.objects[NAME].data == one.file.read()
    begun = [a for a in double.asked if a.param("uploadType") == "resumable" and a.method == "POST"]
    assert len(begun) == 1


@pytest.mark.parametrize("status", [410, 404])
def test_a_session_that_is_gone_begins_anew(double: CloudStorage, tmp_path: Path, status: int) -> None:
    one = instance(tmp_path, 0, pixels=BIG)
    double.breaks = [(0, Answer(status))]
    [receipt] = deliver(to(double, tmp_path), [one])
    assert receipt.outcome is Outcome.CONFIRMED
    assert double.objects[NAME].data == one.file.read()
    double.objects.clear()
    double.breaks = [(0, Answer(status))] * 2
    with pytest.raises(Permanent):
        deliver(to(double, tmp_path), [one])


def test_an_upload_that_never_comes_on_is_left_for_later(double: CloudStorage, tmp_path: Path) -> None:
    double.breaks = [(0, Answer(503))] * 50
    with pytest.raises(Retry, match="503"):
        deliver(to(double, tmp_path), [instance(tmp_path, 0, pixels=BIG)])
    assert not double.objects


def test_a_token_that_ends_in_the_middle_is_replaced(double: CloudStorage, tmp_path: Path) -> None:
    one = instance(tmp_path, 0, pixels=BIG)
    double.breaks = [(1 << 20, google_error(401, "UNAUTHENTICATED", "Invalid Credentials"))]
    [receipt] = deliver(to(double, tmp_path), [one])
    assert receipt.outcome is Outcome.CONFIRMED
    assert len(double.tokens.given) == 2
    assert double.objects[NAME].data == one.file.read()


@pytest.mark.parametrize("pixels", [b"\1\2" * 1000, BIG], ids=["small", "large"])
def test_bytes_that_arrive_changed_are_taken_away_and_sent_again(
    double: CloudStorage, tmp_path: Path, pixels: bytes
) -> None:
    one = instance(tmp_path, 0, pixels=pixels)
    double.spoil = True
    [receipt] = deliver(to(double, tmp_path), [one])
    assert (receipt.outcome, receipt.code) == (Outcome.RETRY, "crc32c")
    assert not double.objects
    assert deliver(to(double, tmp_path), [one])[0].outcome is Outcome.CONFIRMED


def test_a_damaged_spool_file_and_a_name_that_is_too_long_refuse_that_image_alone(
    double: CloudStorage, tmp_path: Path
) -> None:
    some = [instance(tmp_path, i) for i in range(3)]
    piece = some[1].data_set.pieces[0]
    assert not isinstance(piece, bytes)
    piece.path.write_bytes(b"short")
    receipts = deliver(to(double, tmp_path), some)
    assert [r.outcome for r in receipts] == [Outcome.CONFIRMED, Outcome.REFUSED, Outcome.CONFIRMED]
    long = "/".join(["a" * 28 + "{PatientID}"] * 12)
    [receipt] = deliver(to(double, tmp_path, template=long), [instance(tmp_path, 7, patient="b" * 60)])
    assert receipt.outcome is Outcome.REFUSED
    assert "longer than 1024 bytes" in receipt.words


def test_the_whole_is_refused_or_put_off_in_googles_words(double: CloudStorage, tmp_path: Path) -> None:
    some = [instance(tmp_path, i) for i in range(2)]
    double.next = [google_error(429, "RESOURCE_EXHAUSTED", "The object exceeded the rate limit", {"Retry-After": "9"})]
    with pytest.raises(Retry, match="exceeded the rate limit") as caught:
        deliver(to(double, tmp_path), some)
    assert caught.value.after == 9
    double.next = [google_error(403, "FORBIDDEN", "axiom@p does not have storage.objects.create access")]
    with pytest.raises(Permanent, match=r"does not have storage\.objects\.create"):
        deliver(to(double, tmp_path), some)
    with pytest.raises(Permanent, match="bucket does not exist"):
        deliver(to(double, tmp_path, bucket="other"), some)


def test_names_that_need_escaping_are_found_again(double: CloudStorage, tmp_path: Path) -> None:
    one = instance(tmp_path, 0, patient="Ä %2F+#1&b")
    destination = to(double, tmp_path, template="a b/{PatientID}/{SOPInstanceUID}.dcm")
    deliver(destination, [one])
    [name] = double.objects
    assert name == "a b/Ä %2F+#1&b/1.2.3.0.dcm"
    assert "was there" in deliver(destination, [one])[0].words


def test_the_check_tells_what_we_may(double: CloudStorage, tmp_path: Path) -> None:
    assert [t.ok for t in to(double, tmp_path).check()] == [True, True, None, True, True]
    double.rights = ["storage.objects.create"]
    assert [t.ok for t in to(double, tmp_path).check()][-1] is True
    assert [t.ok for t in to(double, tmp_path, collision="replace").check()][-1] is False
    double.rights = []
    assert "storage.objects.create" in to(double, tmp_path).check()[-1].words


def test_a_template_that_cannot_be_right_is_refused_at_save() -> None:
    with pytest.raises(ValidationError, match="needs a tag"):
        Gcs(name="a", bucket="bucket", template="images/all.dcm")


def test_the_emulator_gets_each_image_small_and_large(tmp_path: Path) -> None:
    some = [instance(tmp_path, i, pixels=BIG if i == 2 else bytes([i, 7]) * 9000) for i in range(4)]
    with emulator("pictures") as url:
        destination = Gcs(name="emulated", bucket="pictures", endpoint=url, anonymous=True)
        for _ in range(2):
            receipts = deliver(destination, some)
            assert [r.outcome for r in receipts] == [Outcome.CONFIRMED] * 4
        for one, receipt in zip(some, receipts, strict=True):
            name = receipt.location.removeprefix("gs://pictures/").replace("/", "%2F")
            got = httpx.get(f"{url}/download/storage/v1/b/pictures/o/{name}?alt=media", timeout=60)
            assert got.content == one.file.read()


def test_it_stops_between_images(double: CloudStorage, tmp_path: Path) -> None:
    stop, receipts = threading.Event(), []

    def report(receipt: object) -> None:
        receipts.append(receipt)
        stop.set()

    to(double, tmp_path).deliver([instance(tmp_path, i) for i in range(3)], report, stop)
    assert len(receipts) == 1
