"""`axiom held`, `axiom unmatched`, `axiom dead` and `axiom gathering`: what waits for a person, or for the rest of a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from engine.cli.show import AsJson, emit, example, fail, operations, operator, outcome, table

__all__ = ["add"]

held = typer.Typer(help="Batches with instances that could not be decided or changed.", no_args_is_help=True)
unmatched = typer.Typer(help="Batches with instances that no rule matched.", no_args_is_help=True)
dead = typer.Typer(help="Deliveries that were refused for good, or tried too often.", no_args_is_help=True)
gathering = typer.Typer(help="Series and studies that are gathered before they are delivered.", no_args_is_help=True)

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="What `list` calls `id`.")]
All = Annotated[bool, typer.Option("--all", help="All that `list` shows.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the history.")]
Limit = Annotated[int, typer.Option(min=1, help="At most so many.")]


def add(app: typer.Typer) -> None:
    app.add_typer(held, name="held")
    app.add_typer(unmatched, name="unmatched")
    app.add_typer(dead, name="dead")
    app.add_typer(gathering, name="gathering")


def _chosen(ids: list[str] | None, everything: bool, listing: Callable[[], Sequence[Mapping[str, Any]]]) -> list[str]:
    if everything:
        return [str(item["id"]) for item in listing()]
    if not ids:
        fail("Say which: name ids (`list` shows them), or --all.", 2)
    return ids


@held.command("list", epilog=example("axiom held list"))
def held_list(limit: Limit = 200, as_json: AsJson = False) -> None:
    """Held batches, newest first, with the reason."""
    items = operations().held(limit)
    if as_json:
        emit(items)
    else:
        table(items, ("id", "at", "source", "calling_ae", "count", "reason"), "Nothing is held.")


@held.command("retry", epilog=example("axiom held retry --all"))
def held_retry(ids: Ids = None, everything: All = False, as_json: AsJson = False) -> None:
    """Send held batches through the rules again, as they are now."""
    ops = operations()
    outcome(ops.retry_held(_chosen(ids, everything, ops.held), operator()), "goes through the rules again", as_json=as_json)


@held.command("discard", epilog=example('axiom held discard ID --reason "test image"'))
def held_discard(reason: Reason, ids: Ids = None, everything: All = False, as_json: AsJson = False) -> None:
    """Throw held instances away, for good."""
    ops = operations()
    outcome(ops.discard_held(_chosen(ids, everything, ops.held), reason, operator()), "thrown away", as_json=as_json)


@unmatched.command("list", epilog=example("axiom unmatched list"))
def unmatched_list(limit: Limit = 200, as_json: AsJson = False) -> None:
    """Batches with instances that no rule matched, newest first; they are kept for some days."""
    items = operations().unmatched(limit)
    if as_json:
        emit(items)
    else:
        table(items, ("id", "at", "source", "calling_ae", "count", "reason"), "Every instance was matched by a rule.")


@unmatched.command("replay", epilog=example("axiom unmatched replay --all"))
def unmatched_replay(ids: Ids = None, everything: All = False, as_json: AsJson = False) -> None:
    """Send them through the rules again, as they are now."""
    ops = operations()
    chosen = _chosen(ids, everything, ops.unmatched)
    outcome(ops.replay_unmatched(chosen, operator()), "goes through the rules again", as_json=as_json)


@dead.command("list", epilog=example("axiom dead list --destination pacs"))
def dead_list(
    destination: Annotated[str | None, typer.Option(help="Only of this destination.")] = None,
    limit: Limit = 200,
    as_json: AsJson = False,
) -> None:
    """Dead deliveries, with the peer's own words."""
    items = operations().deliveries("dead", destination, limit)
    if as_json:
        emit(items)
    else:
        columns = ("id", "destination", "branch", "attempt", "instances", "confirmed", "refused", "last_code", "last_words")
        table(items, columns, "There are no dead letters.")


def _dead(ops: Any) -> Callable[[], Sequence[Mapping[str, Any]]]:
    return lambda: ops.deliveries("dead")


@dead.command("retry", epilog=example("axiom dead retry --all"))
def dead_retry(ids: Ids = None, everything: All = False, as_json: AsJson = False) -> None:
    """Try dead deliveries again now; the same bytes are sent."""
    ops = operations()
    outcome(ops.retry_deliveries(_chosen(ids, everything, _dead(ops)), operator()), "is tried again", as_json=as_json)


@dead.command("discard", epilog=example('axiom dead discard ID --reason "sent by hand"'))
def dead_discard(reason: Reason, ids: Ids = None, everything: All = False, as_json: AsJson = False) -> None:
    """Give up what is left of dead deliveries, for good."""
    ops = operations()
    chosen = _chosen(ids, everything, _dead(ops))
    outcome(ops.discard_deliveries(chosen, reason, operator()), "given up", as_json=as_json)


@gathering.command("list", epilog=example("axiom gathering list"))
def gathering_list(limit: Limit = 200, as_json: AsJson = False) -> None:
    """What is being gathered, first to end first."""
    items = operations().gatherings(limit)
    if as_json:
        emit(items)
    else:
        columns = ("id", "branch", "destination", "level", "uid", "instances", "expected", "batches", "ends_at", "late")
        table(items, columns, "Nothing is being gathered.")


@gathering.command("send-now", epilog=example("axiom gathering send-now --all"))
def gathering_send_now(ids: Ids = None, everything: All = False, as_json: AsJson = False) -> None:
    """Deliver them now, with what has come so far; what comes later is delivered as late."""
    ops = operations()
    outcome(ops.send_gatherings(_chosen(ids, everything, ops.gatherings), operator()), "goes now", as_json=as_json)
