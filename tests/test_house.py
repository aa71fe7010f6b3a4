"""The rules of the house, kept by tests instead of on paper."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import TypeAdapter

import engine.configuration  # noqa: F401  (makes the kinds known)
from engine.component import kinds
from engine.described import description
from tests.running import ROOT

LONGEST = 400
FAMILIES = ("source", "destination", "morph", "crosswalk_source", "channel", "alert")


def _tracked(*patterns: str) -> list[Path]:
    """The files that are, or are about to be, in the repository."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


PYTHON = _tracked("*.py")
TEXT = [f for f in _tracked() if f.suffix not in {".png", ".dcm", ".ico", ".parquet", ".woff2", ".js", ".css"}]


def _name(value: Any) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


def test_files_stay_small():
    long = {_name(f): n for f in PYTHON if (n := len(f.read_text(encoding="utf-8").splitlines())) > LONGEST}
    assert not long, f"longer than {LONGEST} lines: {long}"


def _all_of(file: Path) -> list[str] | None:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "__all__":
            assert node.value is not None  # type: ignore[attr-defined]
            return list(ast.literal_eval(node.value))  # type: ignore[attr-defined]
    return None


def _constants_classes_others(name: str) -> tuple[int, str]:
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


MODULES = [
    f for f in PYTHON
    if f.parts[len(ROOT.parts)] in {"engine", "workbench"} and "migrations" not in f.parts and "pages" not in f.parts
]  # fmt: skip


@pytest.mark.parametrize("file", [f for f in MODULES if f.name != "__init__.py"], ids=_name)
def test_every_module_says_what_it_offers_sorted(file: Path):
    names = _all_of(file)
    assert names is not None, "it has no __all__"
    assert names == sorted(names, key=_constants_classes_others)


@pytest.mark.parametrize("file", MODULES, ids=_name)
def test_every_module_says_what_it_is(file: Path):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert not tree.body or ast.get_docstring(tree)


def _kinds() -> Iterator[tuple[str, Any]]:
    for family in FAMILIES:
        for kind, cls in kinds(family).items():
            if cls.__module__.startswith("engine."):
                yield f"{family}:{kind}", cls


KINDS = dict(_kinds())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_explains_itself(kind: str):
    cls = KINDS[kind]
    module = importlib.import_module(cls.__module__)
    assert module.__doc__
    assert cls.__doc__
    assert cls.label
    if not kind.startswith("morph:"):
        assert "Guarantee:" in module.__doc__, "its docstring does not say what it guarantees"
    for name, field in cls.model_fields.items():
        assert name == "kind" or description(cls, name), f"{name} is not described"
        for example in field.examples or ():
            TypeAdapter(Annotated[field.annotation, *field.metadata, "as declared"]).validate_python(example)


def test_imports_go_one_way():
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_only_the_work_itself_speaks_of_the_project():
    """No path of one machine, and no word of how a text came to be, in any file."""
    home = "(?:/ho" + "me|/ro" + "ot|/Us" + "ers|/wo" + "rk)"
    machine = re.compile(rf"(?<![\w.~$}}/-]){home}/\w")
    makers = ["clau" + "de", "anthro" + "pic", "chat" + "gpt", "copi" + "lot", "open" + "ai"]
    words = re.compile(rf"(?i)\b(?:{'|'.join(makers)})\b")
    found = []
    for file in TEXT:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if machine.search(line) or words.search(line):
                found.append(f"{_name(file)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_nothing_is_left_to_do_in_the_code():
    mark = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    found = [_name(f) for f in PYTHON if mark.search(f.read_text(encoding="utf-8"))]
    assert not found


def test_tests_wait_for_conditions_and_never_just_sleep():
    found = []
    for file in PYTHON:
        if "tests" not in file.parts or file.name == "peers.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "sleep"}:
                found.append(f"{_name(file)}:{node.lineno}")
    assert not found, f"wait_until (tests/peers.py) waits for a condition: {found}"


def test_constraints_are_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    bad = [line for line in lines if not re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[A-Za-z0-9._+!]+", line)]
    assert not bad
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    pinned = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines}
    names = {re.sub(r"[-_.]+", "-", re.split(r"[\[; <>=!~]", d)[0]).lower() for d in wanted}
    assert names <= pinned, f"not pinned: {sorted(names - pinned)}"


def test_the_reference_is_fresh():
    done = subprocess.run(
        [sys.executable, "-m", "engine", "docs", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", _tracked("*.md"), ids=_name)
def test_links_lead_somewhere(file: Path):
    text = re.sub(r"```.*?```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    broken = [link for link in links if not (file.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize("file", _tracked("*.md"), ids=_name)
def test_commands_in_the_docs_exist(file: Path):
    from typer.main import get_command

    from engine.cli.app import app

    for line in re.findall(r"^ *(?:\$ )?axiom ([a-z][^`\n]*)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE):
        command: Any = get_command(app)
        for word in line.split():
            if not getattr(command, "commands", None):
                break
            assert word in command.commands, f"`axiom {line}` is no command"
            command = command.commands[word]


@pytest.mark.parametrize("file", _tracked("notebooks/*.ipynb"), ids=_name)
def test_notebooks_are_without_outputs(file: Path):
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_make_lists_every_target():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split())  # type: ignore[index]
    shown = {
        line.split()[0]
        for line in subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    }
    assert phony == shown
    assert {"install", "run", "test", "test-slow", "check", "fix", "docs", "up", "demo", "clean"} <= shown


@pytest.mark.parametrize("file", _tracked("*.yml", "*.yaml"), ids=_name)
def test_yaml_can_be_read(file: Path):
    assert list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


def test_compose_and_image_agree_with_the_command():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert {"postgres", "valkey", "engine", "api", "app", "jupyter"} == set(compose["services"])
    assert [compose["services"][s]["command"] for s in ("engine", "api", "app")] == [["engine"], ["api"], ["app"]]
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    missing = [name for names in copied for name in names.split() if not (ROOT / name).exists()]
    assert not missing
