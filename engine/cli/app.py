"""The command's tree, and the one place where errors become sentences."""

from __future__ import annotations

import os
import sys
import traceback

import typer

from engine.cli import (
    backfill,
    boxes,
    browse,
    config,
    crosswalk,
    docs,
    doctor,
    history,
    people,
    rules,
    running,
    send,
    status,
)
from engine.errors import AxiomError, Invalid

__all__ = ["app", "main"]

app = typer.Typer(
    name="axiom",
    help="Axiom Flow: receives DICOM images, decides by rules, changes their tags, delivers them and never loses one.",
    epilog="Start here: `axiom up`. Settings are read from the environment (AXIOM_HOME, AXIOM_DIMSE_PORT, ...).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (running, status, doctor, config, rules, crosswalk, browse, backfill, history, boxes, people, send, docs):
    part.add(app)


def main() -> None:
    """Run the command. Exit codes: 0 success, 1 it did not work (a sentence on stderr says why), 2 wrong usage."""
    try:
        app()
    except Invalid as e:
        for problem in e.problems:
            place = " ".join(str(p) for p in problem.loc)
            typer.echo(f"{place}: {problem.words}" if place else problem.words, err=True)
    except AxiomError as e:
        typer.echo(str(e), err=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # who read us has gone: nothing more to say
    except OSError as e:
        typer.echo(f"{e.strerror or e}: {e.filename}" if e.filename else str(e), err=True)
    except Exception as e:  # noqa: BLE001  (the last line of defence: a person gets a sentence, a developer the trace)
        typer.echo(f"This should not happen: {type(e).__name__}: {e}. AXIOM_TRACE=1 shows where.", err=True)
    else:
        return
    if os.environ.get("AXIOM_TRACE"):
        traceback.print_exc()
    sys.exit(1)
