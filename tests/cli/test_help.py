"""Every command explains itself with an example, starts quickly, and ends wrong usage with 2."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from engine.cli.app import app


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, sub in command.commands.items():
        if getattr(sub, "commands", None):
            yield from _commands(sub, (*words, name))
        else:
            yield (*words, name), sub


COMMANDS = dict(_commands(get_command(app)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_shows_what_it_does_and_an_example(words: tuple[str, ...]):
    result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    command = COMMANDS[words]
    assert command.help
    assert "Example: " in result.output
    example = result.output.partition("Example: ")[2]
    assert f"axiom {' '.join(words)}" in " ".join(example.split())
    for parameter in command.params:
        assert parameter.help or parameter.name == "help", f"{parameter.name} is not explained"


MACHINES = [w for w in COMMANDS if w[0] not in {"up", "engine", "api", "app", "docs"}]


@pytest.mark.parametrize("words", MACHINES, ids=" ".join)
def test_every_command_that_shows_something_has_json(words: tuple[str, ...]):
    assert "--json" in {option for p in COMMANDS[words].params for option in p.opts}


def test_the_design_s_commands_are_there():
    wanted = {
        "up", "engine", "api", "app", "status", "doctor", "config export", "config validate", "config diff", "config apply",
        "rules test", "send", "history", "held list", "held retry", "held discard", "dead list", "dead retry",
        "dead discard", "unmatched list", "unmatched replay", "inject-admin",
    }  # fmt: skip
    assert wanted <= {" ".join(words) for words in COMMANDS}


def test_help_needs_no_heavy_part():
    code = (
        "import sys\nfrom engine.cli.app import app\n"
        "heavy = {'pydicom', 'duckdb', 'polars', 'pyarrow', 'sqlalchemy', 'rq', 'redis', 'fastapi', 'numpy', 'streamlit'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_wrong_usage_ends_with_2():
    runner = CliRunner()
    assert runner.invoke(app, ["nonsense"]).exit_code == 2
    assert runner.invoke(app, ["held", "discard", "--all"]).exit_code == 2
    assert runner.invoke(app, ["history"]).exit_code == 2
