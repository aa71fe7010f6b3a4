"""`axiom crosswalk`: what the maps say, and their copies of the tables."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.cli.show import AsJson, emit, example, note, operations, operator, table

__all__ = ["add"]

cli = typer.Typer(help="What the crosswalk maps say, and their copies of the tables.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The crosswalk map.")]


def add(app: typer.Typer) -> None:
    app.add_typer(cli, name="crosswalk")


@cli.command(epilog=example("axiom crosswalk lookup pseudonyms 4711"))
def lookup(
    name: Name,
    values: Annotated[list[str], typer.Argument(help="The values looked up: one for each matched tag, in the map's order.")],
    as_json: AsJson = False,
) -> None:
    """Show what a map says of a value; ends with 1 when it has no one row for it."""
    result = operations().crosswalk_lookup(name, values)
    if as_json:
        emit(result)
    elif result["found"]:
        for tag, value in result["replace"].items():
            typer.echo(f"{tag}: {value}")
    else:
        note("Several rows differ: images are held." if result["several"] else f"No row; on a miss: {result['on_miss']}.")
    if not result["found"]:
        raise typer.Exit(1)


@cli.command(epilog=example("axiom crosswalk sync pseudonyms"))
def sync(name: Name, as_json: AsJson = False) -> None:
    """Copy a map's whole table into the cache, now."""

    def progress(rows: int, total: int) -> None:
        note(f"{rows} of {total} rows")

    result = operations().crosswalk_sync(name, operator(), progress)
    if as_json:
        emit(result)
    else:
        typer.echo(f"{name}: {result['rows']} rows are in the cache.")


@cli.command(epilog=example("axiom crosswalk status"))
def status(as_json: AsJson = False) -> None:
    """Show each map with its last sync, and the batches that wait for its database."""
    result = operations().crosswalk_status()
    if as_json:
        emit(result)
        return
    if result["redis"]:
        note(result["redis"])
    columns = ("name", "source", "sync_seconds", "state", "rows", "total", "batches_waiting", "error")
    table(result["maps"], columns, "There are no crosswalk maps.")
