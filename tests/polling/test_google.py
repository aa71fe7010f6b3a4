"""A DICOM store of Google's, as its double speaks: tokens, pages, quota; what is fetched is what is stored there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.jobs.polling import due_sources
from tests.doubles.google_healthcare import STORE, GoogleHealthcare, google_healthcare
from tests.polling.support import Site, instance, sums


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoogleHealthcare]:
    with google_healthcare(tmp_path_factory.mktemp("google")) as double:
        yield double


def source(google: GoogleHealthcare, folder: Path, **more: Any) -> dict[str, Any]:
    _, project, _, location, _, dataset, _, store = STORE.split("/")
    return {
        "name": "cloud", "kind": "google_healthcare", "project": project, "location": location, "dataset": dataset,
        "dicom_store": store, "endpoint": google.url, "service_account": f"file:{google.tokens.key_file(folder)}",
        "poll_seconds": 3600, "quiet_seconds": 0,
    } | more  # fmt: skip


def store(google: GoogleHealthcare, image: bytes) -> bytes:
    """Straight into what is behind the double."""
    httpx.post(f"{google._orthanc}/instances", content=image).raise_for_status()
    return image


def test_the_store_is_polled_with_its_tokens_its_pages_and_its_quota(
    site: Site, google: GoogleHealthcare, tmp_path: Path
) -> None:
    sent = [store(google, instance(study, n)) for study in range(1, 8) for n in (1, 2)]
    site.configure(source(google, tmp_path, page_size=50_000))
    google.quota_exceeded(retry_after="60")
    site.poll()
    state = site.polls.poller("cloud")
    assert state.error.startswith("429"), state
    assert "Quota exceeded" in state.error
    assert due_sources(site.context, datetime.now(UTC) + timedelta(seconds=50)) == []
    google.tokens.expire()
    site.poll("cloud")
    assert site.counts("cloud") == {"waiting": 0, "fetched": 7, "failed": 0, "retrying": 0}
    assert sums(site.files()) == sums(sent)
    searches = [asked for asked in google.asked if asked.path.endswith("/studies")]
    assert {asked.param("limit") for asked in searches} == {"5000"}, "more than that Google refuses"
    retrieves = [asked.headers["Accept"] for asked in google.asked if asked.path.endswith(".7")]
    assert retrieves == ['multipart/related; type="application/dicom"; transfer-syntax=*'], "or Google transcodes"
    [live] = site.context.configuration().sources
    assert all(tick.ok is not False for tick in live.check()), live.check()


def test_a_wrong_key_is_said(site: Site, google: GoogleHealthcare, tmp_path: Path) -> None:
    site.configure(source(google, tmp_path, service_account=f"file:{tmp_path / 'nowhere.json'}"))
    site.poll()
    error = site.polls.poller("cloud").error
    assert "nowhere.json" in error or "cannot be read" in error, error
