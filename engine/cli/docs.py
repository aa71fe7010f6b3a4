"""`axiom docs`: the reference pages, made from the registry and the command itself, so that they cannot lie."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cli.show import example, fail
from engine.described import description

__all__ = ["add", "pages"]

REFERENCE = Path("docs") / "reference"
HEADINGS = (
    ("source", "Sources"), ("destination", "Destinations"), ("morph", "Morphs"), ("crosswalk_source", "Crosswalk sources"),
    ("channel", "Channels"), ("alert", "Alerts"),
)  # fmt: skip


def add(app: typer.Typer) -> None:
    app.command(hidden=True, epilog=example("axiom docs", "axiom docs --check"))(docs)


def docs(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 if a page is not fresh.")] = False,
) -> None:
    """Write docs/reference from the code."""
    stale = []
    for name, text in pages().items():
        file = REFERENCE / name
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(file))
        if not check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    if check and stale:
        fail(f"Not fresh: {', '.join(stale)}. `make docs` writes them.")


def pages() -> dict[str, str]:
    """File name -> text of each page of the reference."""
    return {
        "components.md": _components(), "settings.md": _settings(), "command.md": _command(), "access.md": _access(),
        "metrics.md": _metrics(),
    }  # fmt: skip


def _components() -> str:
    import engine.configuration  # noqa: F401  (makes the kinds known)
    from engine.component import kinds
    from engine.crosswalk.map import CrosswalkMap

    out = [
        "# Sources, destinations, morphs, crosswalks, channels and alerts",
        "",
        "Made by `make docs` from the classes themselves. Each kind is one file of `engine/`.",
    ]
    for family, heading in HEADINGS:
        out += ["", f"## {heading}"]
        for kind, cls in kinds(family).items():
            module = __import__(cls.__module__, fromlist=["__doc__"])
            label = f": {cls.label}" if cls.label else ""
            out += ["", f"### `{kind}`{label}", "", *(module.__doc__ or cls.__doc__ or "").strip().splitlines(), ""]
            out += _fields(cls)
    out += ["", "## Crosswalk maps", "", (CrosswalkMap.__doc__ or "").strip(), "", *_fields(CrosswalkMap)]
    return "\n".join(out) + "\n"


def _fields(model: Any) -> list[str]:
    lines = ["| field | default | what it is |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        default = "needed" if field.is_required() else f"`{_default(field)}`"
        words = " ".join(description(model, name).split()).replace("|", "\\|")
        lines.append(f"| `{name}` | {default} | {words} |")
    return lines


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    dump = getattr(value, "model_dump", None)
    shown = dump(mode="json") if dump else value
    return str(getattr(shown, "value", shown)).replace("|", "\\|") if shown != "" else '""'


def _settings() -> str:
    from engine.settings import Settings

    lines = [
        "# Settings",
        "",
        "Made by `make docs`. Read from the environment once, at the start of each process.",
        "",
        "| variable | default | what it is |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        words = " ".join(description(Settings, name).split()).replace("|", "\\|")
        lines.append(f"| `AXIOM_{name.upper()}` | `{_default(field)}` | {words} |")
    return "\n".join(lines) + "\n"


def _metrics() -> str:
    from engine.api.events import EVENTS
    from engine.api.metrics import METRICS

    lines = ["# Metrics and events", "", "Made by `make docs` from the tables that the API itself follows.", "", "## Metrics"]
    lines += ["", "| metric | type | labels | what it says |", "|---|---|---|---|"]
    for name, row in METRICS.items():
        labels = ", ".join(f"`{label}`" for label in row.labels)
        lines.append(f"| `{name}` | {row.kind} | {labels} | {row.words} |")
    lines += ["", "## Events", "", "| event | when |", "|---|---|"]
    lines += [f"| `{name}` | {words} |" for name, words in EVENTS.items()]
    return "\n".join(lines) + "\n"


def _command() -> str:
    from typer.main import get_command

    from engine.cli.app import app

    lines = ["# The command", "", "Made by `make docs` from `axiom --help`. Exit status: 0 success, 1 not, 2 wrong usage."]

    def walk(command: Any, words: tuple[str, ...]) -> None:
        for name, sub in getattr(command, "commands", {}).items():
            if sub.hidden:
                continue
            if getattr(sub, "commands", None):
                walk(sub, (*words, name))
                continue
            takes = [p for p in sub.params if p.name != "help"]
            lines.extend(["", f"## `{' '.join((*words, name))}`", "", (sub.help or "").strip(), ""])
            lines.extend(f"- {_parameter(p)}" for p in takes)
            lines.extend(["", sub.epilog or ""])

    walk(get_command(app), ("axiom",))
    return "\n".join(lines) + "\n"


def _access() -> str:
    from engine.api.access import ACCESS, Door, lets_in, routes_of
    from engine.api.app import create_app
    from engine.security.roles import ROLES, Permission
    from engine.settings import Settings

    roles = sorted(ROLES)
    lines = [
        "# Who may use which route",
        "",
        "Made by `make docs` from `engine/api/access.py`, which is also what the door asks; `tests/api/test_access.py` walks",
        "every route with every role. A role that an admin makes may use the routes of its permissions; an API key what its",
        "owner's role and its own permissions both allow. A route that the table does not name lets nobody in.",
        "",
        f"| route | needs | nobody | {' | '.join(roles)} |",
        f"|---|---|---|{'---|' * len(roles)}",
    ]
    found = []
    for route in routes_of(create_app(Settings())):
        needed = ACCESS[route.name]
        marks = ["yes" if needed is Door.OPEN else "", *("yes" if lets_in(needed, ROLES[r]) else "" for r in roles)]
        words = needed.value.replace("_", " ") if isinstance(needed, Permission) else f"_{needed.value}_"
        for method in sorted(route.methods or ()):
            found.append((route.path, method, f"| `{method} {route.path}` | {words} | {' | '.join(marks)} |"))
    return "\n".join([*lines, *(line for _, _, line in sorted(found))]) + "\n"


def _parameter(p: Any) -> str:
    names = ", ".join(p.opts + p.secondary_opts) if p.param_type_name == "option" else (p.metavar or p.name.upper())
    return f"`{names}`: {p.help or ''}".rstrip(": ")
