"""One running Axiom Flow, images in by storescu, out by every way over HTTP at once: to Orthanc, to the double of Google's
Healthcare API, to the storage emulator, and to its own STOW-RS door and from there into a folder; each byte is compared.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.demo.studies import PATIENTS, synthetic, write
from tests.destinations.emulator import emulator
from tests.doubles.google_healthcare import STORE, GoogleHealthcare, google_healthcare
from tests.e2e.elements import data_set_bytes
from tests.peers import orthanc, storescu, wait_until
from tests.running import Axiom, running_axiom

FLOW = """
sources:
- {{name: modalities, kind: dimse_listener, ae_title: AXIOM, port: {listener}}}
- {{name: web, kind: stow_rs}}
destinations:
- {{name: archive, kind: stow_rs, url: "{orthanc}/dicom-web", instances_per_request: 7}}
- {{name: google, kind: google_healthcare, project: {p}, location: {l}, dataset: {d}, dicom_store: {s},
   endpoint: "{google}", service_account: "file:{key}"}}
- {{name: bucket, kind: gcs, bucket: pictures, endpoint: "{gcs}", anonymous: true, template: "{{SOPInstanceUID}}.dcm"}}
- {{name: ourselves, kind: stow_rs, url: "{api}/api/v1/dicomweb", authentication: {{method: bearer, token: "file:{token}"}}}}
- {{name: folder, kind: filesystem, path: "{home}/folder", template: "{{SOPInstanceUID}}.dcm", index: json_lines}}
rulesets:
- name: main
  priority: 10
  mode: ALL_MATCHES
  rules:
  - {{name: out, priority: 10, sources: [modalities], destinations: [archive, google, bucket, ourselves]}}
  - {{name: back, priority: 20, sources: [web], destinations: [folder]}}
"""


@dataclass
class Out:
    """What runs, and what was sent: SOP Instance UID -> data set."""

    axiom: Axiom
    sent: dict[str, bytes]
    orthanc: str
    google: GoogleHealthcare
    gcs: str
    token: str


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Out]:
    base = tmp_path_factory.mktemp("out")
    files = [f for n, modality in enumerate(("CT", "MR", "CR", "US")) for f in _study(base / modality, modality, n)]
    with contextlib.ExitStack() as stack:
        _, url = stack.enter_context(orthanc(base / "orthanc"))
        google = stack.enter_context(google_healthcare(base / "google"))
        gcs = stack.enter_context(emulator("pictures"))
        axiom = stack.enter_context(running_axiom(base / "home"))
        token = _key(axiom)
        (base / "token").write_text(token)
        names = dict(zip("plds", STORE.split("/")[1::2], strict=True))
        axiom.apply(FLOW.format(
            listener=axiom.dimse_port, orthanc=url, google=google.url, gcs=gcs, api=axiom.api, home=axiom.home,
            key=google.tokens.key_file(base), token=base / "token", **names,
        ))  # fmt: skip
        wait_until(lambda: axiom.json("status")["listeners"][0]["state"] == "listening", 60, "the listener")
        storescu(files, axiom.dimse_port)
        yield Out(axiom, {f.stem: data_set_bytes(f) for f in files}, url, google, gcs, token)


def _study(folder: Path, modality: str, n: int) -> list[Path]:
    return list(write(synthetic(modality, 1, 6, rows=64, patient=PATIENTS[n]), folder))


def _key(axiom: Axiom) -> str:
    """An API key that may store, of the first administrator."""
    with httpx.Client(base_url=f"{axiom.api}/api/v1", timeout=60, trust_env=False) as client:

        def say(path: str, **body: Any) -> Any:
            return client.post(path, json=body).raise_for_status().json()

        signed = say("/auth/login", username="admin", password=axiom.password)
        client.headers["Authorization"] = f"Bearer {signed['access_token']}"
        signed = say("/auth/password", old_password=axiom.password, new_password="correct horse battery staple")
        client.headers["Authorization"] = f"Bearer {signed['access_token']}"
        return str(say("/keys", name="loop", permissions=["store"])["key"])


def test_each_image_arrives_everywhere_as_it_was_sent(out: Out) -> None:
    axiom = out.axiom

    def back() -> bool:
        return {p.stem for p in (axiom.home / "folder").glob("*.dcm")} == set(out.sent)

    def settled() -> bool:
        return all(d["waiting"] + d["sending"] == 0 for d in axiom.json("status")["destinations"])

    wait_until(back, 120, "all to come back through our own door")
    wait_until(settled, 120, "everything to be delivered")
    status = axiom.json("status")
    assert (status["held"], status["dead"], status["unmatched"]) == (0, 0, 0)
    for uid, data in out.sent.items():
        assert data_set_bytes(axiom.home / "folder" / f"{uid}.dcm") == data
        assert _from_orthanc(out.orthanc, uid).endswith(data)
        got = httpx.get(f"{out.gcs}/download/storage/v1/b/pictures/o/{uid}.dcm?alt=media", timeout=60)
        assert got.content.endswith(data)
    token = out.google.tokens.given[-1]
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/dicom; transfer-syntax=*"}
    places = axiom.history("select distinct location from deliveries where destination = 'google' and outcome = 'confirmed'")
    assert len(places) == len(out.sent)
    for place in places:
        answer = httpx.get(place["location"], headers=headers, timeout=60)
        assert answer.content.endswith(out.sent[place["location"].rpartition("/")[2]])


def test_each_was_confirmed_once_and_no_secret_was_written_anywhere(out: Out) -> None:
    confirmed = wait_until(
        lambda: (
            rows := out.axiom.history(
                "select destination, count(*) n from deliveries where outcome = 'confirmed' group by all"
            )
        )
        and sum(r["n"] for r in rows) == 5 * len(out.sent)
        and rows,
        60,
        "history",
    )
    assert {r["n"] for r in confirmed} == {len(out.sent)}
    secrets = [s.encode() for s in (out.token, out.google.tokens.private_key.split("\n")[3], *out.google.tokens.given)]
    looked = 0
    for file in out.axiom.home.rglob("*"):
        if file.is_file() and file.suffix != ".dcm":
            data = file.read_bytes()
            looked += 1
            assert not any(s in data for s in secrets), file.name
    assert looked > 10
    assert not any(s in out.axiom.output.encode() for s in secrets)


def _from_orthanc(url: str, uid: str) -> bytes:
    [found] = httpx.post(f"{url}/tools/lookup", content=uid, timeout=60).json()
    return httpx.get(f"{url}{found['Path']}/file", timeout=60).content
