"""`axiom up`: the parent of everything on one machine. It starts, watches, restarts and ends the rest.

The order: home, lock, left-overs, store, ports, Redis (or the embedded Valkey), engine, API, workbench; the end goes
backwards. Children die with this process even when it is killed (`engine.process`).
"""

from __future__ import annotations

import signal
import sys
import time
import urllib.error
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from engine.cli import preflight
from engine.cli.own import ask_own
from engine.cli.show import console, note
from engine.cli.stop_flag import StopFlag
from engine.errors import AxiomError
from engine.log import setup_logging
from engine.process import Child, OwnerLock, stop_all

if TYPE_CHECKING:
    from engine.settings import Settings
    from engine.store import Store

__all__ = ["Up"]

READY_SECONDS = 90.0
ENGINE_GRACE = 40.0  # the engine itself gives its workers and listeners some 30 s


class Up:
    """One start. `run` returns when everything has ended."""

    def __init__(self, settings: Settings, *, demo: bool) -> None:
        self.settings = settings
        self.demo = demo
        self.stop = StopFlag()
        self.children: list[Child] = []
        self._store: Store | None = None

    def run(self) -> int:
        """Start, watch until SIGINT or SIGTERM, end. Raises AxiomError with a sentence when something is in the way."""
        setup_logging(self.settings.log_format, self.settings.log_level, process="up")
        preflight.make_home(self.settings.home)
        lock = preflight.lock_home(self.settings)
        try:
            self._handle_signals()
            self._start(lock)
            while not self.stop.wait(0.5):
                self._look_after()
        except _StoppedError:
            pass
        finally:
            self._end()
            lock.release()
        return 0

    def _handle_signals(self) -> None:
        signal.signal(signal.SIGINT, self._on_signal)  # even where a shell has it ignored for what it runs with `&`
        signal.signal(signal.SIGTERM, self._on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means it
            signal.signal(signal.SIGHUP, self._on_signal)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.stop.is_set() and signum == signal.SIGINT:  # a second Ctrl-C: they are in a hurry, and nothing is lost
            for child in self.children:
                child.ask_to_stop(signal.SIGKILL)
        self.stop.set()

    def _start(self, lock: OwnerLock) -> None:
        settings = self.settings
        preflight.end_left_overs(settings)
        store = self._open_store()
        fresh = store.live_revision() == 0
        with_example = fresh and self.demo
        configuration = store.live().configuration
        preflight.refuse_taken_ports(preflight.ports_of(settings, None if with_example else configuration))
        if settings.redis_url:
            preflight.redis_answers(settings.redis_url)
        else:
            from engine.cli.embedded import start_valkey

            self._adopt(start_valkey(settings))
        if with_example:
            from engine.cli.first_start import apply_example

            apply_example(settings, store)
        _ = settings.key  # made once, before several processes need it
        for name in ("engine", "api", "app"):
            child = Child(name, [sys.executable, "-m", "engine", name], log=settings.log_dir / f"{name}.log")
            child.start()
            self._adopt(child)
        self._wait_until_ready(store)
        self._welcome(store)
        if with_example:
            self._send_samples(store)

    def _open_store(self) -> Store:
        from engine.store import Store

        self._store = Store(self.settings)  # brings its tables up to date
        return self._store

    def _adopt(self, child: Child) -> None:
        self.children.append(child)
        preflight.note_children(self.settings, self.children)

    def _look_after(self) -> None:
        before = [child.pid for child in self.children]
        for child in self.children:
            child.poll()
        if before != [child.pid for child in self.children]:
            preflight.note_children(self.settings, self.children)

    def _wait_until_ready(self, store: Store) -> None:
        """API and workbench answer, every listener of this node accepts.

        Raises AxiomError when there is no API or workbench after a while. A listener that cannot listen is no reason to
        end the others: it is told, and the engine goes on trying.
        """
        settings = self.settings
        waiting: dict[str, Callable[[], bool]] = {
            "the API": partial(_answers, f"{settings.scheme}://{_reachable(settings.host)}:{settings.api_port}/health/ready"),
            "the workbench": partial(_answers, f"{settings.scheme}://{_reachable(settings.host)}:{settings.app_port}/_stcore/health"),
        }
        needed = frozenset(waiting)
        for port in preflight.ports_of(settings, store.live().configuration)[2:]:
            waiting[port.what] = partial(_accepts, _reachable(port.host), port.port)
        deadline = time.monotonic() + READY_SECONDS
        with console(stderr=True).status("Starting ...") as status:
            while waiting:
                status.update(f"Starting: waiting for {', '.join(waiting)}")
                self._look_after()
                if self.stop.wait(0.1):
                    raise _StoppedError
                waiting = {what: ready for what, ready in waiting.items() if not ready()}
                if time.monotonic() > deadline:
                    break
        if waiting:
            ended = "".join(f" {c.name} {c.ended}." for c in self.children if c.ended)
            words = f"After {READY_SECONDS:.0f} s there is no answer from {', '.join(waiting)}.{ended}"
            if needed & waiting.keys():
                raise AxiomError(f"{words} See {settings.log_dir}.")
            note(f"{words} `axiom doctor` says more.")

    def _welcome(self, store: Store) -> None:
        from rich.panel import Panel
        from rich.text import Text

        from engine.cli.first_start import welcome_text

        password = store.people.create_admin()
        text = Text.from_markup(welcome_text(self.settings, store.live().configuration, password))
        screen = console()
        if max(map(len, text.plain.splitlines())) + 6 > screen.width:  # a frame would cut what must be read whole
            screen.print("Axiom Flow is ready", text, sep="\n")
        else:
            screen.print(Panel(text, title="Axiom Flow is ready", title_align="left", expand=False, padding=(1, 2)))
        sys.stdout.flush()

    def _send_samples(self, store: Store) -> None:
        from engine.cli.first_start import send_samples

        try:
            send_samples(self.settings, store.live().configuration, self.stop.is_set, self._look_after)
        except AxiomError as e:
            note(f"The sample studies were not all sent: {e}")

    def _end(self) -> None:
        """The API before the engine, whose last act seals what the API wrote into the history; Valkey last, since the
        engine's workers talk to it. The workbench, which only asks, ends meanwhile."""
        if self.children:
            note("Ending ...")
        by_name = {child.name: child for child in self.children}
        if "app" in by_name:
            by_name["app"].ask_to_stop()
        for name, grace in (("api", 10.0), ("app", 5.0), ("engine", ENGINE_GRACE), ("valkey", 10.0)):
            if name in by_name:
                stop_all([by_name[name]], grace)
        Path(self.settings.run_dir / "children.json").unlink(missing_ok=True)
        if self._store is not None:
            self._store.close()
        if self.children:
            note("Ended. Nothing is running any more.")


class _StoppedError(Exception):
    """A signal came while starting."""


def _reachable(host: str) -> str:
    """An address at which this machine reaches what listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104


def _answers(url: str) -> bool:
    try:
        with ask_own(url, 2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _accepts(host: str, port: int) -> bool:
    import socket

    try:
        with socket.create_connection((host.strip("[]"), port), timeout=2):
            return True
    except OSError:
        return False
