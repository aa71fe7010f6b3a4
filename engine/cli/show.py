"""How commands show what they got: tables for people, JSON for machines, errors as sentences on stderr."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from engine.operations import Operations
    from engine.settings import Settings
    from engine.store import Store

__all__ = [
    "AsJson", "console", "emit", "example", "fail", "known_store", "note", "operations", "operator", "outcome", "settings",
    "table",
]  # fmt: skip

AsJson = Annotated[bool, typer.Option("--json", help="Plain JSON on stdout, for machines.")]


def example(*lines: str) -> str:
    """The epilog of a command's help."""
    return "Example: " + "  or  ".join(lines)


def settings() -> Settings:
    """This process's settings. Ends with a sentence for each variable that does not hold."""
    from pydantic import ValidationError

    from engine.settings import Settings as Model

    try:
        return Model()
    except ValidationError as e:
        words = [f"AXIOM_{str(p['loc'][0]).upper()}: {p['msg']} (it is {p['input']!r})" for p in e.errors()]
        fail("These settings cannot be used:\n  " + "\n  ".join(words))


def operator() -> str:
    """Who is at the keyboard: on the box itself the operating system's user is whom the audit names."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a uid without a name, as in a container
        return f"uid {uid}"


def operations() -> Operations:
    """The running engine's operations. Ends with a sentence where there is no home yet."""
    from engine.operations import Operations as Facade

    now = settings()
    _refuse_nowhere(now)
    return Facade(now)


def known_store() -> Store:
    """The configuration store that is there. Ends with a sentence where it would be a new and empty one: who exports from
    the wrong folder would take that for what is live.
    """
    from engine.store import Store as Model

    now = settings()
    if not now.database_url:
        _refuse_nowhere(now)
    return Model(now)


def _refuse_nowhere(now: Settings) -> None:
    if not now.home.is_dir():
        fail(f"There is no Axiom Flow at {now.home.resolve()} yet: `axiom up` makes it. Elsewhere? Set AXIOM_HOME.")


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console as Rich

    return Rich(stderr=stderr, highlight=False, soft_wrap=True)


def note(words: str) -> None:
    """A sentence for the person, on stderr, so that stdout stays what a pipe wants."""
    typer.echo(words, err=True)


def fail(words: str, code: int = 1) -> NoReturn:
    """End the command with a sentence on stderr."""
    typer.echo(words, err=True)
    raise typer.Exit(code)


def emit(data: Any) -> None:
    """Plain JSON on stdout, one document."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def table(rows: Sequence[Mapping[str, Any]], columns: Iterable[str] | None = None, empty: str = "Nothing.") -> None:
    """Rows for people; `empty` is said when there are none."""
    if not rows:
        typer.echo(empty)
        return
    from rich.markup import escape
    from rich.table import Table

    shown = list(columns or rows[0])
    out = Table(box=None, header_style="bold", pad_edge=False)
    for column in shown:  # nothing is cut: an id is there to be copied, a reason to be read
        out.add_column(column.replace("_", " "), overflow="fold", no_wrap=column == "id")
    for row in rows:
        out.add_row(*(escape(_cell(row.get(c))) for c in shown))
    screen = console()
    if not screen.is_terminal and "COLUMNS" not in os.environ:  # a pipe or a file has no edge: one line a row
        screen.width = max(screen.width, screen.measure(out, options=screen.options.update_width(100_000)).maximum)
    screen.print(out)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False, default=_plain)
    return str(value)


def outcome(result: Mapping[str, Any], done: str, *, as_json: bool) -> None:
    """Show what an action on many things did; ends with 1 when something could not be done."""
    if as_json:
        emit(result)
    else:
        for item in result["done"]:
            typer.echo(f"{item}: {done}")
        for item in result["failed"]:
            note(f"{item['id']}: {item['words']}")
    if result["failed"]:
        raise typer.Exit(1)
