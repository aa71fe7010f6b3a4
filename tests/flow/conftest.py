"""What the tests of the road share: a sink that begins empty, and a home in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.road import Sink

__all__: list[str] = []


@pytest.fixture(autouse=True)
def _empty_sink() -> Iterator[None]:
    Sink.given.clear()
    Sink.answer = None
    yield
    Sink.given.clear()
    Sink.answer = None


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A folder in memory where there is one: some 300 roads are gone, and none of them needs a real disk's fsync."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=base, prefix="axiom-test-") as folder:
        yield Path(folder)
