"""`axiom rules`: try the rules on files."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cli.show import AsJson, emit, example, fail, note, operations, table

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


Since = Annotated[str, typer.Option(help="How far to look back: 30d, 12h.")]


@cli.command(epilog=example("axiom rules whatif draft.yaml --since 30d"))
def whatif(
    draft: Annotated[Path, typer.Argument(help="A YAML file with rulesets.")], since: Since = "30d", as_json: AsJson = False
) -> None:
    """Show what draft rules would have matched of what was received, against what the live rules match."""
    from datetime import UTC, datetime

    ops = operations()
    answer = ops.what_if(_draft(ops, draft), since=datetime.now(UTC) - _span(since))
    if as_json:
        emit(answer)
        return
    typer.echo(f"{answer['instances']} instances; {answer['unmatched_then']} that no rule matched would be matched now.")
    counts = [{"of": "all", **answer["total"]}]
    for family in ("rules", "modalities", "sources", "destinations"):
        counts += [{"of": f"{family}: {name}", **count} for name, count in answer[family].items()]
    table(counts)
    for sign, side in (("+", "gained"), ("-", "lost")):
        for row in answer[side]:
            typer.echo(f"{sign} {row['sop_instance_uid']} {row['modality'] or ''} from {row['source'] or 'nowhere known'}")
    for words in answer["notes"]:
        note(words)


@cli.command(epilog=example("axiom rules explain 1.2.840.113619.2.55.3"))
def explain(
    sop_instance_uid: Annotated[str, typer.Argument(help="The image's SOP Instance UID.")], as_json: AsJson = False
) -> None:
    """Show what each rule said of a received image and why, each time that it came."""
    story = operations().instance(sop_instance_uid)
    if as_json:
        emit(story)
        return
    for reception in story["receptions"]:
        typer.echo(f"{reception['received_at']} from {reception['source']}: {reception['outcome']}")
        if reception["held_reason"]:
            typer.echo(f"    {reception['held_reason']}")
        for decision in reception["decisions"]:
            own = (decision["ruleset"], decision["rule"])
            changes = [c for c in reception["changes"] if (c["ruleset"], c["rule"]) == own]
            _show({**decision, "changes": changes})


@cli.command(epilog=example("axiom rules analyse --days 90"))
def analyse(
    days: Annotated[int, typer.Option(min=1, max=3650, help="Rules that matched nothing in so many days.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Show what is odd about the live rules: never reached, covered by another, in conflict, matching nothing."""
    findings = operations().analysis(days=days)
    if as_json:
        emit(findings)
        return
    for finding in findings:
        typer.echo(f"{finding['ruleset']}/{finding['rule']} ({finding['kind'].replace('_', ' ')}): {finding['words']}")
    if not findings:
        typer.echo("Nothing is odd about the rules.")


def _span(text: str) -> timedelta:
    unit = {"d": "days", "h": "hours"}.get(text[-1:])
    if unit is None or not text[:-1].isdecimal() or not 0 < int(text[:-1]) <= 100_000:
        fail(f"{text} is no time to look back: write 30d or 12h.")
    return timedelta(**{unit: int(text[:-1])})


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
