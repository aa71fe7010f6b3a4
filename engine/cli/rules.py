"""`axiom rules`: try the rules on files."""

from __future__ import annotations

import re
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


@cli.command(epilog=example("axiom rules whatif draft.yaml", "axiom rules whatif draft.yaml --since 7d --json"))
def whatif(
    draft: Annotated[Path, typer.Argument(help="A YAML file with the drafted rulesets.")],
    since: Annotated[str, typer.Option(help="How far to look back: 12h, 30d.")] = "30d",
    samples: Annotated[int, typer.Option(min=0, max=100, help="So many images as examples of each difference.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Ask the history what drafted rules would have matched and sent, against the live ones. Nothing is sent."""
    ops = operations()
    result = ops.what_if(_draft(ops, draft), days=_days(since), samples=samples)
    if as_json:
        emit(result)
        return
    typer.echo(f"Of {result['instances']} images that came in the last {since}:")
    for title in ("rules", "destinations", "modalities", "sources"):
        rows = [{title: name, **count} for name, count in sorted(result[title].items())]
        if rows:
            typer.echo()
            table(rows, [title, "draft", "live", "gained", "lost"], "")
    for title in ("gained", "lost"):
        for one in result[title]:
            by = ", ".join(one["rules"]["draft" if title == "gained" else "live"])
            typer.echo(f"{title}: {one['sop_instance_uid']} ({one['modality']} from {one['source']}) by {by}")
    for words in result["notes"]:
        note(words)


@cli.command(epilog=example("axiom rules analyse", "axiom rules analyse --days 90 --json"))
def analyse(
    days: Annotated[int, typer.Option(min=1, max=3650, help="How far history is asked for rules that matched nothing.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Show live rules that never match, are never reached, or equal or contradict others, each with the reason."""
    findings = operations().analysis(days=days)["findings"]
    if as_json:
        emit(findings)
        return
    for one in findings:
        typer.echo(f"{one['ruleset']}/{one['rule']}: {one['kind'].replace('_', ' ')}")
        typer.echo(f"    {one['words']}")
    if not findings:
        typer.echo("Nothing is odd about the rules.")


@cli.command("next-on", epilog=example("axiom rules next-on office", "axiom rules next-on office --days 14 --json"))
def next_on(
    schedule: Annotated[str, typer.Argument(help="The name of a schedule.")],
    days: Annotated[int, typer.Option(min=1, max=31, help="So many days, from today on.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Show whether rules of a schedule are on now, when that changes, and its next days."""
    from datetime import UTC, datetime

    from engine.rules.outlook import outlook

    found = {s.name: s for s in operations().store.live().configuration.schedules}
    if schedule not in found:
        fail(f"There is no schedule called {schedule}; there are: {', '.join(sorted(found)) or 'none yet'}.")
    result = outlook(found[schedule], datetime.now(UTC), days)
    if as_json:
        emit(result)
        return
    typer.echo(f"{schedule} is {'on' if result['on'] else 'off'} at {result['at']} ({result['time_zone']}).")
    typer.echo(f"Next on: {result['next_on'] or 'never again'}. Next off: {result['next_off'] or 'never again'}.")
    for day in result["days"]:
        notes = [*(["exception"] if day["exception"] else []), *(["the clock jumps"] if day["clock_jumps"] else [])]
        on = ", ".join(f"{s['start']} to {s['end']}" for s in day["on"]) or "off"
        typer.echo(f"    {day['day']} {day['date']}: {on}{' (' + ', '.join(notes) + ')' if notes else ''}")


@cli.command(epilog=example("axiom rules explain 1.2.826.0.1.3680043.10.1530.1.1.1.1.1"))
def explain(
    sop_instance_uid: Annotated[str, typer.Argument(help="The SOP Instance UID, as received or as sent.")],
    as_json: AsJson = False,
) -> None:
    """Show what each rule said of a received image, and why; what was changed; how it was delivered."""
    story = operations().instance(sop_instance_uid)
    if as_json:
        emit(story)
        return
    for one in story["receptions"]:
        typer.echo(f"Came {one['received_at']} from {one['calling_ae']} through {one['source']}: {one['outcome']}")
        if one["held_reason"]:
            typer.echo(f"    {one['held_reason']}")
        for decision in one["decisions"]:
            mine = (decision["ruleset"], decision["rule"])
            _show(decision | {"changes": [c for c in one["changes"] if (c["ruleset"], c["rule"]) == mine]})
        for d in one["deliveries"]:
            typer.echo(f"{d['at']} {d['destination']}, attempt {d['attempt']}: {d['outcome']} {d['code']} {d['words']}".rstrip())


def _days(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([hd])", text.strip())
    if not found:
        fail(f"{text} is no span of time: write 12h or 30d.")
    return float(found[1]) / (24 if found[2] == "h" else 1)


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
