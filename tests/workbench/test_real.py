"""The workbench on the real thing: `axiom up`, images through the real listener, each page on what then is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import papermill
import pytest
from streamlit.testing.v1 import AppTest

from engine.demo.studies import synthetic, write
from tests.peers import free_port, wait_until
from tests.running import ROOT, Axiom, running_axiom
from tests.workbench.test_pages import PAGES, button, choose, said
from workbench import Workbench, connect

PASSWORD = "an evening in the reading room"

CONFIGURATION = """
sources:
  - {{name: modalities, kind: dimse_listener, port: {dimse}}}
destinations:
  - {{name: nowhere, kind: nothing}}
  - {{name: archive, kind: filesystem, path: "{folder}/archive", template: "{{PatientID}}/{{SOPInstanceUID}}.dcm"}}
  - {{name: pacs, kind: dimse, host: 127.0.0.1, port: {closed}, ae_title: PACS}}
rulesets:
  - name: main
    priority: 10
    rules:
      - name: ct
        priority: 10
        when: {{tag: Modality, op: eq, value: CT}}
        morphs: [{{kind: prepend, tag: PatientID, value: "H1-"}}]
        destinations: [archive, pacs]
      - name: mr
        priority: 20
        when: {{tag: Modality, op: eq, value: MR}}
        morphs: [{{kind: set, tag: StudyDate, value: "{{PatientID}}"}}]
        destinations: [nowhere]
"""


class Site:
    """A running Axiom Flow that has received a CT, an MR that is held, and a CR that no rule wants."""

    def __init__(self, axiom: Axiom, folder: Path) -> None:
        self.axiom = axiom
        self.files = {m: write(synthetic(m, instances=1), folder / m)[0] for m in ("CT", "MR", "CR")}
        first = connect(axiom.api, username="admin", password=axiom.password)
        assert first.client.must_change_password
        first.client.change_password(axiom.password, PASSWORD)
        axiom.apply(CONFIGURATION.format(dimse=axiom.dimse_port, closed=free_port(), folder=folder))
        wait_until(lambda: [s["state"] for s in self.workbench().status["listeners"]] == ["listening"], 60, "the listener")
        axiom.cli("send", *map(str, self.files.values()))
        wait_until(lambda: self.count("instances") == 3 and self.count("deliveries") >= 2, 60, "history")

    def workbench(self) -> Workbench:
        return connect(self.axiom.api, username="admin", password=PASSWORD)

    def count(self, view: str) -> int:
        return int(self.workbench().history(f"select count(*) as n from {view}")["n"][0])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "home").mkdir()
    with running_axiom(folder / "home") as axiom:
        yield Site(axiom, folder)


@pytest.fixture
def open_real(site: Site, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AXIOM_API_URL", site.axiom.api)
    monkeypatch.chdir(ROOT)

    def open_(name: str, **query: str) -> AppTest:
        at = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=120)
        at.session_state["client"] = site.workbench().client
        for key, value in query.items():
            at.query_params[key] = value
        at.switch_page(f"workbench/pages/{name}.py").run()
        assert not at.exception, at.exception
        assert "not answering" not in said(at)
        return at

    return open_


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens(page: str, open_real: Any) -> None:
    assert not open_real(page).error


def test_today_tells_what_came_and_what_needs_a_person(open_real: Any) -> None:
    labels = [b.label for b in open_real("today").button]
    assert any("1 image held" in label for label in labels)
    assert any("1 image that no rule matched" in label for label in labels)


def test_the_whole_story_of_an_image(site: Site, open_real: Any) -> None:
    uid = site.workbench().history("select sop_instance_uid from instances where modality = 'CT'")["sop_instance_uid"][0]
    words = said(open_real("instance", uid=uid))
    for expected in ("Received, and safe on disk", "main › ct", "PatientID", "H1-", "archive has it", "pacs not now"):
        assert expected in words


def test_a_waiting_delivery_says_what_the_peer_said(open_real: Any) -> None:
    at = open_real("deliveries", view="waiting")
    choose(at, "deliveries-waiting", [0])
    assert "Nothing listens on 127.0.0.1" in said(at)


def test_a_rule_is_tried_on_a_file_before_it_is_saved(site: Site) -> None:
    found = site.workbench().test_rule(site.files["CT"], source="modalities")
    ct = next(d for d in found if d["rule"] == "ct")
    assert ct["matched"]
    assert [(c["path"], c["before"] and c["after"].startswith("H1-")) for c in ct["changes"]] == [("PatientID", True)]


def test_what_is_wrong_with_a_rule_stands_in_its_line(open_real: Any) -> None:
    at = open_real("rules", show="main/ct")
    next(t for t in at.text_input if t.label == "Value").set_value("").run()
    next(s for s in at.selectbox if s.label == "Operator").set_value("regex").run()
    next(t for t in at.text_input if t.label == "Value").set_value("(").run()
    button(at, "Save").click().run()
    assert [m.value for m in at.markdown if m.value.startswith(":red[")]
    assert at.title[0].value == "ct"


def test_the_same_priority_twice_is_refused_beside_the_field(open_real: Any) -> None:
    at = open_real("rules", show="main/ct")
    next(n for n in at.number_input if n.label.startswith("Priority")).set_value(20).run()
    button(at, "Save").click().run()
    assert any("is taken by the rule" in m.value for m in at.markdown)


def test_put_right_and_sent_through_again_a_held_image_arrives(site: Site, open_real: Any) -> None:
    at = open_real("rules", show="main/mr")
    next(t for t in at.text_input if t.label == "Value *").set_value("20260101").run()
    button(at, "Save").click().run()
    assert at.title[0].value == "Rules"
    at = open_real("held")
    choose(at, "held-held", [0])
    button(at, "Send through the rules again").click().run()
    sql = "select count(*) as n from deliveries where outcome = 'confirmed' and branch = 'main/mr'"
    wait_until(lambda: site.workbench().history(sql)["n"][0] == 1, 60, "the MR at its destination")


def test_a_destination_that_answers_is_added_and_removed(site: Site, open_real: Any) -> None:
    at = open_real("destinations")
    button(at, "Nothing").click().run()
    at.text_input[0].set_value("void").run()
    button(at, "Save").click().run()
    assert "void" in [d["name"] for d in site.workbench().destinations]
    at = open_real("destinations", show="void")
    button(at, "Yes, delete it").click().run()
    assert "void" not in [d["name"] for d in site.workbench().destinations]


def test_the_notebook_runs_on_it(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AXIOM_API_URL", site.axiom.api)
    monkeypatch.setenv("AXIOM_USERNAME", "admin")
    monkeypatch.setenv("AXIOM_PASSWORD", PASSWORD)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook, out = ROOT / "notebooks" / "explore_history.ipynb", tmp_path / "out.ipynb"
    papermill.execute_notebook(notebook, out, kernel_name="python3", progress_bar=False)
    assert "images in 7 days" in out.read_text()
