"""The same engine over C-FIND and C-GET: polls, back-fills, an archive that is away."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from tests.peers import free_port, wait_until
from tests.polling.support import Site, instance, put, sums


def archive(port: int, **more: Any) -> dict[str, Any]:
    plain = {"name": "pacs", "kind": "dimse_qr", "host": "127.0.0.1", "port": port, "ae_title": "ORTHANC"}
    return plain | {"poll_seconds": 3600, "quiet_seconds": 0} | more


def test_an_archive_is_polled_and_back_filled_over_dimse(site: Site, pacs: str, dicom_port: int) -> None:
    sent = put(pacs, (instance(n, k, date=f"202601{n:02d}") for n in range(1, 7) for k in (1, 2)))
    site.configure(archive(dicom_port, filters={"StudyDate": "20260101-20260103"}, parallel=2))
    site.poll()
    assert site.counts() == {"waiting": 0, "fetched": 3, "failed": 0, "retrying": 0}
    one = site.backfills.create("pacs", date(2026, 1, 2), date(2026, 1, 6), who="test", now=datetime.now(UTC))
    site.poll()
    done = site.backfills.get(one.id)
    assert (done.state, done.found, done.already, done.fetched) == ("done", 5, 2, 3)
    assert len(site.files()) == len(sent)
    put(pacs, [instance(2, 3, date="20260102")])
    site.poll("pacs")
    assert len(site.files()) == len(sent) + 3, "the one that has grown, as a whole"
    assert len(sums(site.files())) == len(sent) + 1, "the same bytes each time, file meta included"


def test_an_archive_that_is_away_is_asked_again(site: Site, pacs: str, dicom_port: int, impatient: None) -> None:
    put(pacs, [instance(1)])
    site.configure(archive(free_port()))
    with site.polling():
        error = wait_until(lambda: site.polls.poller("pacs").error, 60, "words about it")
        site.configure(archive(dicom_port))
        site.until(fetched=1)
    assert "127.0.0.1" in error, error
