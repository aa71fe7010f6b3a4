"""`axiom rules`: try the rules on files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cli.show import AsJson, emit, example, fail, operations

__all__ = ["add"]

cli = typer.Typer(help="Try rules before they are live.", no_args_is_help=True)


def add(app: typer.Typer) -> None:
    app.add_typer(cli, name="rules")


@cli.callback()
def rules() -> None:
    """Try rules before they are live."""


@cli.command(epilog=example("axiom rules test image.dcm --calling-ae CT01", "axiom rules test image.dcm --config new.yaml"))
def test(
    file: Annotated[Path, typer.Argument(help="A DICOM file.")],
    source: Annotated[str, typer.Option(help="As if it came from this source.")] = "",
    calling_ae: Annotated[str, typer.Option(help="As if this AE title had sent it.")] = "",
    called_ae: Annotated[str, typer.Option(help="As if it had been sent to this AE title.")] = "",
    source_ip: Annotated[str, typer.Option(help="As if it came from this address.")] = "",
    config: Annotated[Path | None, typer.Option(help="Rules of this YAML file instead of the live ones.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what each rule says of a file, and why; what would change; where it would go. Nothing is sent."""
    from engine.model import Association

    if not file.is_file():
        fail(f"There is no file {file}.")
    ops = operations()
    draft = _draft(ops, config) if config else None
    kind = _kind(ops, source)
    association = Association(source, kind, calling_ae=calling_ae, called_ae=called_ae, source_ip=source_ip)
    result = ops.test_rules(file, association, draft)
    if as_json:
        emit(result)
        return
    for decision in result["decisions"]:
        _show(decision)
    if not result["decisions"]:
        typer.echo("There are no rules.")


def _draft(ops: Any, file: Path) -> dict[str, Any]:
    """The live document with the families that the file names."""
    from engine.store.yaml_text import read_yaml

    try:
        text = file.read_text(encoding="utf-8")
    except OSError as e:
        fail(f"{file} cannot be read: {e.strerror}.")
    return {**ops.store.live().configuration.document(), **read_yaml(text).data}


def _kind(ops: Any, source: str) -> str:
    if not source:
        return ""
    found = ops.store.live().configuration.source(source)
    if found is None:
        names = ", ".join(s.name for s in ops.store.live().configuration.sources) or "none yet"
        fail(f"There is no source called {source}; there are: {names}.")
    return str(found.kind)


def _show(decision: dict[str, Any]) -> None:
    sign = "+" if decision["matched"] else "-"
    shadow = " (shadow: delivers nothing)" if decision["state"] == "shadow" else ""
    typer.echo(f"{sign} {decision['ruleset']}/{decision['rule']}{shadow}")
    for reason in decision["reasons"]:
        typer.echo(f"    {reason}")
    for change in decision.get("changes", []):
        before = "(not there)" if change["before"] is None else repr(change["before"])
        after = "(gone)" if change["after"] is None else repr(change["after"])
        typer.echo(f"    {change['path']}: {before} -> {after}")
    if decision["matched"] and decision["destinations"]:
        typer.echo(f"    to {', '.join(decision['destinations'])}")
