"""`axiom backfill` and `axiom poll`: fetch a range of days, look at the pollers and steer them."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any

import typer

from engine.cli.show import AsJson, emit, example, note, operations, operator, table

__all__ = ["add"]

cli = typer.Typer(help="Sources that are asked: how far they are, what could not be fetched.", no_args_is_help=True)

Source = Annotated[str, typer.Argument(help="The source's name.")]
Id = Annotated[str, typer.Argument(help="The back-fill's id, as `axiom poll backfills` shows it.")]


def add(app: typer.Typer) -> None:
    app.command(epilog=example("axiom backfill archive --from 2026-01-01 --to 2026-01-31"))(backfill)
    app.add_typer(cli, name="poll")


def backfill(
    source: Source,
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="The first study date.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="The last study date.")],
    again: Annotated[bool, typer.Option("--again", help="Also what was fetched before.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Show how far it is until it ends; the engine works either way.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have the engine fetch everything of a range of study dates from a source, day by day."""
    polling = operations().polling
    one = polling.create_backfill(source, first.date(), last.date(), operator(), again=again)
    if wait:
        one = _watch(polling, one)
    if as_json:
        emit(one)
    else:
        typer.echo(f"Back-fill {one['id']}: {_words(one)}")


def _watch(polling: Any, one: dict[str, Any]) -> dict[str, Any]:
    said = ""
    while one["state"] == "running":
        time.sleep(0.5)
        one = polling.backfill(one["id"])
        if _words(one) != said:
            said = _words(one)
            note(said)
    return one


def _words(one: dict[str, Any]) -> str:
    counts = f"{one['found']} found, {one['fetched']} fetched, {one['already']} before, {one['failed']} failed"
    trouble = f" ({one['error']})" if one["error"] else ""
    return f"{one['state']}, {one['progress']:.0%}, {counts}{trouble}"


@cli.command(name="list", epilog=example("axiom poll list"))
def listing(as_json: AsJson = False) -> None:
    """Show each source that can be asked: when, and what became of what was seen."""
    rows = operations().polling.pollers()
    if as_json:
        emit(rows)
    else:
        columns = ("name", "kind", "state", "next_at", "found", "waiting", "fetched", "retrying", "failed", "error")
        table(rows, columns, "No source that can be asked is configured.")


@cli.command(epilog=example("axiom poll now archive"))
def now(source: Source, as_json: AsJson = False) -> None:
    """Ask a source now, whatever its interval."""
    answer = operations().polling.poll_now(source, operator())
    if as_json:
        emit(answer)
    else:
        typer.echo(f"{source} is asked within seconds.")


@cli.command(epilog=example("axiom poll failed archive"))
def failed(source: Source, as_json: AsJson = False) -> None:
    """Show what could not be fetched, and why."""
    rows = operations().polling.troubled(source)
    if as_json:
        emit(rows)
    else:
        table(rows, ("study_instance_uid", "state", "attempts", "next_at", "words"), "Nothing.")


@cli.command(epilog=example("axiom poll retry archive 1.2.840.113619.2.55.3", "axiom poll retry archive"))
def retry(
    source: Source,
    studies: Annotated[list[str] | None, typer.Argument(help="Study Instance UIDs; none: all of them.")] = None,
    as_json: AsJson = False,
) -> None:
    """Try again now what could not be fetched."""
    answer = operations().polling.retry(source, studies or [], operator())
    if as_json:
        emit(answer)
    else:
        typer.echo(f"{answer['again']} are tried again.")


@cli.command(epilog=example("axiom poll backfills"))
def backfills(as_json: AsJson = False) -> None:
    """Show the back-fills, the newest first."""
    rows = operations().polling.backfills()
    if as_json:
        emit(rows)
    else:
        columns = ("id", "source", "first_day", "last_day", "state", "progress", "found", "already", "fetched", "failed", "error")
        table(rows, columns, "There is none.")


def _change(backfill_id: str, action: str, as_json: bool) -> None:
    one = operations().polling.change_backfill(backfill_id, action, operator())
    if as_json:
        emit(one)
    else:
        typer.echo(f"Back-fill {one['id']}: {_words(one)}")


@cli.command(epilog=example("axiom poll pause 5f2a9c0d11e34b77"))
def pause(backfill_id: Id, as_json: AsJson = False) -> None:
    """Pause a back-fill: what is being fetched is fetched to its end."""
    _change(backfill_id, "pause", as_json)


@cli.command(epilog=example("axiom poll resume 5f2a9c0d11e34b77"))
def resume(backfill_id: Id, as_json: AsJson = False) -> None:
    """Let a paused back-fill go on."""
    _change(backfill_id, "resume", as_json)


@cli.command(epilog=example("axiom poll cancel 5f2a9c0d11e34b77"))
def cancel(backfill_id: Id, as_json: AsJson = False) -> None:
    """End a back-fill; what it has fetched stays."""
    _change(backfill_id, "cancel", as_json)
