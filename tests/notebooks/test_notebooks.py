"""Each notebook runs from top to bottom through papermill, against a running API; and the API of notebooks by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import papermill
import pydicom.data
import pytest

from tests.workbench.fake_api import FakeApi, serve
from workbench import connect
from workbench.client import SignedOut

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serve(FakeApi()) as found:
        monkeypatch.setenv("AXIOM_API_URL", found)
        monkeypatch.setenv("AXIOM_USERNAME", "ada")
        monkeypatch.setenv("AXIOM_PASSWORD", "correct horse")
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        yield found


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda n: n.stem)
def test_a_notebook_runs(notebook: Path, url: str, tmp_path: Path) -> None:
    out = tmp_path / notebook.name
    papermill.execute_notebook(notebook, out, kernel_name="python3", progress_bar=False, cwd=tmp_path)
    cells = nbformat.read(out, 4).cells
    shown = str([cell.get("outputs") for cell in cells])
    assert "application/vnd.vegalite" in shown
    assert "images in 7 days" in shown


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda n: n.stem)
def test_a_notebook_has_a_cell_of_parameters(notebook: Path) -> None:
    cells = nbformat.read(notebook, 4).cells
    assert [c.cell_type for c in cells if "parameters" in c.metadata.get("tags", [])] == ["code"]


def test_history_comes_as_a_frame_with_types(url: str) -> None:
    frame = connect(url).history("select modality, count(*) as n, max(received_at) as newest from instances group by all")
    assert frame["n"].sum() == 400
    assert frame.schema["newest"].is_temporal()


def test_what_is_set_up_is_found_by_name_and_shown_as_a_table(url: str) -> None:
    axiom = connect(url)
    assert axiom.sources["modalities"]["ae_title"] == "AXIOM"
    assert [r["name"] for r in axiom.rules][:2] == ["ct-to-pacs", "mr-to-pacs"]
    assert axiom.rules[0]["ruleset"] == "main"
    assert "<td" in axiom.destinations._repr_html_()
    assert axiom.destinations.frame.height == 4
    with pytest.raises(KeyError, match="there are archive, nowhere, pacs, research"):
        axiom.destinations["nobody"]
    assert repr(axiom) == f"<Axiom Flow at {url}, as ada>"


def test_a_file_is_tried_on_the_rules(url: str) -> None:
    found = connect(url).test_rule(pydicom.data.get_testdata_file("CT_small.dcm"), source="modalities", calling_ae="CT01")
    assert [(d["rule"], d["matched"]) for d in found][:2] == [("ct-to-pacs", True), ("mr-to-pacs", False)]


def test_a_key_that_is_wrong_is_said(url: str) -> None:
    with pytest.raises(SignedOut):
        _ = connect(url, key="nonsense").sources
