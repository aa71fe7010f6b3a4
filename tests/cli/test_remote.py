"""Commands for an Axiom Flow elsewhere: the same words and JSON as on its own machine, through its API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from engine.cli.app import app
from engine.errors import AxiomError, Denied, Invalid
from engine.security import passwords
from engine.settings import Settings
from tests.api.site import Site, serving
from tests.cli.test_config import YAML
from tests.peers import free_port
from tests.running import Axiom


@pytest.fixture
def site(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(passwords, "ROUNDS", 4)
    with serving(Settings(home=home, api_port=free_port(), min_free_mb=0)) as served:
        yield served


class There:
    """The command, run where there is no Axiom Flow, for the one at `site`."""

    def __init__(self, site: Site, nowhere: Path, *permissions: str) -> None:
        with site.signed_in() as client:
            made = client.post("/keys", json={"name": "ci", "permissions": list(permissions)}).raise_for_status()
        self.key = made.json()["key"]
        self.env = {"AXIOM_HOME": str(nowhere), "AXIOM_URL": site.url, "AXIOM_KEY": self.key}

    def run(self, *words: str, text: str = "", **env: str) -> Result:
        return CliRunner().invoke(app, list(words), input=text, env=self.env | env)

    def said(self, *words: str, text: str = "") -> str:
        done = self.run(*words, text=text)
        assert done.exit_code == 0, done.exception or done.output
        return done.stdout


def test_the_configuration_of_another_instance(site: Site, tmp_path: Path) -> None:
    there = There(site, tmp_path / "nowhere", "view", "edit")
    assert there.said("config", "validate", "-", text=YAML) == "It holds.\n"
    words = there.said("config", "diff", "-", text=YAML)
    assert words.startswith("+ ") and words.endswith("Nothing was changed; live is revision 0.\n")
    assert site.store.live_revision() == 0
    assert there.said("config", "apply", "-", "--reason", "first", text=YAML).endswith("Live is revision 1.\n")
    who = site.store.revision(1).author
    assert who.startswith("root (key ")
    assert there.said("config", "export") == site.store.export_yaml()
    assert json.loads(there.said("config", "export", "--revision", "1", "--json")) == site.store.document()[1]
    again = json.loads(there.said("config", "apply", "-", "--dry-run", "--json", text=there.said("config", "export")))
    assert (again["changed"], again["words"], again["revision"], again["dry_run"]) == (False, [], 1, True)
    (row,) = json.loads(there.said("config", "history", "--json"))
    assert (row["id"], row["live"], row["reason"], row["author"]) == (1, True, "first", who)
    assert who.split()[0] in there.said("config", "history")
    assert not (tmp_path / "nowhere").exists()


def test_the_status_of_another_instance(site: Site, tmp_path: Path) -> None:
    there = There(site, tmp_path / "nowhere", "view")
    now = json.loads(there.said("status", "--json"))
    assert (now["node"], now["alerts"]["firing"]) == ("node-1", [])
    assert "alerts: none are configured" in there.said("status")


def test_what_it_refuses_is_said_in_its_words(site: Site, tmp_path: Path) -> None:
    looks_only = There(site, tmp_path / "nowhere", "view")
    assert looks_only.said("config", "diff", "-", text=YAML)
    done = looks_only.run("config", "apply", "-", text=YAML)
    assert isinstance(done.exception, Denied)
    assert isinstance(looks_only.run("status", AXIOM_KEY="axm_no_such").exception, Denied)
    there = There(site, tmp_path / "nowhere", "view", "edit")
    wrong = there.run("config", "apply", "-", text="destinations: [{name: x, kind: nonsense}]")
    assert isinstance(wrong.exception, Invalid)
    assert "line 1: Unknown kind" in str(wrong.exception)
    away = there.run("status", AXIOM_URL=f"http://127.0.0.1:{free_port()}")
    assert isinstance(away.exception, AxiomError)
    assert "does not answer" in str(away.exception)
    assert site.store.live_revision() == 0


def test_a_key_is_taken_from_where_it_is(site: Site, tmp_path: Path) -> None:
    there = There(site, tmp_path / "nowhere", "view")
    (tmp_path / "key").write_text(there.key + "\n")
    done = there.run("status", "--json", "--key", f"file:{tmp_path}/key", AXIOM_KEY="")
    assert done.exit_code == 0, done.output
    wrong = (("AXIOM_KEY", "", "needs a key"), ("AXIOM_KEY", "file:key", "absolute path"), ("AXIOM_URL", "axiom:1", "https://"))
    for name, value, words in wrong:
        done = there.run("status", **{name: value})
        assert (done.exit_code, words in done.output) == (2, True), done.output


def test_a_sentence_and_an_exit_code_for_a_shell(site: Site, tmp_path: Path) -> None:
    axiom = Axiom(tmp_path / "nowhere", AXIOM_URL=site.url, AXIOM_KEY="axm_no_such")
    done = axiom.cli("status", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("The key is not taken there: ")
