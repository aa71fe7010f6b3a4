"""`axiom config`: out and in again, compared, refused with line and place."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest

from engine.cli.first_start import example_document
from engine.settings import Settings
from tests.running import Axiom

YAML = """\
sources:
- {name: modalities, kind: dimse_listener, port: 11199}
destinations:
- {name: nowhere, kind: nothing}
rulesets:
- name: main
  priority: 10
  rules:
  - name: ct
    priority: 10
    when: {tag: Modality, op: eq, value: CT}
    destinations: [nowhere]
"""


@pytest.fixture
def fresh(tmp_path: Path) -> Axiom:
    return Axiom(tmp_path / "home")


def test_export_apply_export_is_the_same(fresh: Axiom):
    assert "Live is revision 1." in fresh.cli("config", "apply", "-", "--reason", "first", text=YAML).stdout
    exported = fresh.cli("config", "export").stdout
    assert "11199" in exported
    again = fresh.cli("config", "apply", "-", text=exported)
    assert again.stdout == "Nothing differs from revision 1.\n"
    assert fresh.cli("config", "export").stdout == exported
    assert fresh.json("config", "export")["sources"][0]["port"] == 11199


def test_a_family_that_is_not_named_stays(fresh: Axiom):
    fresh.apply(YAML)
    fresh.apply("sources: []\n")
    document = fresh.json("config", "export")
    assert document["sources"] == []
    assert document["rulesets"][0]["rules"][0]["name"] == "ct"
    old = fresh.json("config", "export", "--revision", "1")
    assert old["sources"][0]["name"] == "modalities"


def test_diff_shows_and_changes_nothing(fresh: Axiom, tmp_path: Path):
    fresh.apply(YAML)
    file = tmp_path / "new.yaml"
    file.write_text(YAML.replace("11199", "11200"))
    for args in (("diff",), ("apply", "--dry-run")):
        shown = fresh.cli("config", args[0], str(file), *args[1:]).stdout
        assert "~ sources/modalities" in shown
        assert "port: 11199 -> 11200" in shown
        assert "Nothing was changed; live is revision 1." in shown
    told = fresh.json("config", "diff", str(file))
    assert told["dry_run"] is True
    assert told["differences"][0]["changes"][0]["after"] == 11200
    assert fresh.json("config", "export")["sources"][0]["port"] == 11199


def test_validate_says_where_and_what(fresh: Axiom):
    assert fresh.cli("config", "validate", "-", text=YAML).stdout == "It holds.\n"
    assert fresh.json("config", "validate", "/dev/null") == {"problems": []}
    bad = YAML.replace("Modality", "Modalty").replace("[nowhere]", "[somewhere]")
    done = fresh.cli("config", "validate", "-", text=bad, check=False)
    assert done.returncode == 1
    assert "line 11" in done.stderr
    assert "Modalty" in done.stderr
    told = fresh.cli("config", "validate", "-", "--json", text=bad, check=False)
    assert told.returncode == 1
    assert json.loads(told.stdout)["problems"][0]["loc"][:4] == ["rulesets", "main", "rules", "ct"]


def test_nothing_is_applied_of_what_does_not_hold(fresh: Axiom):
    fresh.apply(YAML)
    done = fresh.cli("config", "apply", "-", text="destinations: []\nsources: []\n", check=False)
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert fresh.json("config", "export")["sources"][0]["name"] == "modalities"
    done = fresh.cli("config", "apply", "missing.yaml", check=False)
    assert (done.returncode, done.stderr) == (1, "missing.yaml cannot be read: No such file or directory.\n")
    done = fresh.cli("config", "apply", "-", text="sources: [", check=False)
    assert done.returncode == 1
    assert "not YAML" in done.stderr


def test_the_audit_names_the_operating_systems_user(fresh: Axiom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fresh.apply(YAML)
    monkeypatch.setenv("AXIOM_HOME", str(fresh.home))
    from engine.store import Store

    revision = Store(Settings()).revisions()[0]
    assert revision.author == pwd.getpwuid(os.getuid()).pw_name


def test_the_example_configuration_holds(fresh: Axiom, monkeypatch: pytest.MonkeyPatch):
    for name, value in fresh.env.items():
        if name.startswith("AXIOM_"):
            monkeypatch.setenv(name, value)
    document = example_document(Settings())
    assert document["sources"][0]["port"] == fresh.dimse_port
    assert "$" not in json.dumps(document)
    fresh.apply(json.dumps(document))
    states = {r["state"] for s in document["rulesets"] for r in s["rules"] if "state" in r}
    assert states == {"shadow"}
    assert {s["mode"] for s in document["rulesets"]} == {"ALL_MATCHES", "FIRST_MATCH"}


def test_what_others_are_configured_by_is_printed_and_applied(fresh: Axiom):
    orthanc = json.dumps({"DicomModalities": {"pacs": ["PACS", "10.0.0.5", 104], "odd": []}})
    printed = fresh.cli("config", "import-orthanc", "-", text=orthanc)
    assert "The modality odd has no AET" in printed.stderr
    assert fresh.cli("config", "seed", "-", text=printed.stdout).stdout.endswith("Live is revision 1.\n")
    targets = {"nas": {"target_type": "folder", "folder": "/srv"}}
    mercure = {"targets": targets, "rules": {"ct": {"rule": "True", "target": "nas"}}}
    assert "revision 2" in fresh.cli("config", "import-mercure", "-", "--apply", text=json.dumps(mercure)).stderr
    document = fresh.json("config", "dump")
    assert [d["name"] for d in document["destinations"]] == ["nas", "pacs"]


def test_a_kind_of_the_sites_own_is_known_to_the_command(tmp_path: Path) -> None:
    kind = tmp_path / "loud.py"
    kind.write_text(
        '"""Says it. Guarantee: confirmed when said."""\n'
        "from typing import Literal\n"
        "from engine.destinations.base import Destination\n"
        'class Loud(Destination):\n    """Says it."""\n    kind: Literal["loud"] = "loud"\n    words: str\n'
    )
    fresh = Axiom(tmp_path / "home", AXIOM_COMPONENTS=str(kind))
    text = "destinations:\n- {name: a, kind: loud, words: hello}\n"
    assert fresh.cli("config", "validate", "-", text=text).stdout == "It holds.\n"
    fresh.apply(text)
    assert fresh.json("config", "export")["destinations"] == [{"name": "a", "kind": "loud", "words": "hello"}]


@pytest.mark.parametrize(("text", "words"), [(None, "not a Python file"), ("def (", "SyntaxError")])
def test_a_kind_that_cannot_be_imported_is_told_in_words(tmp_path: Path, text: str | None, words: str) -> None:
    kind = tmp_path / "loud.py"
    if text:
        kind.write_text(text)
    done = Axiom(tmp_path / "home", AXIOM_COMPONENTS=str(kind)).cli("config", "validate", "-", text="sources: []", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"AXIOM_COMPONENTS: {kind} cannot be imported: ")
    assert words in done.stderr
