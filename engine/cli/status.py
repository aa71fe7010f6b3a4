"""`axiom status`: the node as it is now."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import typer

from engine.cli.remote import Key, Url, remote
from engine.cli.show import AsJson, emit, example, operations, table

__all__ = ["add"]


def add(app: typer.Typer) -> None:
    app.command(epilog=example("axiom status", "axiom status --url https://axiom.example:8001 --key file:/run/key"))(status)


def status(as_json: AsJson = False, url: Url = "", key: Key = "") -> None:
    """Show listeners, workers, spool, open alerts and destinations as they are now."""
    there = remote(url, key)
    now = there.get("/status") if there else operations().status()
    if as_json:
        emit(now)
    else:
        _show(now)


def _alerts(found: dict[str, Any]) -> None:
    """What is amiss, with what to do; and channels that take nothing, by which nobody would hear of it."""
    for one in found["firing"]:
        since = datetime.fromisoformat(one["since"]).astimezone().strftime("%Y-%m-%d %H:%M")
        typer.echo(" ".join(filter(None, (f"ALERT {one['alert']} since {since}: {one['words']}", one["todo"]))))
    if not found["firing"]:
        typer.echo(f"alerts: none of {len(found['by_alert'])} fires" if found["by_alert"] else "alerts: none are configured")
    for name, words in found["channels"].items():
        waiting = found["messages"].get(name, 0)
        if words or waiting:
            typer.echo(" ".join(filter(None, (f"channel {name}: messages that wait: {waiting}.", words))))


def _show(now: dict[str, Any]) -> None:
    typer.echo(f"{now['node']}: Axiom Flow {now['version']}, revision {now['revision']}")
    workers = ", ".join(f"{w['name']} {w['state']}" for w in now["engine"]["workers"])
    typer.echo(f"engine: {workers}" if now["engine"]["running"] else "engine: does not run (`axiom up` starts it)")
    spool = now["spool"]
    words = "accepting" if spool["accepting"] else "NOT accepting: too little room"
    counts = ", ".join(f"{spool[s]} {s}" for s in ("receiving", "ready", "routed", "kept", "held", "unmatched"))
    typer.echo(f"spool: {words}, {spool['free_bytes'] >> 20} MB free; batches: {counts}")
    _alerts(now["alerts"])
    typer.echo("")
    shown = ["name", "state", "ae_title", "address", "associations", "instances", "error"]
    table(now["listeners"], shown, "No listeners are configured.")
    for one in now["certificates"]:
        if one["words"]:
            typer.echo(f"certificate of {one['where']}: {' '.join(filter(None, (one['subject'], one['words'])))}")
    typer.echo("")
    shown = ["name", "kind", "waiting", "sending", "dead", "last_error"]
    table(now["destinations"], shown, "No destinations are configured.")
