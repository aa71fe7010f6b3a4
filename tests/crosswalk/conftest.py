"""The table of tests/crosswalk/tables.py in each kind of source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crosswalk.tables import KINDS, Table, table


@pytest.fixture(params=KINDS)
def patients(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Table]:
    """The table, in each kind of source."""
    with table(request.param, request, tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def postgres_patients(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Table]:
    """The table in PostgreSQL."""
    with table("postgresql", request, tmp_path, monkeypatch) as made:
        yield made
