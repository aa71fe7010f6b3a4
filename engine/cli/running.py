"""`axiom up`, and the processes that it starts: `axiom engine`, `axiom api`, `axiom app`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.cli.show import example, fail, settings

__all__ = ["add"]


def add(app: typer.Typer) -> None:
    app.command(epilog=example("axiom up", "axiom up --no-demo"))(up)
    app.command(epilog=example("AXIOM_INSTANCE_ID=node-2 axiom engine"))(engine)
    app.command(epilog=example("AXIOM_API_PORT=9000 axiom api"))(api)
    app.command("app", epilog=example("AXIOM_API_URL=http://10.0.0.5:8001 axiom app"))(workbench)


def up(
    demo: Annotated[
        bool, typer.Option(envvar="DEMO", help="On an empty home: load the example configuration, send sample studies.")
    ] = True,
) -> None:
    """Start everything, watch it, and end it with Ctrl-C."""
    from engine.cli.up import Up

    raise typer.Exit(Up(settings(), demo=demo).run())


def engine() -> None:
    """Run this node's engine alone: spool, listeners, workers. It needs a Redis (AXIOM_REDIS_URL, or `axiom up`'s)."""
    from engine.jobs.supervisor import run

    raise typer.Exit(run(settings()))


def api() -> None:
    """Run the API alone."""
    from engine.api.app import serve
    from engine.log import setup_logging

    now = settings()
    setup_logging(now.log_format, now.log_level, process="api")
    serve(now)


def workbench() -> None:
    """Run the Streamlit workbench alone; it talks to the API (AXIOM_API_URL, or this machine's)."""
    now = settings()
    script = Path(__file__).resolve().parents[2] / "workbench" / "server.py"
    if not script.is_file():
        fail(f"The workbench is not installed here: there is no {script}.")
    flags = {
        "server.address": now.host,
        "server.port": str(now.app_port),
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "server.enableXsrfProtection": "true",
        "browser.gatherUsageStats": "false",
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
    }
    if now.log_format == "json":
        flags["logger.hideWelcomeMessage"] = "true"  # it is no log line
    if now.tls_certificate:
        files = [one.removeprefix("file:") for one in (now.tls_certificate, now.tls_key or now.tls_certificate)]
        if not all(one.startswith("file:") for one in (now.tls_certificate, now.tls_key or now.tls_certificate)):
            fail("The workbench takes its certificate and key from files: give both as file:PATH, or put a proxy in front.")
        flags |= {"server.sslCertFile": files[0], "server.sslKeyFile": files[1]}
    if now.google_client_id:
        from engine.cli.google_button import write_secrets

        flags["secrets.files"] = str(write_secrets(now))
    os.environ["AXIOM_API_URL"] = now.api
    os.chdir(script.parents[1])  # where .streamlit/config.toml is
    argv = [sys.executable, "-m", "streamlit", "run", *(f"--{k}={v}" for k, v in flags.items()), str(script)]
    os.execv(sys.executable, argv)  # noqa: S606  (the same process: whoever watches it watches Streamlit)
