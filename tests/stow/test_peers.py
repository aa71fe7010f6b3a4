"""Real senders (dicomweb-client, Orthanc's DICOMweb plugin, curl) through a running Axiom Flow: what arrives is what was sent."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session_from_user_pass
from pydicom import Dataset, dcmread

from engine.demo.studies import PATIENTS, synthetic, write
from tests.peers import need, orthanc, wait_until
from tests.running import Axiom

LARGEST_MEMORY = 300 << 20
CONFIGURATION = """
sources:
- {{name: web, kind: stow_rs}}
destinations:
- {{name: all, kind: filesystem, path: {home}/all, template: "{{SOPInstanceUID}}.dcm"}}
- {{name: gateway, kind: filesystem, path: {home}/gateway, template: "{{SOPInstanceUID}}.dcm"}}
rulesets:
- name: main
  priority: 10
  rules:
  - {{name: all, priority: 10, destinations: [all]}}
  - name: by-sender
    priority: 20
    sources: [stow_rs]
    association: {{all: [{{user: {{op: eq, value: gateway/nightly}}}}, {{source_ip: {{op: eq, value: 127.0.0.1}}}}]}}
    destinations: [gateway]
"""


class Site:
    """A running Axiom Flow with a sender's key."""

    def __init__(self, axiom: Axiom) -> None:
        self.axiom = axiom
        self.root = f"{axiom.api}/api/v1/dicomweb"
        made = axiom.json("inject-admin", "stow-admin")
        with contextlib.closing(self._signed_in("stow-admin", made["password"])) as admin:
            self.other_key = _key(admin, "own")
            made = admin.post("/users", json={"username": "gateway", "role": "Sender"}).raise_for_status().json()
        with contextlib.closing(self._signed_in("gateway", made["one_time_password"])) as gateway:
            self.key = _key(gateway, "nightly")

    def _signed_in(self, username: str, password: str) -> httpx.Client:
        """A client of theirs, whose one-time password has been changed."""
        client = httpx.Client(base_url=f"{self.axiom.api}/api/v1", timeout=60, trust_env=False)
        answer = client.post("/auth/login", json={"username": username, "password": password}).raise_for_status()
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        new = {"old_password": password, "new_password": "correct horse battery staple"}
        answer = client.post("/auth/password", json=new).raise_for_status()
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return client

    def arrived(self, folder: str) -> dict[str, bytes]:
        return {p.stem: p.read_bytes() for p in (self.axiom.home / folder).glob("*.dcm")}

    def wait_for(self, images: dict[str, bytes], folder: str = "all") -> None:
        """Until they are there; and then they are what was sent, byte for byte."""
        wait_until(lambda: images.keys() <= self.arrived(folder).keys(), 60, f"{len(images)} images in {folder}")
        arrived = self.arrived(folder)
        assert {uid: arrived[uid] for uid in images} == images


@pytest.fixture(scope="module")
def site(axiom: Axiom) -> Iterator[Site]:
    before = axiom.cli("config", "export").stdout
    axiom.apply(CONFIGURATION.format(home=axiom.home))
    yield Site(axiom)
    axiom.apply(before)


def _key(client: httpx.Client, name: str) -> str:
    answer = client.post("/keys", json={"name": name, "permissions": ["store"]}).raise_for_status()
    return str(answer.json()["key"])


def study(folder: Path, modality: str, count: int, **more: object) -> dict[str, bytes]:
    return {p.stem: p.read_bytes() for p in write(synthetic(modality, 1, count, **more), folder)}


def as_dataset(image: bytes) -> Dataset:
    return dcmread(io.BytesIO(image))


def test_dicomweb_client(site: Site, tmp_path: Path) -> None:
    """It writes the data sets anew: what it sent is what it writes. Patients of five alphabets, chunked transfer."""
    sent: dict[str, bytes] = {}
    for n, patient in enumerate(PATIENTS):
        sent |= study(tmp_path / str(n), "CT", 2, rows=32, patient=patient)
    session = create_session_from_user_pass("", "")
    session.auth = None
    client = DICOMwebClient(
        site.axiom.api + "/api/v1", stow_url_prefix="dicomweb", session=session, chunk_size=50_000,
        headers={"Authorization": f"Bearer {site.key}"},
    )  # fmt: skip
    datasets = [as_dataset(image) for image in sent.values()]
    written = {}
    for ds in datasets:
        out = io.BytesIO()
        ds.save_as(out)
        written[str(ds.SOPInstanceUID)] = out.getvalue()
    answer = client.store_instances(datasets)
    assert {str(item.ReferencedSOPInstanceUID) for item in answer.ReferencedSOPSequence} == written.keys()
    assert "FailedSOPSequence" not in answer
    site.wait_for(written)
    site.wait_for(written, "gateway")
    names = {str(dcmread(io.BytesIO(b)).PatientName) for b in site.arrived("all").values()}
    assert {str(as_dataset(b).PatientName) for b in sent.values()} <= names


def test_orthanc_sends_by_stow(site: Site, tmp_path: Path) -> None:
    sent = study(tmp_path / "mr", "MR", 12, rows=64)
    with orthanc(tmp_path / "orthanc") as (_, url), httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        ids = [client.post("/instances", content=image).raise_for_status().json()["ID"] for image in sent.values()]
        kept = {u: client.get(f"/instances/{i}/file").content for u, i in zip(sent, ids, strict=True)}
        server = {"Url": site.root, "HttpHeaders": {"Authorization": f"Bearer {site.other_key}"}}
        client.put("/dicom-web/servers/axiom", json=server).raise_for_status()
        job = {"Resources": ids, "Synchronous": True}
        client.post("/dicom-web/servers/axiom/stow", json=job).raise_for_status()
    site.wait_for(kept)
    assert not kept.keys() & site.arrived("gateway").keys()  # another key, another sender


def test_curl_as_the_manual_has_it(site: Site, tmp_path: Path) -> None:
    (uid, image), (other, second) = study(tmp_path / "us", "CR", 2, rows=64).items()
    answer = _curl(site, "application/dicom", tmp_path / "us" / f"{uid}.dcm")
    assert [i["00081155"]["Value"] for i in answer["00081199"]["Value"]] == [[uid]]
    body = tmp_path / "body"
    body.write_bytes(b"--X\r\nContent-Type: application/dicom\r\n\r\n" + second + b"\r\n--X--\r\n")
    answer = _curl(site, 'multipart/related; type="application/dicom"; boundary=X', body)
    assert [i["00081155"]["Value"] for i in answer["00081199"]["Value"]] == [[other]]
    site.wait_for({uid: image, other: second})


def _curl(site: Site, content_type: str, file: Path) -> dict:
    argv = [
        need("curl"), "--silent", "--show-error", "--fail-with-body", "--noproxy", "*", "-H", f"Authorization: Bearer {site.key}",
        "-H", f"Content-Type: {content_type}", "-H", "Expect: 100-continue", "--data-binary", f"@{file}", f"{site.root}/studies",
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_history_names_who_sent_it(site: Site) -> None:
    rows = wait_until(
        lambda: site.axiom.history("SELECT DISTINCT source, source_kind, source_ip, \"user\" FROM instances"), 60, "history"
    )
    assert {"source": "web", "source_kind": "stow_rs", "source_ip": "127.0.0.1", "user": "gateway/nightly"} in rows


class Large:
    """A Part 10 file of any size, made as it is read; `digest` is of what was read."""

    def __init__(self, megabytes: int) -> None:
        ds = next(synthetic("US", 1, 1, rows=512, columns=1024, frames=2))
        self.uid = f"{ds.SOPInstanceUID}.{megabytes}"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = self.uid
        ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.BitsAllocated = 1024, 1024, 1, 8
        ds.BitsStored, ds.HighBit, ds.PhotometricInterpretation, ds.NumberOfFrames = 8, 7, "MONOCHROME2", megabytes
        ds.PixelData = b""
        ds["PixelData"].VR = "OB"
        whole = io.BytesIO()
        ds.save_as(whole)
        head = whole.getvalue()
        at = head.rindex(b"\xe0\x7f\x10\x00OB\0\0")
        assert head[at + 8 :] == bytes(4)
        self.head = head[: at + 8] + (megabytes << 20).to_bytes(4, "little")
        self.megabytes = megabytes
        self.digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        self.digest = hashlib.sha256(self.head)
        yield self.head
        for n in range(self.megabytes):
            frame = n.to_bytes(4, "little") * (1 << 18)
            self.digest.update(frame)
            yield frame


def send(site: Site, image: Large) -> None:
    def multipart() -> Iterator[bytes]:
        yield b"--x\r\nContent-Type: application/dicom\r\n\r\n"
        yield from image
        yield b"\r\n--x--\r\n"

    headers = {"Authorization": f"Bearer {site.key}", "Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}
    answer = httpx.post(f"{site.root}/studies", content=multipart(), headers=headers, timeout=600, trust_env=False)
    assert answer.status_code == 200, answer.text
    assert answer.json()["00081199"]["Value"][0]["00081155"]["Value"] == [image.uid]
    arrived = site.axiom.home / "all" / f"{image.uid}.dcm"
    wait_until(arrived.is_file, 300, "the image at its destination")
    with arrived.open("rb") as f:
        assert hashlib.file_digest(f, "sha256").hexdigest() == image.digest.hexdigest()
    memory = site.axiom.peaks()
    api = {name: size for name, size in memory.items() if " api" in name}
    assert len(api) == 1, memory
    assert max(api.values()) < LARGEST_MEMORY, json.dumps(memory, indent=1)


def test_200_mb(site: Site) -> None:
    image = Large(200)
    assert dcmread(io.BytesIO(image.head), stop_before_pixels=True).NumberOfFrames == 200
    send(site, image)


@pytest.mark.slow
def test_2_gb(site: Site) -> None:
    send(site, Large(2048))
