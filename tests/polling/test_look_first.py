"""Metadata first: what no rule wants is not fetched; what leaves a doubt is."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from tests.polling.support import Faulty, Site, dicomweb, instance, put, study_uid


def rules(when: dict[str, Any] | None, state: str = "live") -> list[dict[str, Any]]:
    rule: dict[str, Any] = {"name": "some", "priority": 1, "state": state, "destinations": []}
    return [{"name": "main", "priority": 1, "rules": [rule | ({"when": when} if when else {})]}]


WANTED = {"any": [{"tag": "PatientID", "op": "eq", "value": "P-2"}, {"tag": "SeriesNumber", "op": "eq", "value": 7}]}


def retrieved(faulty: Faulty) -> set[str]:
    return {asked.path.rpartition("/")[2] for asked in faulty.asked} & {study_uid(n) for n in range(1, 10)}


@pytest.mark.parametrize("state", ["live", "shadow"])
def test_only_what_a_rule_wants_is_fetched(site: Site, faulty: Faulty, pacs: str, state: str) -> None:
    put(pacs, [instance(1), instance(2), instance(3), instance(3, series=7), instance(4)])
    site.configure(dicomweb(faulty.url, look_first=True), rulesets=rules(WANTED, state))
    site.poll()
    assert retrieved(faulty) == {study_uid(2), study_uid(3)}
    assert site.counts() == {"waiting": 0, "fetched": 2, "failed": 0, "retrying": 0, "unmatched": 2}
    assert len(site.files()) == 3, "a study that one image is wanted of comes whole"
    put(pacs, [instance(4, series=7)])
    site.poll("pacs")
    assert study_uid(4) in retrieved(faulty), "it has grown, and is wanted now"


def test_a_later_rule_gets_it_by_a_back_fill(site: Site, pacs: str) -> None:
    put(pacs, [instance(1)])
    site.configure(dicomweb(pacs, look_first=True), rulesets=rules(WANTED))
    site.poll()
    assert site.counts()["unmatched"] == 1
    site.configure(dicomweb(pacs, look_first=True), rulesets=rules(None))
    now = datetime.now(UTC)
    one = site.backfills.create("pacs", date(2026, 1, 10), date(2026, 1, 10), who="test", now=now)
    site.poll()
    assert site.backfills.get(one.id).fetched == 1
    assert site.counts()["fetched"] == 1


@pytest.mark.parametrize(
    "when",
    [
        {"tag": "TransferSyntaxUID", "op": "eq", "value": "1.2.3"},
        {"tag": '(0029,"SIEMENS CSA HEADER",10)', "op": "exists"},
        {"tag": "PixelData", "op": "exists"},
    ],
    ids=["file meta", "private", "pixels"],
)
def test_what_metadata_cannot_tell_is_fetched(site: Site, pacs: str, when: dict[str, Any]) -> None:
    put(pacs, [instance(1)])
    site.configure(dicomweb(pacs, look_first=True), rulesets=rules(when))
    site.poll()
    assert site.counts()["fetched"] == 1


def test_a_server_without_metadata_is_fetched_from(site: Site, faulty: Faulty, pacs: str) -> None:
    from tests.doubles.server import Answer

    put(pacs, [instance(1), instance(2)])
    faulty.fault("/metadata$", Answer(404), 1)
    faulty.fault("/metadata$", Answer(200, b"[{}]", {"Content-Type": "application/dicom+json"}))
    site.configure(dicomweb(faulty.url, look_first=True), rulesets=rules({"tag": "PatientID", "op": "eq", "value": "X"}))
    site.poll()
    assert site.counts()["fetched"] == 2
