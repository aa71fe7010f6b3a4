"""A whole Axiom Flow as a real process (`axiom up`), on its own home and ports, for tests that need all of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from engine.process import Child
from tests.peers import free_port, process_family, wait_until

__all__ = ["KNOWN", "PEERS", "ROOT", "Axiom", "running_axiom"]

PEERS = "127.0.0.0/8,::1"
"""Tests' peers stand on this machine, which is refused to sources and destinations by URL unless the setting names it."""
ROOT = Path(__file__).resolve().parent.parent
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
KNOWN: weakref.WeakSet[Axiom] = weakref.WeakSet()
"""Those that a test or a fixture holds: what they said belongs to the report of a failure."""


class Axiom:
    """One home with its ports. `up` starts `axiom up` on it, `cli` runs a command of its own there.

    `extra` are further variables of the environment (`AXIOM_DEBUG="1"`).
    """

    def __init__(self, home: Path, **extra: str) -> None:
        self.home = home
        self.dimse_port, self.api_port, self.app_port = free_port(), free_port(), free_port()
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("AXIOM_")} | {
            "AXIOM_HOME": str(home),
            "AXIOM_DIMSE_PORT": str(self.dimse_port),
            "AXIOM_API_PORT": str(self.api_port),
            "AXIOM_APP_PORT": str(self.app_port),
            "AXIOM_MIN_FREE_MB": "10",
            "AXIOM_ALLOWED_HOSTS": PEERS,
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
            **extra,
        }
        self.process: Child | None = None
        self.starts = 0
        KNOWN.add(self)

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def app(self) -> str:
        return f"http://127.0.0.1:{self.app_port}"

    @property
    def log(self) -> Path:
        """What the latest `axiom up` printed."""
        return self.home.parent / f"{self.home.name}-up-{self.starts}.log"

    @property
    def output(self) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""
        return ANSI.sub("", text)

    @property
    def pid(self) -> int:
        assert self.process is not None
        assert self.process.pid is not None
        return self.process.pid

    @property
    def password(self) -> str:
        """The one-time admin password of a first start."""
        found = re.search(r"admin with ([A-Za-z0-9-]{12,})", self.output)
        assert found, f"no one-time password was printed:\n{self.output}"
        return found[1]

    def start(self, *, demo: bool = False) -> None:
        """Start `axiom up` and return at once."""
        self.starts += 1
        argv = [sys.executable, "-m", "engine", "up", "--demo" if demo else "--no-demo"]
        self.process = Child("up", argv, env=self.env, log=self.log, restart=False, cwd=self.home.parent)
        self.process.start()

    def wait_until_ready(self, timeout: float = 90) -> None:
        """Until the panel is printed: everything answers then."""
        child = self.process
        assert child is not None

        def ready() -> bool:
            if child.state != "running":
                raise AssertionError(f"axiom up ended: {self.output}\n{self.logs()}")
            return "Axiom Flow is ready" in self.output

        wait_until(ready, timeout, "axiom up")

    def up(self, *, demo: bool = False) -> None:
        """Start `axiom up` and wait until everything answers."""
        self.start(demo=demo)
        self.wait_until_ready()

    def stop(self, sig: signal.Signals = signal.SIGTERM, timeout: float = 60) -> int:
        """End it in order; gives its exit code."""
        assert self.process is not None
        self.process.ask_to_stop(sig)
        assert self.process.wait(timeout), f"axiom up did not end: {self.output}"
        assert self.process.returncode is not None
        return self.process.returncode

    def kill(self) -> None:
        """kill -9 of the parent alone."""
        self.stop(signal.SIGKILL)

    def family(self) -> list[int]:
        """The pids of `axiom up` and all that descend from it."""
        return process_family(self.pid)

    def processes(self) -> dict[int, list[str]]:
        """The command lines of the family, by pid; without those that have just ended."""
        found = {}
        for pid in self.family():
            with suppress(psutil.Error):
                found[pid] = psutil.Process(pid).cmdline()
        return found

    def forget_peaks(self) -> None:
        """From now on `peaks` counts anew."""
        for pid in self.family():
            with suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peaks(self) -> dict[str, int]:
        """The most memory that each process has had resident (VmHWM), in bytes."""
        found = {}
        for pid, line in self.processes().items():
            with suppress(OSError, KeyError):
                text = Path(f"/proc/{pid}/status").read_text()
                status = dict(one.split(":", 1) for one in text.splitlines() if ":" in one)
                found[f"{pid} {' '.join(line[1:5])}"] = int(status["VmHWM"].split()[0]) << 10
        return found

    def cli(
        self, *args: str, check: bool = True, text: str | None = None, timeout: float = 120, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `axiom ARGS` on this home; with `check` a failure is an AssertionError with what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "engine", *args], env=self.env | env, cwd=self.home.parent, input=text or "",
            capture_output=True, text=True, encoding="utf-8", timeout=timeout, check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"axiom {' '.join(args)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def json(self, *args: str, **env: str) -> Any:
        """Run `axiom ARGS --json` and give what it says."""
        return json.loads(self.cli(*args, "--json", **env).stdout)

    def history(self, sql: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.json("history", sql)
        return rows

    def apply(self, yaml: str) -> None:
        """Make a configuration live."""
        self.cli("config", "apply", "-", text=yaml)

    def logs(self) -> str:
        """The ends of all children's logs, for an assertion's message."""
        files = sorted((self.home / "logs").glob("*.log"))
        return "\n".join(f"--- {f.name}\n{f.read_text(errors='replace')[-3000:]}" for f in files)

    def waiting(self) -> list[str]:
        """What stands in the spool between reception and delivery."""
        stages = ("receiving", "ready", "routed", "outbox", "dead", "held")
        return sorted(str(f.relative_to(self.home)) for s in stages for f in (self.home / "spool" / s).rglob("*"))[:200]


@contextmanager
def running_axiom(home: Path, *, demo: bool = False, **extra: str) -> Iterator[Axiom]:
    """A running Axiom Flow; ended, with all its processes, at the end."""
    axiom = Axiom(home, **extra)
    try:
        axiom.up(demo=demo)
        yield axiom
    finally:
        if axiom.process is not None and axiom.process.state == "running":
            axiom.stop()
