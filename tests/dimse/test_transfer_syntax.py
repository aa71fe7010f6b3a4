"""The transfer syntax policy of a `dimse` destination, with peers that take this and not that."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from engine.destinations.base import Outgoing
from engine.destinations.dimse import Dimse
from engine.model import Outcome, Receipt
from tests.dicom.test_convert import plain, write
from tests.dimse.support import EXPLICIT, IMPLICIT, collect, data_set_of, made, part10, pydicom_files, running
from tests.peers import storescp, wait_until

J2K, JPEG_LS, RLE, HTJ2K = (f"1.2.840.10008.1.2.{x}" for x in ("4.90", "4.80", "5", "4.201"))
JPEG = "1.2.840.10008.1.2.4.50"


def named(*names: str) -> list[Outgoing]:
    return [part10(f, i) for i, n in enumerate(names) for f in pydicom_files() if f.name == n]


def deliver(port: int, outgoing: list[Outgoing], **policy: Any) -> list[Receipt]:
    receipts, report = collect()
    peer = Dimse(name="out", host="127.0.0.1", port=port, ae_title="AXIOM", transfer_syntax=policy)
    peer.deliver(outgoing, report, threading.Event())
    return receipts


def syntaxes(files: list[Path]) -> list[str]:
    return [str(dcmread(f, stop_before_pixels=True).file_meta.TransferSyntaxUID) for f in files]


@pytest.mark.parametrize(
    ("send", "syntax"),
    [("jpeg_2000_lossless", J2K), ("jpeg_ls_lossless", JPEG_LS), ("rle_lossless", RLE), ("htj2k_lossless", HTJ2K)],
)
def test_images_are_compressed_and_all_else_goes_as_it_came(tmp_path: Path, send: str, syntax: str) -> None:
    outgoing = named("CT_small.dcm", "MR_small_implicit.dcm", "rtplan.dcm", "SC_rgb_jpeg_dcmtk.dcm", "MR_small_RLE.dcm")
    before = [one.file.sha256() for one in outgoing]
    with running(tmp_path / "in") as listener:
        receipts = deliver(listener.port, outgoing, send=send)
        assert [r.outcome for r in receipts] == [Outcome.CONFIRMED] * 5
        wait_until(lambda: listener.intake.all_sealed)
        got = listener.intake.files
        assert syntaxes(got) == [syntax, syntax, IMPLICIT, JPEG, syntax]
        assert "(sent in " in receipts[0].words and "sent in" not in receipts[2].words
        assert data_set_of(got[2]) == outgoing[2].data_set.read() and data_set_of(got[3]) == outgoing[3].data_set.read()
        for i, name in ((0, "CT_small.dcm"), (1, "MR_small_implicit.dcm")):
            [original] = [f for f in pydicom_files() if f.name == name]
            tool = {JPEG_LS: "dcmdjpls", RLE: "dcmdrle"}.get(syntax)
            assert (plain(got[i], tool) == plain(original, None)).all()
            assert dcmread(got[i]).SOPInstanceUID == dcmread(original).SOPInstanceUID
    assert [one.file.sha256() for one in outgoing] == before


def test_decompressed_for_dcmtk(tmp_path: Path) -> None:
    """DCMTK's storescp, told to take uncompressed images alone."""
    outgoing = named("MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm")
    [original] = [f for f in pydicom_files() if f.name == "MR_small.dcm"]
    with storescp(tmp_path / "pacs", options=["+xe"]) as pacs:
        for one, options in zip(outgoing, ({"send": "decompress"}, {}, {}), strict=True):
            [receipt] = deliver(pacs.port, [one], **options)
            assert receipt.outcome is Outcome.CONFIRMED and "sent in Explicit VR Little Endian" in receipt.words
            [file] = pacs.files
            assert (plain(file, None) == plain(original, None)).all()
            file.unlink()


def test_as_received_falls_back_only_where_nothing_else_is_taken(tmp_path: Path) -> None:
    outgoing = named("MR_small_RLE.dcm", "CT_small.dcm")
    with running(tmp_path / "all") as listener:
        assert all("sent in" not in r.words for r in deliver(listener.port, outgoing))
        wait_until(lambda: listener.intake.all_sealed)
        assert syntaxes(listener.intake.files) == [RLE, EXPLICIT]
    with running(tmp_path / "old", transfer_syntaxes=[IMPLICIT]) as old:
        assert [r.outcome for r in deliver(old.port, outgoing)] == [Outcome.CONFIRMED] * 2
        wait_until(lambda: old.intake.all_sealed)
        assert syntaxes(old.intake.files) == [IMPLICIT, IMPLICIT]
        one, two = deliver(old.port, outgoing, fall_back=False)
        assert (one.outcome, one.code) == (Outcome.REFUSED, "0x0122") and "in RLE Lossless" in one.words
        assert two.outcome is Outcome.REFUSED
        [video] = deliver(old.port, [made(0, syntax="1.2.840.10008.1.2.4.102")])
        assert video.outcome is Outcome.REFUSED and "MPEG-4" in video.words


def test_what_cannot_be_compressed_goes_as_it_came_or_waits_for_a_person(tmp_path: Path) -> None:
    beyond = write(tmp_path / "beyond.dcm", np.full((1, 8, 8), 0xF000, "u2"), stored=12)
    [plan] = named("rtplan.dcm")
    with running(tmp_path / "in") as listener:
        [receipt] = deliver(listener.port, [beyond], send="jpeg_2000_lossless")
        assert receipt.outcome is Outcome.CONFIRMED and "sent in" not in receipt.words
        one, two = deliver(listener.port, [beyond, plan], send="jpeg_2000_lossless", otherwise="refuse")
        assert one.outcome is Outcome.REFUSED and "it cannot be written in JPEG 2000" in one.words
        assert "bits beyond the 12 stored" in one.words
        assert two.outcome is Outcome.CONFIRMED, "no image: nothing to compress"
    with running(tmp_path / "plain", transfer_syntaxes=[EXPLICIT, IMPLICIT]) as old:
        [ct] = named("CT_small.dcm")
        [receipt] = deliver(old.port, [ct], send="jpeg_2000_lossless")
        assert receipt.outcome is Outcome.CONFIRMED, "the peer does not take JPEG 2000: as it came"
        [receipt] = deliver(old.port, [ct], send="jpeg_2000_lossless", otherwise="refuse")
        assert (receipt.outcome, receipt.code) == (Outcome.REFUSED, "0x0122") and "JPEG 2000" in receipt.words
