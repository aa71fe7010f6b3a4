from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine.jobs import poll_turn, polling
from tests import peers
from tests.doubles.server import serve
from tests.polling.support import Faulty, Site


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drain looks on for seconds after its last work; here it need not."""
    monkeypatch.setattr(polling, "LINGER_SECONDS", 0.2)
    monkeypatch.setattr(polling, "LOOK_SECONDS", 0.02)


@pytest.fixture
def site(home: Path) -> Site:
    return Site(home)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses after failures that a test can wait for."""
    monkeypatch.setattr(poll_turn, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(poll_turn, "FIRST_REST", 0.02)
    monkeypatch.setattr(poll_turn, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(poll_turn, "LONGEST_REST", 0.1)


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    # Orthanc answers searches in its default encoding: what Latin-1 has no letter for is left out of them
    allowed = {"DefaultEncoding": "Utf8", "DicomAlwaysAllowFind": True, "DicomAlwaysAllowGet": True}
    with peers.orthanc(tmp_path_factory.mktemp("pacs"), **allowed) as both:
        yield both


@pytest.fixture
def pacs(_server: tuple[int, str]) -> str:
    """An Orthanc, emptied: the URL of its REST API."""
    _, url = _server
    studies = httpx.get(f"{url}/studies").json()
    httpx.post(f"{url}/tools/bulk-delete", json={"Resources": studies}, timeout=600).raise_for_status()
    return url


@pytest.fixture
def dicom_port(pacs: str, _server: tuple[int, str]) -> int:
    """The same one's DICOM port."""
    return _server[0]


@pytest.fixture
def faulty(pacs: str) -> Iterator[Faulty]:
    """A way to that Orthanc which goes wrong where it is told to."""
    way = Faulty(pacs)
    with serve(way.answer) as way.url:
        yield way
