"""What a morph warned of is seen: in the instance's story and in a trial of the rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.cli.app import app
from engine.settings import Settings
from engine.store import Store
from engine.store.migration import migrate
from tests.flow.road import Road, instance, receive

CT = {"tag": "Modality", "op": "eq", "value": "CT"}
MR = {"tag": "Modality", "op": "eq", "value": "MR"}


def configuration(*rules: dict[str, Any]) -> dict[str, Any]:
    numbered = [{"priority": n, "destinations": ["pacs"], **rule} for n, rule in enumerate(rules)]
    ruleset = {"name": "main", "priority": 1, "mode": "FIRST_MATCH", "rules": numbered}
    return {"destinations": [{"name": "pacs", "kind": "nothing"}], "rulesets": [ruleset]}


WARNING = {"kind": "set", "tag": "Modality", "value": "lower", "invalid": "warn"}
LIVE = configuration({"name": "ct", "when": CT, "morphs": [WARNING]}, {"name": "again", "when": {"all": [CT, CT]}})


@pytest.fixture
def home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings = Settings(home=home, min_free_mb=0)
    migrate(settings)
    Store(settings).save(LIVE, author="ada")
    road = Road(home, LIVE)
    receive(road.spool, [("1.2.1", instance("1.2.1")), ("1.2.2", instance("1.2.2", modality="MR"))])
    road.route()
    assert len(road.rows("SELECT * FROM instances")) == 2
    monkeypatch.setenv("AXIOM_HOME", str(home))
    return home


def run(*words: str) -> str:
    result = CliRunner().invoke(app, ["rules", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_explained_with_the_leaf_that_decided_and_a_warning_of_what_was_written(home: Path) -> None:
    decisions = {d["rule"]: d for d in json.loads(run("explain", "1.2.1", "--json"))["receptions"][0]["decisions"]}
    assert any("Modality" in reason and "CT" in reason for reason in decisions["ct"]["reasons"])
    assert any("The new value of Modality is not valid" in reason for reason in decisions["ct"]["reasons"])
    assert decisions["again"]["reasons"] == ["not asked: ct matched first"]
    shown = run("explain", "1.2.2")
    assert "- main/ct" in shown
    assert "MR" in shown


def test_a_trial_shows_the_warning(home: Path) -> None:
    file = home / "a.dcm"
    file.write_bytes(instance("1.2.9"))
    assert "The new value of Modality is not valid" in run("test", str(file))
