"""Metadata in JSON with bulk data beside it (PS3.18 F): what comes out is the instance that was described."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames

from engine.connection.multipart import MultipartWriter
from engine.demo.studies import PATIENTS, synthetic, write
from engine.dicom.content import Content
from tests.stow.support import Door, comment, failed, other, stored

JSON = "application/dicom+json"
OCTETS = "application/octet-stream"


def described(ds: Dataset, **uris: str) -> dict[str, Any]:
    """The data set in JSON, with references in the place of some values."""
    out: dict[str, Any] = ds.to_json_dict(bulk_data_threshold=1 << 40)
    for keyword, uri in uris.items():
        element = ds[keyword]
        out[f"{int(element.tag):08X}"] = {"vr": element.VR, "BulkDataURI": uri}
    return out


def request(metadata: object, *bulk: tuple[str, str, bytes]) -> tuple[bytes, str]:
    """A request's body and its Content-Type; `bulk`: Content-Location, Content-Type, bytes."""
    text = metadata if isinstance(metadata, bytes) else json.dumps(metadata, ensure_ascii=False).encode()
    parts = [({"Content-Type": JSON}, Content((text,)))]
    parts += [({"Content-Type": kind, "Content-Location": uri}, Content((data,))) for uri, kind, data in bulk]
    writer = MultipartWriter(parts, JSON)
    return b"".join(writer), writer.content_type


def only(door: Door) -> Dataset:
    (image,) = door.received()
    return dcmread(io.BytesIO(image))


@pytest.mark.parametrize("patient", PATIENTS, ids=lambda p: p.id)
def test_an_instance_with_its_pixels_beside_it(door: Door, tmp_path: Path, patient: Any) -> None:
    (path,) = write(synthetic("CT", 1, 1, rows=32, patient=patient), tmp_path)
    ds = dcmread(path)
    body = request([described(ds, PixelData="pixels/1")], ("pixels/1", OCTETS, ds.PixelData))
    answer = door.post(*body)
    assert (answer.status_code, stored(answer.json())) == (200, [ds.SOPInstanceUID]), answer.text
    found = only(door)
    assert found.PixelData == ds.PixelData
    assert str(found.PatientName) == str(ds.PatientName)
    assert found.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    for one in (found, ds):
        one.pop("SpecificCharacterSet", None)  # JSON is UTF-8, so that it is said of what was made of it
        one.pop("PatientName")
    assert found == ds


def test_several_instances_whose_bulk_data_comes_in_any_order(door: Door, images: list[bytes]) -> None:
    sets = [dcmread(io.BytesIO(i)) for i in images[:3]]
    nested = Dataset()
    nested.EncapsulatedDocument = b"12345678"
    sets[0].IconImageSequence = [nested]
    metadata = [described(ds, PixelData=f"b{n}") for n, ds in enumerate(sets)]
    metadata[0]["00880200"]["Value"][0]["00420011"] = {"vr": "OB", "BulkDataURI": "icon"}
    bulk = [("b2", OCTETS, sets[2].PixelData), ("b0", OCTETS, sets[0].PixelData), ("icon", OCTETS, b"87654321"),
            ("b1", OCTETS, sets[1].PixelData)]  # fmt: skip
    answer = door.post(*request(metadata, *bulk))
    assert (answer.status_code, sorted(stored(answer.json()))) == (200, sorted(str(ds.SOPInstanceUID) for ds in sets))
    found = {str(ds.SOPInstanceUID): ds for ds in (dcmread(io.BytesIO(i)) for i in door.received())}
    assert all(found[str(ds.SOPInstanceUID)].PixelData == ds.PixelData for ds in sets)
    assert found[str(sets[0].SOPInstanceUID)].IconImageSequence[0].EncapsulatedDocument == b"87654321"


def test_a_compressed_image_is_one_fragment(door: Door, images: list[bytes]) -> None:
    ds = dcmread(io.BytesIO(images[0]))
    jpeg = b"\xff\xd8\xff" + bytes(range(200)) + b"\xff\xd9"
    body = request([described(ds, PixelData="p")], ("p", "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50", jpeg))
    assert door.post(*body).status_code == 200
    found = only(door)
    assert found.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    assert next(generate_frames(found.PixelData, number_of_frames=1)).rstrip(b"\0") == jpeg
    ds.NumberOfFrames = 2
    answer = door.post(*request([described(ds, PixelData="p")], ("p", "image/jls", jpeg)))
    assert (answer.status_code, failed(answer.json())) == (409, {ds.SOPInstanceUID: 0xC122})


def test_what_is_wrong_is_told(door: Door, images: list[bytes]) -> None:
    ds = dcmread(io.BytesIO(images[0]))
    one = described(ds, PixelData="p")
    answer = door.post(*request([one]))
    assert (answer.status_code, failed(answer.json())) == (409, {ds.SOPInstanceUID: 0xC000})
    assert comment(answer.json()) == "its bulk data did not come"
    answer = door.post(*request([one], ("p", OCTETS, b"12"), ("nobody's", OCTETS, b"x")))
    assert (answer.status_code, stored(answer.json()), other(answer.json())) == (202, [ds.SOPInstanceUID], [0xC000])
    broken = one | {"00280010": {"vr": "US", "Value": ["many"]}}
    answer = door.post(*request([broken], ("p", OCTETS, b"12")))
    assert (answer.status_code, failed(answer.json())) == (409, {ds.SOPInstanceUID: 0xC000})
    nameless = {k: v for k, v in one.items() if k != "00080018"}
    answer = door.post(*request([nameless], ("p", OCTETS, b"12")))
    assert (answer.status_code, other(answer.json())) == (409, [0xC000])
    no_data_sets = (b"[1]", b'[{"x": {}}]', b'[{"00100010": []}]')
    for text, words in ((b"{", "no JSON"), (b"[" * 9999, "no JSON"), *((text, "no DICOM JSON") for text in no_data_sets)):
        answer = door.post(*request(text))
        assert (answer.status_code, words in answer.json()["detail"]) == (400, True), answer.text
    answer = door.post(*request(b"[" + b" " * (17 << 20) + b"]"))
    assert (answer.status_code, "send application/dicom" in answer.json()["detail"]) == (413, True)
    assert list((door.settings.run_dir / "uploads").iterdir()) == []


def test_an_image_without_bulk_data(door: Door, images: list[bytes]) -> None:
    ds = dcmread(io.BytesIO(images[0]))
    del ds.PixelData
    answer = door.post(*request([described(ds)]))
    assert (answer.status_code, stored(answer.json())) == (200, [ds.SOPInstanceUID])
    assert only(door) == ds
