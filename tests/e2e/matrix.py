"""One running Axiom Flow between every kind of source and every kind of destination, each with its real peer, and one rule
that sends all to all. What the matrix is made of; tests/e2e/test_matrix.py looks at what arrived.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session_from_user_pass
from pydicom import dcmread

from engine.demo.studies import PATIENTS, Patient, synthetic, write
from tests.destinations.emulator import emulator
from tests.dimse.archives import dcmqrscp
from tests.doubles.google_healthcare import STORE, GoogleHealthcare, google_healthcare
from tests.e2e import dcmjs_dimse
from tests.e2e.elements import meta_of, parted
from tests.peers import StoreSCP, dcmtk, orthanc, storescp, storescu, wait_until
from tests.polling.support import put
from tests.running import Axiom, running_axiom

__all__ = ["DESTINATIONS", "SENDERS", "Image", "Matrix", "matrix"]

FLOW = """
sources:
- {{name: modalities, kind: dimse_listener, ae_title: AXIOM, port: {listener}}}
- {{name: door, kind: stow_rs}}
- {{name: web, kind: dicomweb, url: "{archive}/dicom-web", filters: {{PatientID: M-dicomweb}}, {often}}}
- {{name: get, kind: dimse_qr, host: 127.0.0.1, port: {dcmqrscp}, ae_title: DCMQR, filters: {{PatientID: M-get}}, {often}}}
- {{name: move, kind: dimse_qr, host: 127.0.0.1, port: {archive_port}, ae_title: ORTHANC, retrieve_by: move,
   filters: {{PatientID: M-move}}, {often}}}
- {{name: cloud, kind: google_healthcare, project: {p}, location: {l}, dataset: {d}, dicom_store: {s},
   endpoint: "{google_in}", service_account: "file:{key_in}", filters: {{PatientID: M-google}}, {often}}}
destinations:
- {{name: folder, kind: filesystem, path: "{home}/folder", template: "{{SOPInstanceUID}}.dcm", index: json_lines}}
- {{name: storescp, kind: dimse, host: 127.0.0.1, port: {storescp}, ae_title: PACS}}
- {{name: dcmjs, kind: dimse, host: 127.0.0.1, port: {dcmjs}, ae_title: DCMJS}}
- {{name: orthanc, kind: dimse, host: 127.0.0.1, port: {orthanc_port}, ae_title: ORTHANC}}
- {{name: dicomweb, kind: stow_rs, url: "{dicomweb}/dicom-web", instances_per_request: 7}}
- {{name: ourselves, kind: stow_rs, url: "{api}/api/v1/dicomweb", authentication: {{method: bearer, token: "file:{token}"}}}}
- {{name: bucket, kind: gcs, bucket: pictures, endpoint: "{gcs}", anonymous: true, template: "{{SOPInstanceUID}}.dcm"}}
- {{name: google, kind: google_healthcare, project: {p}, location: {l}, dataset: {d}, dicom_store: {s},
   endpoint: "{google}", service_account: "file:{key}"}}
- {{name: back, kind: filesystem, path: "{home}/back", template: "{{SOPInstanceUID}}.dcm"}}
rulesets:
- name: main
  priority: 10
  mode: FIRST_MATCH
  rules:
  - {{name: back, priority: 10, association: {{user: {{op: eq, value: admin/loop}}}}, destinations: [back]}}
  - name: all-to-all
    priority: 20
    destinations: [folder, storescp, dcmjs, orthanc, dicomweb, ourselves, bucket, google]
"""
OFTEN = "poll_seconds: 5, quiet_seconds: 0"
EXPLICIT, IMPLICIT, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.5"
SYNTAXES = {"CT": EXPLICIT, "MR": IMPLICIT, "CR": RLE, "US": EXPLICIT}
BY_DCMQRSCP = SYNTAXES | {"CR": EXPLICIT}
"""dcmqrscp takes one compressed syntax at a time, and none unless told."""
SENDERS = {
    "storescu": "modalities", "dcmjs-dimse": "modalities", "dicomweb-client": "door", "dicomweb": "web", "get": "get",
    "move": "move", "google": "cloud",
}  # fmt: skip
"""Who brings images -> the source that they come in by."""
DESTINATIONS = ("folder", "storescp", "dcmjs", "orthanc", "dicomweb", "ourselves", "bucket", "google")
"""Where the one rule sends all; what goes to ourselves comes in by the door again, and ends in a folder of its own."""


@dataclass(frozen=True)
class Image:
    """What has to arrive everywhere."""

    sender: str
    sop_class: str
    syntax: str
    data_set: bytes


@dataclass
class Matrix:
    """What runs, and what came in, as it left its sender: SOP Instance UID -> image."""

    axiom: Axiom
    dicomweb: str
    orthanc: str
    gcs: str
    google: GoogleHealthcare
    storescp: StoreSCP
    dcmjs: dcmjs_dimse.Receiver
    tokens: list[str]
    images: dict[str, Image] = field(default_factory=dict)

    def add(self, sender: str, files: list[bytes]) -> None:
        """Part 10 files as they left it."""
        for file in files:
            (sop_class, uid, syntax), data_set = parted(file)
            self.images[uid] = Image(sender, sop_class, syntax, data_set)

    def arrived(self, destination: str) -> dict[str, bytes]:
        """The Part 10 files that a destination has: SOP Instance UID -> bytes."""
        match destination:
            case "folder":
                return _files(self.axiom.home / "folder")
            case "ourselves":
                return _files(self.axiom.home / "back")
            case "storescp":
                return {meta_of(path)[1]: path.read_bytes() for path in self.storescp.files}
            case "dcmjs":
                return self.dcmjs.arrived()
            case "orthanc":
                return _from_orthanc(self.orthanc)
            case "dicomweb":
                return _from_orthanc(self.dicomweb)
            case "bucket":
                listed = httpx.get(f"{self.gcs}/storage/v1/b/pictures/o", timeout=60).json()["items"]
                url = f"{self.gcs}/download/storage/v1/b/pictures/o"
                return {i["name"].removesuffix(".dcm"): _get(f"{url}/{i['name']}?alt=media") for i in listed}
            case _:
                return self._from_google()

    def _from_google(self) -> dict[str, bytes]:
        rows = self.axiom.history("select location from deliveries where destination = 'google' and outcome = 'confirmed'")
        token = self.google.tokens.given[-1]
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/dicom; transfer-syntax=*"}
        return {row["location"].rpartition("/")[2]: _get(row["location"], **headers) for row in rows}


@contextmanager
def matrix(base: Path) -> Iterator[Matrix]:
    """All of it, with everything on its way: pollers poll, senders have sent."""
    files = {sender: _images(sender, n, base / "sent" / sender) for n, sender in enumerate(SENDERS)}
    modules = dcmjs_dimse.installed()
    with ExitStack() as stack:
        start = stack.enter_context
        archive_port, archive = start(orthanc(base / "archive", DicomAlwaysAllowFind=True, DicomAlwaysAllowMove=True))
        orthanc_port, by_dimse = start(orthanc(base / "orthanc"))
        _, by_web = start(orthanc(base / "web"))
        google_in = start(google_healthcare(base, over=archive))
        google = start(google_healthcare(base / "google"))
        get = start(dcmqrscp(base / "dcmqrscp", {"": files["get"]}, destinations={}))
        gcs = start(emulator("pictures"))
        pacs, dcmjs = start(storescp(base / "pacs")), start(dcmjs_dimse.receiver(modules, base / "dcmjs"))
        axiom = start(running_axiom(base / "home"))
        token, client_token = _keys(axiom, "loop", "client")
        (base / "token").write_text(token)
        one = Matrix(axiom, by_web, by_dimse, gcs, google, pacs, dcmjs, [token, client_token])
        put(archive, (f.read_bytes() for sender in ("dicomweb", "move", "google") for f in files[sender]))
        known = {"AET": "AXIOM", "Host": "127.0.0.1", "Port": axiom.dimse_port}
        httpx.put(f"{archive}/modalities/AXIOM", json=known, timeout=60).raise_for_status()
        (base / "in").mkdir()
        names = dict(zip("plds", STORE.split("/")[1::2], strict=True))
        axiom.apply(FLOW.format(
            listener=axiom.dimse_port, api=axiom.api, home=axiom.home, archive=archive, archive_port=archive_port,
            dcmqrscp=get.port, google_in=google_in.url, key_in=google_in.tokens.key_file(base / "in"), storescp=pacs.port,
            dcmjs=dcmjs.port, orthanc_port=orthanc_port, dicomweb=by_web, token=base / "token", gcs=gcs, google=google.url,
            key=google.tokens.key_file(base), often=OFTEN, **names,
        ))  # fmt: skip
        wait_until(lambda: axiom.json("status")["listeners"][0]["state"] == "listening", 60, "the listener")
        for sender in ("dicomweb", "move", "google", "storescu"):
            one.add(sender, [f.read_bytes() for f in files[sender]])
        one.add("get", _as_dcmqrscp_gives(base / "getscu", get.port))
        _by_storescu(files["storescu"], axiom.dimse_port)
        one.add("dcmjs-dimse", _by_dcmjs(modules, files["dcmjs-dimse"], axiom.dimse_port, base / "witness"))
        one.add("dicomweb-client", _by_dicomweb_client(files["dicomweb-client"], axiom, client_token))
        yield one


def _images(sender: str, number: int, folder: Path) -> list[Path]:
    """Six images in three transfer syntaxes of one patient, whose name is in a script of its own."""
    of = PATIENTS[number % len(PATIENTS)]
    patient = Patient(of.name, f"M-{sender}", of.born, of.sex, of.charset)
    out: list[Path] = []
    for modality, syntax in (BY_DCMQRSCP if sender == "get" else SYNTAXES).items():
        count = 2 if modality in ("CT", "MR") else 1
        images = synthetic(
            modality, 1, count, rows=48, patient=patient, study=number + 1, frames=3, transfer_syntax=syntax
        )
        out += write(images, folder / modality)
    return out


def _by_storescu(files: list[Path], port: int) -> None:
    """Each in its own transfer syntax, which storescu has to be told."""
    for syntax, option in ((EXPLICIT, "-xe"), (IMPLICIT, "-xi"), (RLE, "-xr")):
        storescu([f for f in files if meta_of(f)[2] == syntax], port, options=[option])


def _by_dcmjs(modules: Path, files: list[Path], port: int, witness: Path) -> list[bytes]:
    """To us, and to a witness, which tells what it makes of them: it writes data sets anew."""
    dcmjs_dimse.store(modules, files, port)
    with dcmjs_dimse.receiver(modules, witness) as other:
        dcmjs_dimse.store(modules, files, other.port)
        return list(other.arrived().values())


def _as_dcmqrscp_gives(folder: Path, port: int) -> list[bytes]:
    """What DCMTK's own C-GET client gets, bit for bit: implicit VR has become explicit on its way into dcmqrscp."""
    folder.mkdir()
    dcmtk("getscu", "-S", "+B", "-od", folder, "-aec", "DCMQR", "127.0.0.1", port, "-k", "0008,0052=STUDY", "-k",
          "0010,0020=M-get", "-k", "0020,000d=")  # fmt: skip
    return [f.read_bytes() for f in folder.iterdir()]


def _by_dicomweb_client(files: list[Path], axiom: Axiom, token: str) -> list[bytes]:
    """It writes data sets anew, by pydicom: what it wrote."""
    session = create_session_from_user_pass("", "")
    session.auth = None
    headers = {"Authorization": f"Bearer {token}"}
    client = DICOMwebClient(f"{axiom.api}/api/v1", stow_url_prefix="dicomweb", session=session, headers=headers)
    datasets = [dcmread(f) for f in files]
    written = [io.BytesIO() for _ in datasets]
    for ds, out in zip(datasets, written, strict=True):
        ds.save_as(out)
    assert "FailedSOPSequence" not in client.store_instances(datasets)
    return [out.getvalue() for out in written]


def _keys(axiom: Axiom, *names: str) -> list[str]:
    """API keys that may store, of the first administrator."""
    with httpx.Client(base_url=f"{axiom.api}/api/v1", timeout=60, trust_env=False) as client:

        def say(path: str, **body: Any) -> Any:
            return client.post(path, json=body).raise_for_status().json()

        signed = say("/auth/login", username="admin", password=axiom.password)
        client.headers["Authorization"] = f"Bearer {signed['access_token']}"
        signed = say("/auth/password", old_password=axiom.password, new_password="correct horse battery staple")
        client.headers["Authorization"] = f"Bearer {signed['access_token']}"
        return [str(say("/keys", name=name, permissions=["store"])["key"]) for name in names]


def _files(folder: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in folder.glob("*.dcm")}


def _from_orthanc(url: str) -> dict[str, bytes]:
    files = (_get(f"{url}/instances/{name}/file") for name in httpx.get(f"{url}/instances", timeout=60).json())
    return {parted(file)[0][1]: file for file in files}


def _get(url: str, **headers: str) -> bytes:
    return _client().get(url, headers=headers).raise_for_status().content


@functools.cache
def _client() -> httpx.Client:
    """One for all: each new one reads the machine's authorities."""
    return httpx.Client(timeout=60, trust_env=False)
