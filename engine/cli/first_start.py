"""What a first start adds: the example configuration, the sample studies, the welcome."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cli.show import console, note

if TYPE_CHECKING:
    from engine.configuration import Configuration
    from engine.model import Receipt
    from engine.settings import Settings
    from engine.store import Store

__all__ = ["apply_example", "example_document", "send_samples", "welcome_text"]


def example_document(settings: Settings) -> dict[str, Any]:
    """The example configuration with this start's folders, address and port."""
    from engine.store.yaml_text import read_yaml

    text = resources.files("engine.demo").joinpath("example.yaml").read_text(encoding="utf-8")
    values = {
        "$AXIOM_HOME": str(settings.home.resolve()),
        "$AXIOM_HOST": settings.host,
        "$AXIOM_DIMSE_PORT": str(settings.dimse_port),
    }

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: filled(v) for k, v in value.items()}
        if isinstance(value, list):
            return [filled(v) for v in value]
        if isinstance(value, str):
            if value == "$AXIOM_DIMSE_PORT":
                return settings.dimse_port
            for name, real in values.items():
                value = value.replace(name, real)
        return value

    document: dict[str, Any] = filled(dict(read_yaml(text).data))
    return document


def apply_example(settings: Settings, store: Store) -> None:
    """Make the example configuration the first revision."""
    store.save(example_document(settings), author="axiom up", reason="the example of a first start", expected=0)


def welcome_text(settings: Settings, configuration: Configuration, password: str | None) -> str:
    """Where everything is, how to sign in, how to send. Rich markup."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
    sign_in = ["Sign in     with your own password (forgotten? `axiom inject-admin`)"]
    if password:
        once = "            (this once; you then choose your own)"
        sign_in = [f"Sign in     as [bold]admin[/] with [bold]{password}[/]", once]
    lines = [
        f"Workbench   [bold]{settings.scheme}://{host}:{settings.app_port}[/]",
        *sign_in,
        f"API         {settings.scheme}://{host}:{settings.api_port}/api/v1/docs",
        f"Home        {settings.home.resolve()}",
    ]
    listener = _listener(settings, configuration)
    if listener is not None:
        at = "127.0.0.1" if listener.host in ("0.0.0.0", "::") else listener.host  # noqa: S104
        lines += ["", "Send images to it:", f"  [bold]storescu -aec {listener.ae_title} {at} {listener.port} file.dcm[/]"]
    else:
        lines += ["", "Nothing listens yet: add a source in the workbench."]
    return "\n".join([*lines, "", "Ctrl-C ends it all."])


def _listener(settings: Settings, configuration: Configuration) -> Any:
    here = [s for s in configuration.sources if not s.instances or settings.instance_id in s.instances]
    return next((s for s in here if s.kind == "dimse_listener" and s.enabled), None)


def send_samples(
    settings: Settings, configuration: Configuration, stopped: Callable[[], bool], look_after: Callable[[], None]
) -> None:
    """Send the sample studies through the real listener, one association a study, with a progress bar.

    Between images `look_after` is called, so that the children are watched meanwhile, and it ends early when `stopped`
    says so. Raises Retry or Permanent.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from engine.cli.send import send_files
    from engine.demo.studies import sample_studies

    listener = _listener(settings, configuration)
    columns = (TextColumn("Sending sample studies"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory(prefix="axiom-samples-") as folder:
        studies = list(sample_studies(Path(folder)))
        outcomes, stop = list[str](), threading.Event()
        with Progress(*columns, console=console(stderr=True)) as progress:
            bar = progress.add_task("", total=sum(map(len, studies)))

            def report(file: Path, receipt: Receipt) -> None:
                outcomes.append(str(receipt.outcome))
                progress.advance(bar)
                look_after()
                if stopped():
                    stop.set()

            for number, files in enumerate(studies, 1):
                send_files(
                    files, host=listener.host, port=listener.port, calling_ae=f"SAMPLE{number}",
                    called_ae=listener.ae_title, report=report, stop=stop,
                )  # fmt: skip
                if stop.is_set():
                    return
    note(f"{outcomes.count('confirmed')} of {sum(map(len, studies))} sample images were received; see the workbench.")
