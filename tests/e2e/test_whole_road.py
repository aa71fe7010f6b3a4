"""The whole road with real peers: every readable file of pydicom and 500 synthetic images, in by storescu, out twice."""

from __future__ import annotations

import subprocess
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import UID

from engine.demo.studies import synthetic, write
from tests.dimse.support import pydicom_files
from tests.e2e.elements import data_set_bytes, elements
from tests.peers import dcmdump, free_port, storescp, storescu, wait_until
from tests.running import Axiom, running_axiom

CONFIGURATION = """
sources:
- {{name: modalities, kind: dimse_listener, ae_title: AXIOM, port: {listener}}}
destinations:
- {{name: pacs, kind: dimse, host: 127.0.0.1, port: {pacs}, ae_title: PACS}}
- {{name: folder, kind: filesystem, path: {home}/folder, template: "{{SOPInstanceUID}}.dcm"}}
- {{name: plain, kind: filesystem, path: {home}/plain, template: "{{SOPInstanceUID}}.dcm"}}
rulesets:
- name: main
  priority: 10
  rules:
  - name: changed
    priority: 10
    morphs:
    - {{kind: set, tag: InstitutionName, value: Axiom Hospital}}
    - {{kind: prepend, tag: PatientID, value: "H1-"}}
    destinations: [pacs, folder]
  - {{name: as-received, priority: 20, destinations: [plain]}}
"""
CHANGED = {0x00080080, 0x00100020, 0x04000561, 0x00080005}
"""What the rule changes: the institution, the patient's ID, Original Attributes, and a character set it may need."""


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Axiom, dict[str, Path], Path]]:
    """The images sent, the running Axiom, what the PACS got."""
    base = tmp_path_factory.mktemp("road")
    sent: dict[str, Path] = {}
    for path in pydicom_files():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sent.setdefault(str(dcmread(path, stop_before_pixels=True, force=True).SOPInstanceUID), path)
    for n, modality in enumerate(("CT", "MR", "CR")):
        count = (200, 200, 100)[n]
        for path in write(synthetic(modality, 2, count // 2, rows=64), base / modality):
            sent[path.stem] = path
    home = base / "home"
    with storescp(base / "pacs", port=free_port()) as scp, running_axiom(home) as axiom:
        axiom.apply(CONFIGURATION.format(listener=axiom.dimse_port, pacs=scp.port, home=home))
        wait_until(lambda: axiom.json("status")["listeners"][0]["state"] == "listening", 30, "the listener")
        yield axiom, sent, scp.folder


OPTIONS = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.57": "-xs",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}
"""How storescu is told to propose a transfer syntax; it knows no others."""


def send_all(axiom: Axiom, sent: dict[str, Path]) -> int:
    """By storescu, 4 associations at a time, each of files of one transfer syntax; how many it says were stored."""
    groups: dict[str, list[Path]] = {}
    for path in sent.values():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            syntax = dcmread(path, stop_before_pixels=True, force=True).file_meta.get("TransferSyntaxUID", "")
        if syntax in OPTIONS:
            groups.setdefault(OPTIONS[syntax], []).append(path)
    parts = [(option, files[n::4]) for option, files in groups.items() for n in range(4) if files[n::4]]

    def one(part: tuple[str, list[Path]]) -> str:
        options = [part[0], "--no-halt"]
        done = storescu(part[1], axiom.dimse_port, options=options, check=False, timeout=300)
        return done.stdout + done.stderr

    with ThreadPoolExecutor(4) as pool:
        output = "".join(pool.map(one, parts))
    return output.count("Received Store Response (Success)")


def test_what_was_received_was_delivered_once_and_only_changed_where_told(
    road: tuple[Axiom, dict[str, Path], Path],
) -> None:
    axiom, sent, pacs = road
    received = send_all(axiom, sent)
    assert received >= 500 + 60, f"storescu stored only {received} of {len(sent)}"

    def settled() -> bool:
        status = axiom.json("status")
        busy = [status["spool"][s] for s in ("receiving", "ready", "routed", "held")]
        return not any(busy) and all(d["waiting"] + d["sending"] == 0 for d in status["destinations"])

    wait_until(settled, 120, "everything to be delivered")
    status = axiom.json("status")
    assert (status["held"], status["dead"], status["unmatched"]) == (0, 0, 0)

    plain = {p.stem: p for p in (axiom.home / "plain").iterdir()}
    folder = {p.stem: p for p in (axiom.home / "folder").iterdir()}
    at_pacs: dict[str, Path] = {}
    for path in pacs.iterdir():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            at_pacs[str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)] = path
    assert len(plain) == len(folder) == len(at_pacs) == len(list(pacs.iterdir())) == received
    assert set(plain) == set(folder) == set(at_pacs) <= set(sent)

    rows: list[dict[str, Any]] = wait_until(
        lambda: (r := axiom.history("select sop_instance_uid, outcome from instances")) and len(r) == received and r,
        30,
        "history",
    )
    assert Counter(r["outcome"] for r in rows) == {"routed": received}

    def confirmed() -> dict[str, int]:
        sql = "select destination, count(*) n from deliveries where outcome = 'confirmed' group by all"
        return {r["destination"]: r["n"] for r in axiom.history(sql)}

    everywhere = {"pacs": received, "folder": received, "plain": received}
    wait_until(lambda: sum(confirmed().values()) >= sum(everywhere.values()), what="history of the deliveries")
    assert confirmed() == everywhere

    kept = {p: data_set_bytes(p) for p in (axiom.home / "spool" / "kept").glob("*/*.dcm")}
    as_received = set(kept.values())
    for uid, path in plain.items():
        assert data_set_bytes(path) in as_received, f"{uid}: an unmodified instance must leave exactly as it came"
    for uid, path in folder.items():
        check_changed(plain[uid], path, at_pacs[uid])
    sample = [*list(folder.values())[::12], *list(at_pacs.values())[::12]]
    for path in sample:
        assert "Axiom Hospital" in dcmdump(path)


def check_changed(before: Path, folder: Path, pacs: Path) -> None:
    assert data_set_bytes(folder) == data_set_bytes(pacs), "both destinations get the same bytes"
    syntax = UID(dcmread(before, stop_before_pixels=True, force=True).file_meta.TransferSyntaxUID)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old, new = dcmread(before, force=True), dcmread(folder)
        assert new.InstitutionName == "Axiom Hospital"
        patient = str(old.get("PatientID") or "")
        assert new.get("PatientID", "") == ("H1-" + patient if patient else "")  # nothing to prepend to stays nothing
        prior = new.OriginalAttributesSequence[-1].ModifiedAttributesSequence[0]
        assert prior.get("InstitutionName", "") == old.get("InstitutionName", "")
        assert not patient or prior.PatientID == patient
    assert old.get("PixelData") == new.get("PixelData")
    if syntax.is_deflated:
        return
    was, now = elements(before), elements(folder)
    for tag in (was.keys() | now.keys()) - CHANGED:
        if tag & 0xFFFF:  # a group's length says what it must
            assert was.get(tag) == now.get(tag), f"{folder.name}: {tag:08x} differs"
    assert [t for t in was if t not in CHANGED and t & 0xFFFF] == [t for t in now if t not in CHANGED and t & 0xFFFF]


def test_every_output_is_read_by_dcmdump(road: tuple[Axiom, dict[str, Path], Path]) -> None:
    axiom, _, pacs = road
    files = [*(axiom.home / "folder").iterdir(), *pacs.iterdir()]
    assert files
    for n in range(0, len(files), 100):
        out = subprocess.run(
            ["dcmdump", "-q", "+P", "0008,0018", *map(str, files[n : n + 100])],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        assert out.returncode == 0, out.stderr[-2000:]
        assert out.stdout.count("SOPInstanceUID") >= len(files[n : n + 100])
