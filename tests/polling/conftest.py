from __future__ import annotations

from pathlib import Path

import pytest

from engine.jobs import polling
from tests.polling.support import Site


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drain looks on for seconds after its last work; here it need not."""
    monkeypatch.setattr(polling, "LINGER_SECONDS", 0.2)
    monkeypatch.setattr(polling, "LOOK_SECONDS", 0.02)


@pytest.fixture
def site(home: Path) -> Site:
    return Site(home)
