"""Fixtures that every part's tests may use. What they stand on is in tests/peers.py and tests/running.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from engine.security.outward import use_outward
from tests import peers
from tests.running import KNOWN, PEERS, Axiom, running_axiom

__all__: list[str] = []

os.environ["AXIOM_ALLOWED_HOSTS"] = PEERS  # for what lives longer than a test
use_outward(PEERS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure, of a fixture too, tells how busy the machine was, what each Axiom Flow that the test knows said, what
    waits in it, and what the peers in the test's own folder said."""
    report = yield
    if report.failed:
        report.sections.append(("machine", f"load {os.getloadavg()} on {os.cpu_count()} processors"))
        for axiom in [axiom for axiom in KNOWN if axiom.starts]:
            words = f"{axiom.output[-3000:]}\n{axiom.logs()}\nspool: {axiom.waiting()}"
            report.sections.append((f"logs of {axiom.home}", words))
        folder = getattr(item, "funcargs", {}).get("tmp_path")
        for log in sorted(Path(folder).glob("**/*.log"))[:20] if folder else ():
            if not any(log.is_relative_to(axiom.home) for axiom in KNOWN):
                report.sections.append((f"{log}", log.read_text(errors="replace")[-3000:]))
    return report


@pytest.fixture(autouse=True)
def _few_descriptors() -> Iterator[None]:
    """A leak is found where it begins: pynetdicom's peers use select(), which ends at 1,024 descriptors of the process."""
    yield
    held = Path("/proc/self/fd")
    if held.is_dir():
        assert len(list(held.iterdir())) < 900, "too many files are open: something is not closed"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the person who runs the tests reaches the engine under test, and no identity of theirs at Google."""
    for name in [n for n in os.environ if n.startswith(("AXIOM_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AXIOM_ALLOWED_HOSTS", PEERS)
    use_outward(PEERS)
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.fixture
def free_port() -> int:
    """A free TCP port of the loopback."""
    return peers.free_port()


@pytest.fixture
def free_ports() -> Callable[[], int]:
    """Gives a new free port at each call."""
    return peers.free_port


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty AXIOM_HOME."""
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Valkey for the session; `clean_valkey` empties it for a test."""
    with peers.valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
def clean_valkey(valkey_url: str) -> str:
    """The session's Valkey, emptied."""
    import redis

    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    return valkey_url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """One PostgreSQL for the session (skipped without it, a failure in CI)."""
    with peers.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def mariadb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One MariaDB for the session."""
    with peers.mariadb(tmp_path_factory.mktemp("mariadb")) as url:
        yield url


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """One Orthanc for the session: (DICOM port, REST URL)."""
    with peers.orthanc(tmp_path_factory.mktemp("orthanc")) as ports:
        yield ports


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[peers.StoreSCP]:
    """A DCMTK storescp called PACS."""
    with peers.storescp(tmp_path / "pacs") as scp:
        yield scp


@pytest.fixture(scope="session")
def axiom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Axiom]:
    """One running Axiom Flow for the session, started empty. Tests that change its configuration put it back."""
    with running_axiom(tmp_path_factory.mktemp("axiom") / "home") as running:
        yield running
