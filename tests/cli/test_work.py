"""The commands for daily work, each on a running engine with real images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.demo.studies import synthetic, write
from tests.peers import StoreSCP, accepts, free_port, storescp, wait_until
from tests.running import Axiom

RULES = """\
sources:
- {{name: modalities, kind: dimse_listener, port: {listener}}}
destinations:
- {{name: nowhere, kind: nothing}}
- {{name: pacs, kind: dimse, host: 127.0.0.1, port: {pacs}, ae_title: PACS, retry: {{attempts: 1}}}}
rulesets:
- name: main
  priority: 10
  rules:
  - name: ct
    priority: 10
    when: {{tag: Modality, op: eq, value: CT}}
    morphs: [{{kind: set, tag: InstitutionName, value: Elsewhere}}]
    destinations: [nowhere]
  - name: trial
    priority: 20
    state: shadow
    when: {{tag: Modality, op: eq, value: CT}}
    destinations: [pacs]
  - name: mr
    priority: 30
    when: {{tag: Modality, op: eq, value: MR}}
    destinations: [pacs]
"""


@pytest.fixture(scope="module")
def pacs_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def site(axiom: Axiom, pacs_port: int) -> Iterator[Axiom]:
    """The session's Axiom Flow with rules for CT and MR; nobody is at the port of `pacs` yet."""
    axiom.apply(RULES.format(listener=axiom.dimse_port, pacs=pacs_port))
    wait_until(lambda: accepts(axiom.dimse_port), what="the listener")
    yield axiom
    axiom.apply("sources: []\ndestinations: []\nrulesets: []\nschedules: []\n")
    wait_until(lambda: not accepts(axiom.dimse_port), what="the listener's end")


@pytest.fixture
def scp(tmp_path: Path) -> Iterator[StoreSCP]:
    with storescp(tmp_path / "scp") as running:
        yield running


def _send(axiom: Axiom, folder: Path) -> None:
    assert "sent." in axiom.cli("send", str(folder), "--port", str(axiom.dimse_port), "--calling-ae", "MODALITY").stdout


def _rows(axiom: Axiom, sql: str, count: int) -> list[dict[str, Any]]:
    """The history's rows once there are as many."""
    rows: list[dict[str, Any]] = []

    def enough() -> bool:
        rows[:] = axiom.history(sql)
        return len(rows) >= count

    wait_until(enough, 40, f"{count} rows of {sql}")
    return rows


def test_send_tells_what_the_peer_said(scp: StoreSCP, home: Path, tmp_path: Path):
    axiom = Axiom(home)
    files = write(synthetic("MR", 1, 3, 32), tmp_path / "study")
    (tmp_path / "study" / "notes.txt").write_text("this is no image")
    done = axiom.cli("send", str(tmp_path / "study"), "--port", str(scp.port), "--called-ae", "PACS", check=False)
    assert done.returncode == 1, "one of the files was not sent"
    assert done.stdout == "3 of 4 sent.\n"
    assert "notes.txt" in done.stderr
    assert len(scp.files) == 3
    told = axiom.json("send", *map(str, files), "--port", str(scp.port))
    assert [r["outcome"] for r in told] == ["confirmed"] * 3
    assert {r["code"] for r in told} == {"0x0000"}


def test_send_says_why_it_cannot(home: Path, tmp_path: Path, free_port: int):
    axiom = Axiom(home)
    (file,) = write(synthetic("CT", 1, 1, 16), tmp_path / "one")
    done = axiom.cli("send", str(file), "--port", str(free_port), check=False)
    assert done.returncode == 1
    assert str(free_port) in done.stderr
    assert "Traceback" not in done.stderr
    done = axiom.cli("send", str(tmp_path / "nothing.dcm"), check=False)
    assert (done.returncode, done.stderr) == (1, f"There is no file {tmp_path / 'nothing.dcm'}.\n")
    done = axiom.cli("send", str(file), "--called-ae", "MUCH TOO LONG A TITLE", check=False)
    assert done.returncode == 2
    assert "ae_title" in done.stderr


def test_history_answers_in_rows(site: Axiom, tmp_path: Path):
    write(synthetic("CT", 1, 4, 32, study=11), tmp_path / "ct")
    _send(site, tmp_path / "ct")
    sql = "select modality, calling_ae, outcome from instances where study_instance_uid like '%.1.11'"
    assert _rows(site, sql, 4) == [{"modality": "CT", "calling_ae": "MODALITY", "outcome": "routed"}] * 4
    changed = _rows(site, "select distinct path, before, after from changes where rule = 'ct'", 1)
    assert changed == [{"path": "InstitutionName", "before": "Example Hospital", "after": "Elsewhere"}]
    done = site.cli("history", sql, "--limit", "2")
    assert done.stdout.count("MODALITY") == 2
    assert "only the first 2 rows" in done.stderr
    done = site.cli("history", "select nonsense from instances", check=False)
    assert done.returncode == 1
    assert "nonsense" in done.stderr
    assert "Traceback" not in done.stderr


def test_rules_are_tried_without_sending(site: Axiom, tmp_path: Path):
    (ct,) = write(synthetic("CT", 1, 1, 16, study=12), tmp_path / "ct")
    decisions = site.json("rules", "test", str(ct), "--calling-ae", "CT01")["decisions"]
    assert [(d["rule"], d["state"], d["matched"]) for d in decisions] == [
        ("ct", "live", True), ("trial", "shadow", True), ("mr", "live", False),
    ]  # fmt: skip
    assert decisions[0]["destinations"] == ["nowhere"]
    assert decisions[0]["changes"][0]["after"] == "Elsewhere"
    shown = site.cli("rules", "test", str(ct)).stdout
    assert "+ main/ct\n" in shown
    assert "+ main/trial (shadow: delivers nothing)" in shown
    assert "- main/mr\n" in shown
    assert "InstitutionName: 'Example Hospital' -> 'Elsewhere'" in shown
    draft = tmp_path / "draft.yaml"
    draft.write_text(
        "rulesets: [{name: new, priority: 1, rules: [{name: all, priority: 1, destinations: [nowhere]}]}]\n"
    )
    assert [d["rule"] for d in site.json("rules", "test", str(ct), "--config", str(draft))["decisions"]] == ["all"]
    done = site.cli("rules", "test", str(ct), "--source", "moon", check=False)
    assert done.stderr == "There is no source called moon; there are: modalities.\n"


def test_unmatched_are_listed_and_replayed_through_a_later_rule(site: Axiom, pacs_port: int, tmp_path: Path):
    write(synthetic("CR", 1, 2, 32, study=13), tmp_path / "cr")
    _send(site, tmp_path / "cr")
    (item,) = wait_until(lambda: site.json("unmatched", "list"), 40, "the unmatched batch")
    assert item["count"] == 2
    assert "MODALITY" in site.cli("unmatched", "list").stdout
    document = site.json("config", "export")
    document["rulesets"][0]["rules"].append({"name": "cr", "priority": 40, "destinations": ["nowhere"]})
    site.apply(json.dumps({"rulesets": document["rulesets"]}))
    assert "goes through the rules again" in site.cli("unmatched", "replay", item["id"]).stdout
    rows = _rows(site, "select outcome from deliveries where branch = 'main/cr' and index >= 0", 2)
    assert {r["outcome"] for r in rows} == {"confirmed"}
    assert site.json("unmatched", "list") == []
    done = site.cli("unmatched", "replay", item["id"], check=False)
    assert done.returncode == 1
    assert item["id"] in done.stderr
    site.apply(RULES.format(listener=site.dimse_port, pacs=pacs_port))


def test_held_are_listed_with_their_reason_mended_and_retried(site: Axiom, pacs_port: int, tmp_path: Path):
    bad = RULES.format(listener=site.dimse_port, pacs=pacs_port).replace(
        "{kind: set, tag: InstitutionName, value: Elsewhere}", "{kind: prepend, tag: StudyID, value: much-too-long-for-it-}"
    )
    site.apply(bad)
    write(synthetic("CT", 1, 1, 32, study=14), tmp_path / "ct")
    _send(site, tmp_path / "ct")
    (item,) = wait_until(lambda: site.json("held", "list"), 40, "the held batch")
    assert "StudyID" in item["reason"]
    assert "StudyID" in site.cli("held", "list").stdout
    site.apply(RULES.format(listener=site.dimse_port, pacs=pacs_port))
    assert site.json("held", "retry", "--all")["done"] == [item["id"]]
    where = "where study_instance_uid like '%.1.14' and outcome = 'routed'"
    assert len(_rows(site, f"select outcome from instances {where}", 1)) == 1
    assert site.cli("held", "list").stdout == "Nothing is held.\n"


def test_held_can_be_thrown_away_with_a_reason(site: Axiom, pacs_port: int, tmp_path: Path):
    bad = RULES.format(listener=site.dimse_port, pacs=pacs_port).replace(
        "{kind: set, tag: InstitutionName, value: Elsewhere}", "{kind: prepend, tag: StudyID, value: much-too-long-for-it-}"
    )
    site.apply(bad)
    write(synthetic("CT", 1, 1, 32, study=15), tmp_path / "ct")
    _send(site, tmp_path / "ct")
    (item,) = wait_until(lambda: site.json("held", "list"), 40, "the held batch")
    done = site.cli("held", "discard", item["id"], "--reason", "a test")
    assert done.stdout == f"{item['id']}: thrown away\n"
    assert site.json("held", "list") == []
    site.apply(RULES.format(listener=site.dimse_port, pacs=pacs_port))


def test_dead_letters_are_listed_retried_and_given_up(site: Axiom, pacs_port: int, tmp_path: Path):
    write(synthetic("MR", 1, 2, 32, study=16), tmp_path / "mr")
    _send(site, tmp_path / "mr")
    (item,) = wait_until(lambda: site.json("dead", "list"), 40, "the dead letter")
    assert (item["destination"], item["instances"]) == ("pacs", 2)
    assert item["id"] in site.cli("dead", "list", "--destination", "pacs").stdout
    assert site.json("dead", "list", "--destination", "nowhere") == []
    assert "pacs" in site.cli("doctor", check=False).stdout
    with storescp(tmp_path / "pacs", port=pacs_port) as running:
        assert site.json("dead", "retry", item["id"])["failed"] == []
        wait_until(lambda: len(running.files) == 2, 40, "the images at the PACS")
    wait_until(lambda: not site.json("dead", "list"), what="no dead letter")
    write(synthetic("MR", 1, 1, 32, study=17), tmp_path / "more")
    _send(site, tmp_path / "more")
    wait_until(lambda: site.json("dead", "list"), 40, "the dead letter")
    assert "given up" in site.cli("dead", "discard", "--all", "--reason", "a test").stdout
    assert site.cli("dead", "list").stdout == "There are no dead letters.\n"


def test_what_is_asked_for_must_be_named(site: Axiom):
    done = site.cli("dead", "retry", check=False)
    assert done.returncode == 2
    assert "--all" in done.stderr
    done = site.cli("held", "retry", "no-such-batch", check=False)
    assert done.returncode == 1
    assert "no-such-batch" in done.stderr


def test_where_nothing_was_started_yet_that_is_said(tmp_path: Path):
    axiom = Axiom(tmp_path / "nowhere")
    lists = (["held", "list"], ["dead", "list"], ["unmatched", "list"])
    for command in (["status"], *lists, ["history", "select 1"], ["config", "export"], ["inject-admin"]):
        done = axiom.cli(*command, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(f"There is no Axiom Flow at {tmp_path / 'nowhere'} yet: `axiom up` makes it.")
    assert not axiom.home.exists()
    done = axiom.cli("doctor", check=False)
    assert done.returncode == 1
    assert "does not exist yet: `axiom up` makes it." in done.stdout
