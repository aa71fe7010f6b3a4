"""The data browser of a running Axiom Flow, with dcmqrscp and Orthanc behind it: asked, chosen, fetched, routed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.dimse.archives import NAMES, archive_of, same, studies
from tests.peers import wait_until
from tests.running import Axiom

CONFIGURATION = """
sources:
- {{name: modalities, kind: dimse_listener, ae_title: AXIOM, port: {listener}}}
- {{name: dcmtk, kind: dimse_qr, host: 127.0.0.1, port: {dcmqrscp}, ae_title: DCMQR}}
- {{name: dcmtk-move, kind: dimse_qr, host: 127.0.0.1, port: {dcmqrscp}, ae_title: DCMQR, retrieve_by: move}}
- {{name: orthanc, kind: dimse_qr, host: 127.0.0.1, port: {orthanc}, ae_title: ORTHANC}}
- {{name: orthanc-move, kind: dimse_qr, host: 127.0.0.1, port: {orthanc}, ae_title: ORTHANC, retrieve_by: move}}
- {{name: web, kind: dicomweb, url: "{url}/dicom-web"}}
- {{name: away, kind: dimse_qr, host: 127.0.0.1, port: 1, ae_title: NOBODY}}
destinations:
- {{name: folder, kind: filesystem, path: {home}/out, template: "{{PatientID}}/{{SOPInstanceUID}}.dcm"}}
rulesets:
- name: main
  priority: 10
  rules: [{{name: fetched, priority: 10, sources: [dcmtk, dcmtk-move, orthanc, orthanc-move, web], destinations: [folder]}}]
"""
SOURCES = {"JAPANESE": "dcmtk", "LATIN": "dcmtk-move", "CYRILLIC": "orthanc", "CHINESE": "orthanc-move", "UNICODE": "web"}


@dataclass
class Place:
    axiom: Axiom
    files: dict[str, list[Path]]
    api: httpx.Client

    def out(self, patient: str) -> list[Path]:
        return sorted((self.axiom.home / "out" / patient).glob("*.dcm"))

    def query(self, source: str, level: str = "study", **filters: str) -> Any:
        answer = self.api.post("/data-browser/query", json={"source": source, "level": level, "filters": filters})
        assert answer.is_success, answer.text
        return answer.json()

    def route(self, source: str, items: list[dict[str, Any]]) -> str:
        answer = self.api.post("/data-browser/route", json={"source": source, "items": items})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def answers(self) -> bool:
        try:
            return self.api.get("/health/live").is_success
        except httpx.TransportError:
            return False

    def ended(self, route: str) -> Any:
        def state() -> Any:
            one = self.api.get(f"/data-browser/routes/{route}").raise_for_status().json()
            return one if one["state"] != "running" else None

        return wait_until(state, 90, f"the end of route {route}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    base = tmp_path_factory.mktemp("browser")
    home, files = base / "home", studies(base / "sent")
    with ExitStack() as stack:
        axiom = Axiom(home)
        ports = {"AXIOM": axiom.dimse_port}
        dcmqrscp = stack.enter_context(archive_of("dcmqrscp", base / "dcmqrscp", files, ports))
        orthanc = stack.enter_context(archive_of("orthanc", base / "orthanc", files, ports))
        stack.callback(axiom.stop)
        axiom.up()
        axiom.apply(
            CONFIGURATION.format(
                listener=axiom.dimse_port, dcmqrscp=dcmqrscp.port, orthanc=orthanc.port, url=orthanc.url, home=home
            )
        )
        wait_until(lambda: axiom.json("status")["listeners"][0]["state"] == "listening", 60, "the listener")
        with httpx.Client(base_url=f"{axiom.api}/api/v1", timeout=60, trust_env=False) as api:
            sign_in(axiom, api)
            yield Place(axiom, files, api)


def sign_in(axiom: Axiom, api: httpx.Client) -> None:
    def login(password: str) -> None:
        answer = api.post("/auth/login", json={"username": "admin", "password": password}).raise_for_status()
        api.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    login(axiom.password)
    new = {"old_password": axiom.password, "new_password": "Another-password-4711"}
    api.post("/auth/password", json=new).raise_for_status()
    login(new["new_password"])


@pytest.mark.parametrize("source", ["dcmtk", "orthanc", "web"])
def test_every_kind_answers_in_one_shape_and_every_script(place: Place, source: str) -> None:
    found = place.query(source)
    names = {m["attributes"]["00100020"]["Value"][0]: m["attributes"]["00100010"]["Value"][0] for m in found["matches"]}
    assert names == {patient: name for patient, (_, name) in NAMES.items()}
    assert not found["more"]
    first = next(m for m in found["matches"] if m["attributes"]["00100020"]["Value"] == ["LATIN"])
    series = place.query(source, "series", StudyInstanceUID=first["study_instance_uid"])["matches"]
    assert {m["attributes"]["00080060"]["Value"][0] for m in series} == {"CT", "MR"}
    uids = {"StudyInstanceUID": first["study_instance_uid"], "SeriesInstanceUID": series[0]["series_instance_uid"]}
    images = place.query(source, "instance", **uids)["matches"]
    assert len(images) in (2, 3)
    patients = place.query(source, "patient", PatientID="LATIN")["matches"]
    assert [m["attributes"]["00100010"]["Value"] for m in patients] == [[NAMES["LATIN"][1]]]
    assert all(m["sop_instance_uid"] for m in images)


def test_what_is_chosen_comes_out_at_the_destination_byte_by_byte(place: Place) -> None:
    """C-GET and C-MOVE from both archives, and WADO-RS, at the same time."""
    routes = {
        patient: place.route(source, place.query(source, PatientID=patient)["matches"])
        for patient, source in SOURCES.items()
    }
    for patient, route in routes.items():
        done = place.ended(route)
        assert (done["state"], done["fetched"], done["received"]) == ("done", 1, 5), done
        wait_until(lambda patient=patient: same(place.out(patient), place.files[patient]), 60)  # type: ignore[misc]

    def known() -> dict[str, tuple[str, str]]:
        rows = place.axiom.history("select distinct patient_id, source, patient_name from instances")
        return {r["patient_id"]: (r["source"], r["patient_name"]) for r in rows}

    expected = {patient: (source, NAMES[patient][1]) for patient, source in SOURCES.items()}
    wait_until(lambda: expected.items() <= known().items(), 60, "the history")


def test_one_image_and_one_series_alone(place: Place) -> None:
    study = place.query("orthanc", PatientID="PLAIN")["matches"][0]["study_instance_uid"]
    series = place.query("orthanc-move", "series", StudyInstanceUID=study, Modality="MR")["matches"]
    assert place.ended(place.route("orthanc-move", series))["received"] == 2
    wait_until(lambda: len(place.out("PLAIN")) == 2, 60)
    images = place.query("orthanc", "instance", StudyInstanceUID=study)["matches"]
    known = {path.stem for path in place.out("PLAIN")}
    new = next(m for m in images if m["sop_instance_uid"] not in known)
    assert place.ended(place.route("orthanc", [new]))["received"] == 1
    wait_until(lambda: len(place.out("PLAIN")) == 3, 60)


def test_the_command_asks_and_routes(place: Place) -> None:
    answer = place.axiom.json("browse", "orthanc", "PatientID=CYRILLIC", "--level", "study")
    assert [m["attributes"]["00100010"]["Value"] for m in answer["matches"]] == [[NAMES["CYRILLIC"][1]]]
    shown = place.axiom.cli("browse", "orthanc", "PatientName=*王*").stdout
    assert "王^小东" in shown
    assert "王^小東" in shown
    done = place.axiom.json("browse", "orthanc", "PatientID=PLAIN", "--route")
    assert (done["state"], done["received"]) == ("done", 5)
    wait_until(lambda: same(place.out("PLAIN"), place.files["PLAIN"]), 60)
    failed = place.axiom.cli("browse", "away", check=False)
    assert failed.returncode == 1
    assert "Nothing listens" in failed.stderr


def test_a_peers_failure_is_told_as_the_peers(place: Place) -> None:
    answer = place.api.post("/data-browser/query", json={"source": "away"})
    assert (answer.status_code, answer.headers["content-type"]) == (502, "application/problem+json")
    assert "Nothing listens on 127.0.0.1 port 1" in answer.json()["detail"]
    missing = place.api.post("/data-browser/query", json={"source": "nowhere"})
    assert missing.status_code == 404
    assert "dcmtk, " in missing.json()["detail"]
    wrong = place.api.post("/data-browser/query", json={"source": "modalities"})
    assert wrong.status_code == 422


def test_a_route_goes_on_when_the_api_is_killed(place: Place) -> None:
    """It stands in the store, and the engine's pollers do it."""
    matches = place.query("orthanc")["matches"]
    route = place.route("orthanc", matches)
    [api] = [pid for pid, line in place.axiom.processes().items() if "api" in line]
    os.kill(api, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(api), 60, "the end of the API")
    wait_until(place.answers, 90, "the API to be there again")
    done = place.ended(route)
    assert (done["state"], done["fetched"], done["received"]) == ("done", len(NAMES), 5 * len(NAMES))
    for patient in ("CYRILLIC", "PLAIN"):  # the others came from elsewhere before, with other bytes of file meta
        wait_until(lambda patient=patient: same(place.out(patient), place.files[patient]), 60)  # type: ignore[misc]
