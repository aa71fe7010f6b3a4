"""Every kind of source by every kind of destination: what comes in by any of them arrives at all of them, byte for byte."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator

import pytest
from pydicom import Dataset, dcmread

from tests.e2e.elements import parted
from tests.e2e.matrix import DESTINATIONS, SENDERS, Matrix, matrix
from tests.peers import wait_until

pytestmark = pytest.mark.timeout(600)  # all that runs here starts in one fixture

WRITTEN_ANEW = {("dcmjs-dimse", "orthanc")}
"""Orthanc gives sequences of undefined length, which dcmjs-dimse sends, their length when they come over DIMSE (not by
STOW-RS): there each element is compared, value by value."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """The matrix, when all that came in has been delivered."""
    with matrix(tmp_path_factory.mktemp("matrix")) as one:
        axiom, count = one.axiom, len(one.images)

        def delivered() -> bool:
            status = axiom.json("status")
            assert (status["held"], status["dead"], status["unmatched"]) == (0, 0, 0), status
            if len(list((axiom.home / "back").glob("*.dcm"))) < count:
                return False
            return all(d["waiting"] + d["sending"] == 0 for d in status["destinations"])

        wait_until(delivered, 180, "all to be everywhere, and back through our own door")
        yield one


def test_the_senders_and_the_syntaxes_are_all_there(run: Matrix) -> None:
    assert Counter(image.sender for image in run.images.values()) == dict.fromkeys(SENDERS, 6)
    assert len({image.syntax for image in run.images.values()}) == 3
    rows = run.axiom.history("select source, sop_instance_uid from instances where \"user\" <> 'admin/loop' or \"user\" is null")
    came = {row["sop_instance_uid"]: row["source"] for row in rows}
    assert came == {uid: SENDERS[image.sender] for uid, image in run.images.items()}
    assert len(rows) == len(came), "each came in once, whoever was polled"


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_each_image_arrives_as_it_left_its_sender(run: Matrix, destination: str) -> None:
    """Data set byte for byte; the file meta names its class, its UID and the transfer syntax that it is in."""
    arrived = run.arrived(destination)
    assert arrived.keys() == run.images.keys()
    for uid, image in run.images.items():
        meta, data_set = parted(arrived[uid])
        assert meta == (image.sop_class, uid, image.syntax), f"{image.sender} -> {destination}"
        if (image.sender, destination) in WRITTEN_ANEW:
            file, sent = (dcmread(io.BytesIO(f)) for f in (arrived[uid], arrived[uid][: -len(data_set)] + image.data_set))
            assert Dataset(file) == Dataset(sent), f"{image.sender} -> {destination}: {uid}"
        else:
            assert data_set == image.data_set, f"{image.sender} -> {destination}: {uid}"


def test_each_was_confirmed_once_and_no_secret_was_written_anywhere(run: Matrix) -> None:
    sql = "select destination, count(*) n from deliveries where outcome = 'confirmed' group by all"
    each = dict.fromkeys((*DESTINATIONS, "back"), len(run.images))
    wait_until(lambda: {r["destination"]: r["n"] for r in run.axiom.history(sql)} == each, 60, "the history")
    google = run.google.tokens
    secrets = [s.encode() for s in (*run.tokens, google.private_key.split("\n")[3], *google.given)]
    looked = 0
    for file in run.axiom.home.rglob("*"):
        if file.is_file() and file.suffix != ".dcm":
            looked += 1
            assert not any(s in file.read_bytes() for s in secrets), file.name
    assert looked > 10
    assert not any(s in run.axiom.output.encode() for s in secrets)
