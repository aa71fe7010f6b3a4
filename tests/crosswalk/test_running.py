"""The whole thing running: a table that is away holds, and what waited goes on by itself when it is back."""

from __future__ import annotations

from pathlib import Path

from tests.flow.road import instance
from tests.peers import storescu, wait_until
from tests.running import Axiom

CONFIG = """
sources:
  - {{name: modalities, kind: dimse_listener, ae_title: AXIOM, port: {port}}}
destinations:
  - {{name: archive, kind: filesystem, path: "{folder}", template: "{{PatientID}}.dcm"}}
crosswalk_sources:
  - {{name: mrn, kind: csv, path: "{table}"}}
crosswalk_maps:
  - {{name: m, source: mrn, match: {{PatientID: mrn}}, replace: {{PatientID: pseudonym}}, sync_seconds: {sync}}}
rulesets:
  - name: main
    priority: 1
    rules:
      - {{name: all, priority: 1, morphs: [{{kind: crosswalk, map: m}}], destinations: [archive]}}
"""
EMPTY = "sources: []\ndestinations: []\nrulesets: []\ncrosswalk_maps: []\ncrosswalk_sources: []\n"


def test_images_wait_for_their_table_and_go_on_by_themselves(axiom: Axiom, tmp_path: Path) -> None:
    table, archive = tmp_path / "patients.csv", tmp_path / "archive"
    (tmp_path / "one.dcm").write_bytes(instance("1.2.826.0.1.77", patient="P1"))
    parts = {"port": axiom.dimse_port, "folder": archive, "table": table}
    axiom.apply(CONFIG.format(sync=0, **parts))
    try:
        wait_until(lambda: axiom.json("status")["listeners"][0]["state"] == "listening", 60, "the listener")
        storescu([tmp_path / "one.dcm"], axiom.dimse_port)
        held = wait_until(lambda: axiom.json("held", "list"), 60, "the image to be held")
        assert held[0]["waits_for"] == ["crosswalk_sources/mrn"]
        (tmp_path / "new.csv").write_text("mrn,pseudonym\nP1,A1\n")
        (tmp_path / "new.csv").rename(table)
        wait_until(lambda: (archive / "A1.dcm").is_file(), 90, "the image to be released and delivered")
        assert axiom.json("held", "list") == []
        axiom.apply(CONFIG.format(sync=600, **parts))
        wait_until(lambda: axiom.json("crosswalk", "status")["maps"][0]["state"] == "done", 120, "the table to be synced")
    finally:
        axiom.apply(EMPTY)
