"""`axiom config`: the configuration as YAML."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.remote import Key, Remote, Url, remote
from engine.cli.show import AsJson, emit, example, fail, known_store, note, operator, settings, table

if TYPE_CHECKING:
    from engine.store.imported import Imported

__all__ = ["add"]

cli = typer.Typer(help="Export, validate, compare and apply the configuration, as YAML.", no_args_is_help=True)

Source = Annotated[str, typer.Argument(metavar="FILE", help="A YAML file; `-` is stdin.")]


def add(app: typer.Typer) -> None:
    app.add_typer(cli, name="config")


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        fail(f"{file} is not text in UTF-8.")
    except OSError as e:
        fail(f"{file} cannot be read: {e.strerror}.")


@cli.command(epilog=example("axiom config export > axiom.yaml", "axiom config export --revision 3"))
def export(
    revision: Annotated[int | None, typer.Option(help="An earlier revision's number, instead of the live one.")] = None,
    as_json: AsJson = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Print the live configuration as YAML that `apply` takes."""
    if there := remote(url, key):
        document = there.get("/config") if revision is None else there.get(f"/revisions/{revision}")["document"]
        _print(document, as_json=as_json)
        return
    store = known_store()
    if as_json:
        emit(store.revision(store.live_revision() if revision is None else revision).document)
    else:
        typer.echo(store.export_yaml(revision), nl=False)


@cli.command(epilog=example("axiom config validate axiom.yaml"))
def validate(file: Source, as_json: AsJson = False, url: Url = "", key: Key = "") -> None:
    """Check a file as `apply` would, and change nothing. Exit 1 when it does not hold."""
    from engine.errors import Invalid

    try:
        _changed(file, dry_run=True, reason="", there=remote(url, key))
    except Invalid as e:
        if not as_json:
            raise
        emit({"problems": [{"loc": list(p.loc), "words": p.words} for p in e.problems]})
        raise typer.Exit(1) from None
    if as_json:
        emit({"problems": []})
    else:
        typer.echo("It holds.")


@cli.command(epilog=example("axiom config diff axiom.yaml"))
def diff(file: Source, as_json: AsJson = False, url: Url = "", key: Key = "") -> None:
    """Show what `apply` would change, and change nothing."""
    _apply(file, dry_run=True, reason="", as_json=as_json, there=remote(url, key))


@cli.command(epilog=example('axiom config apply axiom.yaml --reason "CT02 is new"'))
def apply(
    file: Source,
    reason: Annotated[str, typer.Option(help="Why, for the list of revisions.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    as_json: AsJson = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Make each family that the file names equal to it; families that it does not name stay. All or nothing.

    The running engine follows within seconds.
    """
    _apply(file, dry_run=dry_run, reason=reason, as_json=as_json, there=remote(url, key))


@cli.command(epilog=example("axiom config history", "axiom config history --limit 5 --json"))
def history(
    limit: Annotated[int, typer.Option(min=1, max=500, help="So many, the newest first.")] = 20,
    as_json: AsJson = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """List the saved states of the configuration: who, when and why. `export --revision N` prints one."""
    if there := remote(url, key):
        found = there.get("/revisions", limit=limit)["items"]
    else:
        from engine.store import Store

        store = Store(settings())
        live = store.live_revision()
        found = [one.as_json() | {"live": one.id == live} for one in store.revisions(limit)]
    if as_json:
        emit(found)
    else:
        rows = [one | {"live": "live" if one["live"] else ""} for one in found]
        table(rows, ["id", "live", "created_at", "author", "label", "reason"], "Nothing was saved yet.")


cli.command("dump", epilog=example("axiom config dump > axiom.yaml"), help="The older word for `export`.")(export)
cli.command("seed", epilog=example("axiom config seed axiom.yaml"), help="The older word for `apply`.")(apply)

Apply = Annotated[bool, typer.Option("--apply", help="Also make it live, beside what is there; else it is only printed.")]


@cli.command(epilog=example("axiom config import-orthanc orthanc.json > nodes.yaml"))
def import_orthanc(file: Source, apply: Apply = False, as_json: AsJson = False) -> None:
    """Print Orthanc's DicomModalities (and its listener) as destinations and sources of ours."""
    from engine.store.import_orthanc import import_orthanc as read

    _imported(read(_read(file)), file, apply=apply, as_json=as_json)


@cli.command(epilog=example("axiom config import-mercure mercure.json > rules.yaml"))
def import_mercure(file: Source, apply: Apply = False, as_json: AsJson = False) -> None:
    """Print mercure's targets and rules as destinations and a ruleset of ours; what cannot be carried over is told."""
    from engine.store.import_mercure import import_mercure as read

    _imported(read(_read(file)), file, apply=apply, as_json=as_json)


def _imported(found: Imported, file: str, *, apply: bool, as_json: bool) -> None:
    from engine.store.yaml_text import dump_yaml

    if as_json:
        emit({"document": found.document, "notes": found.notes})
    elif not apply:
        typer.echo(dump_yaml(found.document), nl=False)
    for words in found.notes:
        note(words)
    if apply:
        from engine.store import Store

        store = Store(settings())
        revision, live = store.document()
        applied = store.apply(
            found.merged(live), author=operator(), reason=f"imported from {Path(file).name}", expected=revision
        )
        note(f"Live is revision {applied.revision}.")


def _print(document: dict[str, Any], *, as_json: bool) -> None:
    from engine.store.yaml_text import dump_yaml

    if as_json:
        emit(document)
    else:
        typer.echo(dump_yaml(document), nl=False)


def _changed(file: str, *, dry_run: bool, reason: str, there: Remote | None) -> dict[str, Any]:
    """What applying it changed, or would change: `revision` (live now), `changed`, `words`, `differences`."""
    text = _read(file)
    if there is None:
        from engine.store import Store

        return Store(settings()).apply(text, author=operator(), dry_run=dry_run, reason=reason).as_json()
    if not dry_run:
        return dict(there.post("/config/apply", {"yaml": text, "reason": reason}))
    found = dict(there.post("/config/diff", {"yaml": text}))  # who may only look may ask this too
    return {"revision": there.live(), "dry_run": True, "changed": not found["equal"], **found}


def _apply(file: str, *, dry_run: bool, reason: str, as_json: bool, there: Remote | None) -> None:
    found = _changed(file, dry_run=dry_run, reason=reason, there=there)
    if as_json:
        emit(found)
        return
    for line in found["words"]:
        typer.echo(line)
    if not found["changed"]:
        typer.echo(f"Nothing differs from revision {found['revision']}.")
    elif dry_run:
        typer.echo(f"Nothing was changed; live is revision {found['revision']}.")
    else:
        typer.echo(f"Live is revision {found['revision']}.")
