"""What must be well before anything is started: home, ports, Redis. Each failure is a sentence that says what to do."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from engine.cli.show import operator
from engine.durable import replace_file
from engine.errors import AxiomError
from engine.process import Child, LockHeld, OwnerLock, process_token, token_alive

if TYPE_CHECKING:
    from engine.configuration import Configuration
    from engine.settings import Settings

__all__ = [
    "Port", "end_left_overs", "lock_home", "make_home", "note_children", "ports_of", "redis_answers", "refuse_taken_ports",
    "without_password",
]

OLDEST_REDIS = (6, 2)
TRIAL_BYTES = 1 << 18


def make_home(home: Path) -> None:
    """Make the home (0700: patient data is kept there) and see that it can be written. Raises AxiomError."""
    hint = "Set AXIOM_HOME to a folder that can be."
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=home) as trial:
            trial.write(bytes(TRIAL_BYTES))  # on a full disk an empty file could be made all the same
        (home / "run").mkdir(exist_ok=True, mode=0o700)
    except (FileExistsError, NotADirectoryError) as e:
        raise AxiomError(f"AXIOM_HOME is {home}, but {e.filename} is not a folder. {hint}") from e
    except OSError as e:
        why = (e.strerror or str(e)).lower()
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = f"Make room there. {hint}"
        raise AxiomError(f"AXIOM_HOME is {home}, which cannot be written by {operator()}: {why}. {hint}") from e


def lock_home(settings: Settings) -> OwnerLock:
    """Be the only `axiom up` on this home; a dead one's lock is free. Raises AxiomError that names the other's pid."""
    lock = OwnerLock(settings.run_dir / "up.lock", f"axiom up, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
    try:
        lock.acquire()
    except LockHeld as e:
        raise AxiomError(
            f"Axiom Flow already runs on {settings.home.resolve()}: process {e.pid} ({e.words}). "
            f"End it with Ctrl-C where it runs or `kill {e.pid}`, or set AXIOM_HOME to another folder."
        ) from e
    except OSError as e:
        raise AxiomError(f"{lock.path} cannot be locked: {e.strerror}. AXIOM_HOME must be on a local disk.") from e
    return lock


def note_children(settings: Settings, children: Iterable[Child]) -> None:
    """Write down who was started, so that the next start finds whom a killed parent left behind."""
    tokens = []
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            if child.pid is not None:
                tokens.append(process_token(child.pid))
    replace_file(settings.run_dir / "children.json", json.dumps(tokens).encode())


def end_left_overs(settings: Settings, patience: float = 5.0) -> None:
    """A killed parent's children end by themselves (they are told by the kernel); those that dawdle are killed."""
    try:
        tokens = [str(t) for t in json.loads((settings.run_dir / "children.json").read_text(encoding="utf-8"))]
    except (FileNotFoundError, ValueError):
        return
    deadline = time.monotonic() + patience
    while any(map(token_alive, tokens)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for token in filter(token_alive, tokens):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(token.partition("-")[0]), signal.SIGKILL)
    while any(map(token_alive, tokens)) and time.monotonic() < deadline + patience:
        time.sleep(0.05)


class Port(NamedTuple):
    """A port that we are about to listen on."""

    host: str
    port: int
    what: str
    remedy: str


def ports_of(settings: Settings, configuration: Configuration | None) -> list[Port]:
    """The ports of the API, the workbench and this node's listeners; without a configuration, of the example's."""
    ports = [
        Port(settings.host, settings.api_port, "the API", "set AXIOM_API_PORT to a free port"),
        Port(settings.host, settings.app_port, "the workbench", "set AXIOM_APP_PORT to a free port"),
    ]
    if configuration is None:
        remedy = "set AXIOM_DIMSE_PORT to a free port"
        return [*ports, Port(settings.host, settings.dimse_port, "the DICOM listener", remedy)]
    for source in configuration.sources:
        port, host = getattr(source, "port", None), getattr(source, "host", settings.host)
        if source.runs and source.enabled and port and (not source.instances or settings.instance_id in source.instances):
            remedy = "give it another port (`axiom config export`, edit, `axiom config apply`)"
            ports.append(Port(host, port, f"the listener {source.name}", remedy))
    return ports


def refuse_taken_ports(ports: Iterable[Port]) -> None:
    """Raises AxiomError with a sentence for each port that cannot be had: what for, who has it, what to do."""
    words, ours = [], dict[tuple[str, int], str]()
    for port in ports:
        if (port.host, port.port) in ours:
            words.append(f"Port {port.port} is wanted for {ours[port.host, port.port]} and for {port.what}: {port.remedy}.")
        elif why := _why_not(port):
            words.append(why)
        ours[port.host, port.port] = port.what
    if words:
        raise AxiomError("\n".join(words))


def _why_not(port: Port) -> str:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(port.host, port.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: what lingers is not in the way
            s.bind(address)
            s.listen(1)
    except socket.gaierror as e:
        return f"{port.host}, the address of {port.what}, is not known here: {e.strerror}. Check AXIOM_HOST."
    except OSError as e:
        if e.errno == errno.EADDRINUSE:
            return f"Port {port.port}, for {port.what}, is taken by {_holder(port.port)}: end that, or {port.remedy}."
        if e.errno == errno.EADDRNOTAVAIL:
            return f"{port.host}, the address of {port.what}, is not an address of this machine. Check AXIOM_HOST."
        why = (e.strerror or str(e)).lower()
        return f"Port {port.port}, for {port.what}, cannot be had: {why}. {port.remedy.capitalize()}."
    return ""


def _holder(port: int) -> str:
    """Who listens there, as far as we may see."""
    try:
        pids = [c.pid for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port == port]
        process = psutil.Process(next(pid for pid in pids if pid))
        command = " ".join(process.cmdline())[:80] or process.name()
    except (StopIteration, psutil.Error, PermissionError):
        return "another process"
    return f"process {process.pid} ({command})"


def without_password(url: str) -> str:
    """A URL fit to be shown."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def redis_answers(url: str, ours: bool = False) -> str:
    """The server's version. Raises AxiomError with a sentence when it cannot be reached or is too old."""
    import redis

    where = without_password(url)
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3, decode_responses=True) as client:
            info = client.info("server")
    except (redis.RedisError, ValueError, OSError) as e:
        why = str(e).rstrip(".") or type(e).__name__
        hint = "Is `axiom up` running?" if ours else "Start it, correct AXIOM_REDIS_URL, or unset that for the embedded one."
        raise AxiomError(f"Redis at {where} cannot be reached: {why}. {hint}") from e
    assert isinstance(info, dict)  # the client is a synchronous one
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info["redis_version"])
    if name == "Redis" and tuple(map(int, version.split(".")[:2])) < OLDEST_REDIS:
        raise AxiomError(f"Redis at {where} is {version}; 6.2 or later is needed, or Valkey.")
    return f"{name} {version}"
