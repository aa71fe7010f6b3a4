"""Trying rules on a file shows nobody who the patients are that may not see it, whatever the rules do with a tag."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.history.sealing import seal
from engine.settings import Settings
from tests.api.site import Site
from tests.flow.road import Road, instance, receive

PATIENT, PSEUDONYM = "P-CANARY", "SECRET-7"
HIDDEN = (PATIENT, PSEUDONYM, "CANARY", "SECRET", "Doe^Jane", "Jane")
KEY = {"key": "env:AXIOM_TEST_KEY"}
LINES = 'RequestAttributesSequence[0].ScheduledProcedureStepID'

MORPHS: list[list[dict[str, Any]]] = [
    [{"kind": "set", "tag": "PatientID", "value": "new"}],
    [{"kind": "delete", "tag": "PatientName"}],
    [{"kind": "set", "tag": "StudyDescription", "value": "{PatientID}/{Modality}"}],
    [{"kind": "copy", "tag": "PatientID", "to": "StudyID"}],
    [{"kind": "move", "tag": "PatientName", "to": "StudyDescription"}],
    [{"kind": "copy", "tag": "PatientID", "to": LINES}, {"kind": "delete", "tag": LINES}],
    [{"kind": "copy", "tag": "PatientID", "to": "StudyID"}, {"kind": "copy", "tag": "StudyID", "to": "SeriesDescription"},
     {"kind": "regex_replace", "tag": "SeriesDescription", "pattern": "P-", "replacement": ""},
     {"kind": "set", "tag": "StudyID", "value": "1"}],
    [{"kind": "set", "tag": "StudyDescription", "value": "x"},
     {"kind": "prepend", "tag": "StudyDescription", "value": "{PatientName}"},
     {"kind": "suffix", "tag": "StudyDescription", "value": "y"}],
    [{"kind": "set", "tag": '(0029,"ACME",10)', "value": "{PatientID}"}],
    [{"kind": "set", "tag": "ReferringPhysicianName", "value": "Doe^Jane"}],
    [{"kind": "crosswalk", "map": "m"}, {"kind": "copy", "tag": "PatientID", "to": "StudyDescription"}],
    [{"kind": "deidentify", **KEY}],
    [{"kind": "remap_uid", "tag": "StudyInstanceUID", **KEY},
     {"kind": "set", "tag": "StudyDescription", "value": "{StudyInstanceUID}"}],
    [{"kind": "set", "tag": "Modality", "value": "{PatientID}-too-long-for-a-code", "invalid": "warn"}],
]  # fmt: skip


@pytest.fixture
def live(site: Site, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("AXIOM_TEST_KEY", "a long secret key")
    table = tmp_path / "table.csv"
    table.write_text(f"mrn,pseudonym\n{PATIENT},{PSEUDONYM}\n")
    rules = [{"name": f"r{n}", "priority": n + 1, "morphs": morphs} for n, morphs in enumerate(MORPHS)]
    chain = [
        {"name": "c1", "priority": 1, "morphs": [{"kind": "copy", "tag": "PatientID", "to": "StudyID"}]},
        {"name": "c2", "priority": 2, "morphs": [{"kind": "copy", "tag": "StudyID", "to": "StudyDescription"}],
         "when": {"tag": "StudyID", "op": "eq", "value": PATIENT[:1]}, "state": "shadow"},
        {"name": "c3", "priority": 3, "morphs": [{"kind": "copy", "tag": "StudyID", "to": "SeriesDescription"}]},
    ]  # fmt: skip
    site.store.save(
        {
            "crosswalk_sources": [{"name": "mrn", "kind": "csv", "path": str(table)}],
            "crosswalk_maps": [
                {"name": "m", "source": "mrn", "match": {"PatientID": "mrn"}, "replace": {"PatientID": "pseudonym"}}
            ],
            "rulesets": [
                {"name": "all", "priority": 1, "mode": "ALL_MATCHES", "rules": rules},
                {"name": "chain", "priority": 2, "mode": "ALL_MATCHES", "changes": "chained", "rules": chain},
            ],
        },
        author="test",
    )
    return site


def _tried(client: httpx.Client, draft: dict[str, Any] | None = None) -> httpx.Response:
    data = {} if draft is None else {"configuration": json.dumps(draft)}
    return client.post("/rules/test", files={"file": instance("1.2.9", patient=PATIENT)}, data=data)


def _draft(site: Site, *morphs: dict[str, Any], **families: Any) -> dict[str, Any]:
    rules = [{"name": "r", "priority": 1, "morphs": list(morphs)}]
    return site.store.live().configuration.document() | {"rulesets": [{"name": "d", "priority": 1, "rules": rules}]} | families


def test_no_morph_brings_an_identifier_into_a_trial_that_is_masked(live: Site) -> None:
    tried = _tried(live.signed_in("ada", "User"))
    assert tried.status_code == 200, tried.text
    decisions = {d["rule"]: d for d in tried.json()["decisions"]}
    assert all(d["changes"] for d in decisions.values() if d["matched"])
    shown = {name: [h for h in HIDDEN if h in json.dumps(d)] for name, d in decisions.items()}
    assert {name: found for name, found in shown.items() if found} == {}
    changed = decisions["r7"]["changes"][0]
    shown_to_all = ("StudyDescription", None, "x")
    assert (changed["path"], changed["before"], changed["after"]) == shown_to_all
    everything = _tried(live.signed_in()).text
    assert [h for h in HIDDEN if h not in everything] == []


def test_nor_into_a_history_that_is_masked(live: Site, settings: Settings) -> None:
    road = Road(settings.home, live.store.live().configuration.document())
    receive(road.spool, [("1.2.9", instance("1.2.9", patient=PATIENT))])
    road.route()
    seal(settings.history)
    sql = {"sql": "SELECT * FROM changes"}
    seen = live.signed_in("ada", "User").post("/history/query", json=sql).json()["rows"]
    assert len(seen) > len(MORPHS)
    assert [row for row in seen if any(h in json.dumps(row) for h in HIDDEN)] == []
    assert {"x"} <= {row["after"] for row in seen}
    assert PSEUDONYM in live.signed_in().post("/history/query", json=sql).text


def test_why_it_would_be_held_names_no_value(live: Site) -> None:
    draft = _draft(live, {"kind": "set", "tag": "StudyDate", "value": "{PatientID}"})
    tried = _tried(live.signed_in("ada", "User"), draft)
    assert tried.status_code == 422
    assert "Ruleset d, rule r: set StudyDate: it would be held" in tried.json()["detail"]
    assert PATIENT not in tried.text
    assert PATIENT in _tried(live.signed_in(), draft).text


def test_what_a_draft_asks_of_others_needs_the_right_to_ask_it(live: Site, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text(f"mrn,pseudonym\n{PATIENT},ELSEWHERE\n")
    admin = live.signed_in()
    admin.post("/roles", json={"name": "Analyst", "permissions": ["view", "browse", "see_patient_data"]}).raise_for_status()
    analyst, user = live.signed_in("bo", "Analyst"), live.signed_in("ada", "User")
    crosswalk = {"kind": "crosswalk", "map": "m"}
    same = _draft(live, crosswalk)
    elsewhere = _draft(live, crosswalk, crosswalk_sources=[{"name": "mrn", "kind": "csv", "path": str(other)}])
    secret = _draft(live, {"kind": "remap_uid", "tag": "StudyInstanceUID", "key": f"file:{other}"})
    answers = {
        who: [_tried(client, draft).status_code for draft in (same, elsewhere, secret)]
        for who, client in (("admin", admin), ("analyst", analyst), ("user", user))
    }
    assert answers == {"admin": [200, 200, 200], "analyst": [200, 403, 403], "user": [403, 403, 403]}
    assert "ELSEWHERE" in _tried(admin, elsewhere).text
    assert _tried(user, live.store.live().configuration.document()).status_code == 200  # what is live, sent as a draft
    assert _tried(user, _draft(live, {"kind": "set", "tag": "StudyID", "value": "1"})).status_code == 200
