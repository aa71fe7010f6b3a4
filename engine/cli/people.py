"""`axiom inject-admin`: the way in when nobody can sign in."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from engine.cli.show import AsJson, emit, example, known_store, operator

__all__ = ["add"]


def add(app: typer.Typer) -> None:
    app.command("inject-admin", epilog=example("axiom inject-admin", "axiom inject-admin alice"))(inject_admin)


def inject_admin(
    username: Annotated[str, typer.Argument(help="Made if there is nobody of that name.")] = "admin",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from stdin instead of making one.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make an admin, or let one back in: active, unlocked, with a password that must be changed at the first sign-in."""
    given = sys.stdin.readline().rstrip("\n") if password_stdin else None
    password = known_store().people.inject_admin(username, who=operator(), password=given)
    if as_json:
        emit({"username": username, "password": None if given else password})
    elif given:
        typer.echo(f"{username} may sign in with the password given, and changes it then.")
    else:
        typer.echo(f"{username} may sign in once with this password, and changes it then: {password}")
