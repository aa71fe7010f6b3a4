"""The routes beyond the configuration, on a real spool and history: seen, sent again, thrown away, masked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from engine.dicom.dictionary import public
from engine.history.sealing import seal
from engine.model import Outcome, Receipt
from engine.settings import Settings
from tests.api.site import Site
from tests.flow.road import Road, Sink, instance, receive

HIDDEN = ("P-CANARY", "Doe^Jane")
CONFIGURATION: dict[str, Any] = {
    "destinations": [{"name": "pacs", "kind": "test_sink"}, {"name": "refuses", "kind": "test_sink"}],
    "rulesets": [
        {
            "name": "main",
            "priority": 1,
            "rules": [
                {
                    "name": "ct",
                    "priority": 1,
                    "when": {"all": [{"tag": "Modality", "op": "eq", "value": "CT"},
                                     {"tag": "PatientID", "op": "startswith", "value": "P-"}]},
                    "morphs": [{"kind": "prepend", "tag": "PatientID", "value": "H1-"}],
                    "destinations": ["pacs", "refuses"],
                },
                {
                    "name": "held",
                    "priority": 2,
                    "when": {"tag": "Modality", "op": "eq", "value": "MR"},
                    "morphs": [{"kind": "suffix", "tag": "PatientID", "value": "x" * 64}],
                    "destinations": ["pacs"],
                },
            ],
        }
    ],
}  # fmt: skip


@pytest.fixture
def busy(site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Site:
    """One image delivered to one destination and refused by the other, one held, one that no rule matched."""
    answers = {"pacs": Outcome.CONFIRMED, "refuses": Outcome.REFUSED}
    monkeypatch.setattr(Sink, "given", [])
    monkeypatch.setattr(Sink, "answer", lambda name, one: Receipt(one.index, answers[name], "0xC000", "cannot understand"))
    site.store.save(CONFIGURATION, author="test")
    road = Road(settings.home, CONFIGURATION)
    for uid, modality in (("1.2.1", "CT"), ("1.2.2", "MR"), ("1.2.3", "US")):
        receive(road.spool, [(uid, instance(uid, modality, patient="P-CANARY"))])
        road.route()
    road.deliver()
    seal(settings.history)
    return site


@pytest.fixture
def admin(busy: Site) -> httpx.Client:
    return busy.signed_in()


@pytest.fixture
def user(busy: Site) -> httpx.Client:
    return busy.signed_in("ada", "User")


def test_the_state_and_the_picture(user: httpx.Client) -> None:
    state = user.get("/status").json()
    assert (state["revision"], state["held"], state["unmatched"], state["dead"]) == (1, 1, 1, 1)
    assert {d["name"]: d["dead"] for d in state["destinations"]} == {"pacs": 0, "refuses": 1}
    flow = user.get("/flow", params={"minutes": 5}).json()
    assert flow["totals"]["received"] == 3
    assert {"from": "rule:main/ct", "to": "destination:pacs", "count": 1}.items() <= next(
        e for e in flow["edges"] if e["to"] == "destination:pacs"
    ).items()
    ways = [(e["from"], e["to"], e["count"]) for e in flow["edges"] if e["from"] == "rule:main/held"]
    assert ways == [("rule:main/held", "destination:pacs", 0)], "a live rule's way is drawn before anything went"


def test_held_ones_are_seen_retried_and_discarded_with_a_reason(admin: httpx.Client, busy: Site) -> None:
    held = admin.get("/held").json()
    assert len(held) == 1
    assert "main/held" in held[0]["reason"] or "held" in held[0]["reason"]
    again = admin.post("/held/retry", json={"ids": [held[0]["id"], "no-such-batch"]}).json()
    assert (again["done"], [f["id"] for f in again["failed"]]) == ([held[0]["id"]], ["no-such-batch"])
    assert admin.get("/held").json() == []
    unmatched = admin.get("/unmatched").json()
    assert admin.post("/unmatched/replay", json={"ids": [unmatched[0]["id"]]}).json()["done"] == [unmatched[0]["id"]]
    assert admin.post("/held/discard", json={"ids": ["x"]}).status_code == 422
    assert admin.post("/held/discard", json={"ids": [], "reason": "x"}).status_code == 422
    assert {"retry", "replay"} <= {r["action"] for r in admin.get("/audit").json()}


def test_paths_in_ids_lead_nowhere(admin: httpx.Client) -> None:
    ids = ["../../../../etc", "/etc/passwd", "..", ".", "a/../b", "\0", "a" * 300, "a" * 298 + ".0", "a.\u00b2"]
    actions = ("held/discard", "held/retry", "unmatched/replay", "deliveries/discard", "deliveries/retry", "gatherings/send-now")
    for path in actions:
        answer = admin.post(f"/{path}", json={"ids": ids} | ({"reason": "x"} if "discard" in path else {}))
        assert answer.status_code == 200, f"{path}: {answer.text}"
        assert (answer.json()["done"], len(answer.json()["failed"])) == ([], len(ids)), path


@pytest.mark.parametrize("path", ["/held/discard", "/deliveries/discard"])
def test_nothing_is_thrown_away_without_a_word(admin: httpx.Client, path: str) -> None:
    answer = admin.post(path, json={"ids": ["x"], "reason": " \n"})
    assert (answer.status_code, answer.json()["problems"][0]["loc"]) == (422, ["reason"])


def test_dead_deliveries_are_seen_with_the_peers_words_and_retried_or_given_up(user: httpx.Client) -> None:
    dead = user.get("/deliveries", params={"state": "dead"}).json()
    assert [(d["destination"], d["last_code"], d["last_words"]) for d in dead] == [
        ("refuses", "0xC000", "cannot understand")
    ]
    assert user.get("/deliveries", params={"destination": "pacs"}).json() == []
    assert user.get("/deliveries", params={"state": "odd"}).status_code == 422
    assert user.post("/deliveries/retry", json={"ids": [dead[0]["id"]]}).json()["done"] == [dead[0]["id"]]
    assert user.get("/deliveries").json()[0]["state"] == "waiting"
    given_up = user.post("/deliveries/discard", json={"ids": [dead[0]["id"]], "reason": "test images"}).json()
    assert given_up["done"] == [dead[0]["id"]]
    assert user.get("/deliveries").json() == []


def test_the_story_of_an_image(admin: httpx.Client) -> None:
    found = admin.get("/instances", params={"q": "P-CANARY"}).json()
    assert {i["sop_instance_uid"] for i in found} == {"1.2.1", "1.2.2", "1.2.3"}
    story = admin.get("/instances/1.2.1").json()
    (reception,) = story["receptions"]
    assert {d["destination"]: d["outcome"] for d in reception["deliveries"]} == {"pacs": "confirmed", "refuses": "refused"}
    change = next(c for c in reception["changes"] if c["path"] == "PatientID")
    assert (change["before"], change["after"]) == ("P-CANARY", "H1-P-CANARY")
    assert admin.get("/instances/9.9.9").status_code == 404


SEEN = ["/held", "/unmatched", "/instances", "/instances/1.2.1", "/instances/1.2.2", "/status", "/flow", "/deliveries"]


def test_who_may_not_see_patients_sees_none_anywhere(user: httpx.Client, admin: httpx.Client, tmp_path: Path) -> None:
    for address in SEEN:
        answer = user.get(address)
        assert answer.status_code == 200, address
        assert [h for h in HIDDEN if h in answer.text] == [], f"{address} {answer.text}"
    file = instance("1.2.9", patient="P-CANARY")
    tried = user.post("/rules/test", files={"file": file})
    assert [h for h in HIDDEN if h in tried.text] == [], tried.text
    for sql in ("SELECT * FROM instances", "SELECT * FROM changes", "SELECT * FROM decisions", "SELECT * FROM deliveries",
                "SELECT upper(patient_name) AS x FROM instances"):  # fmt: skip
        answer = user.post("/history/query", json={"sql": sql})
        assert answer.status_code == 200
        assert [h for h in HIDDEN if h.upper() in answer.text.upper()] == [], sql
    found = user.post("/history/query", json={"sql": "SELECT 1 AS x FROM instances WHERE patient_id LIKE 'P-C%'"})
    assert found.json()["rows"] == []  # nor do they learn it by asking
    assert user.get("/instances", params={"q": "P-CANARY"}).json() == []
    assert "P-CANARY" in admin.get("/instances/1.2.1").text
    assert "P-CANARY" in admin.get("/held").text
    assert "P-CANARY" in admin.post("/rules/test", files={"file": file}).text


def test_a_draft_is_asked_of_the_history_by_those_who_may_see_patients(user: httpx.Client, admin: httpx.Client) -> None:
    rule = {"name": "mine", "priority": 1, "when": {"tag": "PatientID", "op": "eq", "value": "P-CANARY"}}
    body = {"configuration": {"rulesets": [{"name": "draft", "priority": 1, "rules": [rule]}]}}
    answer = admin.post("/rules/whatif", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["instances"] == 3
    assert answer.json()["rules"]["draft/mine"]["draft"] > 0
    assert user.post("/rules/whatif", json=body).status_code == 403  # a count would tell who was here
    assert user.get("/rules/analysis").status_code == 200
    broken = {"configuration": {"rulesets": [{"name": "draft"}]}}
    refused = admin.post("/rules/whatif", json=broken)
    assert refused.status_code == 422
    assert ["rulesets", "draft", "priority"] in [p["loc"] for p in refused.json()["problems"]]


def test_queries_answer_rows_or_arrow_and_say_when_they_are_cut(admin: httpx.Client) -> None:
    sql = 'SELECT sop_instance_uid, "at", bytes FROM instances ORDER BY 1'
    answer = admin.post("/history/query", json={"sql": sql, "limit": 2}).json()
    assert answer["columns"] == ["sop_instance_uid", "at", "bytes"]
    assert [r["sop_instance_uid"] for r in answer["rows"]] == ["1.2.1", "1.2.2"]
    assert answer["truncated"] is True
    arrow = admin.post("/history/query", json={"sql": sql, "format": "arrow"})
    assert arrow.headers["Content-Type"] == "application/vnd.apache.arrow.stream"
    assert arrow.headers["X-Truncated"] == "false"
    with pa.ipc.open_stream(arrow.content) as reader:
        assert reader.read_all().column("sop_instance_uid").to_pylist() == ["1.2.1", "1.2.2", "1.2.3"]


def test_values_that_json_has_no_word_for(admin: httpx.Client) -> None:
    sql = "SELECT 'nan'::DOUBLE AS n, 'inf'::DOUBLE AS i, '\\xAA'::BLOB AS b, 12.5::DECIMAL(9,2) AS d, DATE '2026-01-02' AS t"
    answer = admin.post("/history/query", json={"sql": sql})
    assert answer.status_code == 200
    row = json.loads(answer.text)["rows"][0]
    assert (row["n"], row["i"], row["d"], row["t"]) == (None, None, "12.50", "2026-01-02")


@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM read_csv('/etc/passwd')", "COPY instances TO '/tmp/x'", "ATTACH '/tmp/x'", "INSTALL httpfs",
     "PRAGMA version", "SET threads=99", "SELECT 1; SELECT 2", "SELEC", "DROP VIEW instances"],
)  # fmt: skip
def test_sql_that_may_not_be_is_refused_in_words(admin: httpx.Client, sql: str) -> None:
    answer = admin.post("/history/query", json={"sql": sql})
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["loc"] == ["sql"]


def test_an_endless_query_is_given_up(admin: httpx.Client) -> None:
    sql = "SELECT count(*) FROM range(100000000) a, range(100000000) b"
    answer = admin.post("/history/query", json={"sql": sql, "timeout": 1})
    assert answer.status_code in (422, 503)  # that it comes at all: the query itself would run for years


def test_the_audit_says_what_was_asked_but_not_of_whom(admin: httpx.Client) -> None:
    admin.post("/history/query", json={"sql": "SELECT 1 FROM instances WHERE patient_id = 'P-CANARY' -- Doe^Jane"})
    admin.get("/instances", params={"q": "P-CANARY"})
    admin.get("/instances", params={"q": " p-canary "})
    rows = admin.get("/audit", params={"who": "root"})
    assert [h for h in HIDDEN if h in rows.text] == []
    first, second = [r["detail"]["sought"] for r in rows.json() if r["action"] == "query-patients"]
    assert first == second  # the same question can be recognised
    asked = next(r for r in rows.json() if r["action"] == "query-history")
    assert asked["detail"]["sql"].startswith("SELECT ? FROM instances WHERE patient_id = ?")


def test_the_rules_are_tried_on_a_file_and_nothing_stays(admin: httpx.Client, settings: Settings) -> None:
    tried = admin.post("/rules/test", files={"file": instance("1.2.9", patient="P-1")}, data={"calling_ae": "CT01"}).json()
    ct, held = tried["decisions"]
    assert (ct["rule"], ct["matched"], ct["destinations"]) == ("ct", True, ["pacs", "refuses"])
    assert (ct["changes"][0]["before"], ct["changes"][0]["after"]) == ("P-1", "H1-P-1")
    assert (held["rule"], held["matched"]) == ("held", False)
    assert list((settings.run_dir / "uploads").iterdir()) == []
    assert (settings.run_dir / "uploads").stat().st_mode & 0o077 == 0


def test_a_draft_is_tried_instead_of_the_live_rules(admin: httpx.Client) -> None:
    draft = {"rulesets": [{"name": "draft", "priority": 1, "rules": [{"name": "all", "priority": 1}]}]}
    files = {"file": instance("1.2.9")}
    tried = admin.post("/rules/test", files=files, data={"configuration": json.dumps(draft)}).json()
    assert [(d["ruleset"], d["matched"]) for d in tried["decisions"]] == [("draft", True)]
    for wrong in ("{", "[]", '{"rulesets": 3}'):
        answer = admin.post("/rules/test", files=files, data={"configuration": wrong})
        assert (answer.status_code, answer.json()["problems"][0]["loc"][0] in ("configuration", "rulesets")) == (422, True)


@pytest.mark.parametrize("content", [b"", b"not DICOM", b"\0" * 128 + b"DICM" + b"\xff" * 50])
def test_a_file_that_is_no_dicom_is_refused_in_words_and_does_not_stay(
    admin: httpx.Client, settings: Settings, content: bytes
) -> None:
    answer = admin.post("/rules/test", files={"file": content})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:axiom:problem:refused")
    assert list((settings.run_dir / "uploads").iterdir()) == []


def test_tags_complete(user: httpx.Client) -> None:
    found = user.get("/tags", params={"q": "PatientI", "limit": 3}).json()
    known = public(0x00100020)
    assert known is not None
    assert found[0] == {"tag": "00100020", "keyword": "PatientID", "name": known.name, "vr": "LO", "vm": "1"}
    assert user.get("/tags", params={"q": ""}).status_code == 422


def test_what_is_gathered_is_seen_and_sent_on_a_click(site: Site, settings: Settings) -> None:
    rule = {"name": "study", "priority": 1, "destinations": ["pacs"], "gather": "study"}
    document = CONFIGURATION | {"rulesets": [{"name": "main", "priority": 1, "rules": [rule]}]}
    site.store.save(document, author="test")
    road = Road(settings.home, document)
    receive(road.spool, [("1.2.1", instance("1.2.1")), ("1.2.2", instance("1.2.2"))])
    road.route()
    user = site.signed_in("ada", "User")
    [found] = user.get("/gatherings").json()
    assert (found["branch"], found["destination"], found["level"]) == ("main/study", "pacs", "study")
    assert (found["uid"], found["instances"], found["late"]) == ("1.2.826.9", 2, False)
    assert user.get("/status").json()["gathering"] == 1
    answer = user.post("/gatherings/send-now", json={"ids": [found["id"], "gone"]}).json()
    assert answer["done"] == [found["id"]]
    assert "no gathering gone" in str(answer["failed"])
    road.gather()
    assert user.get("/gatherings").json() == []
    [waiting] = user.get("/deliveries").json()
    assert (waiting["branch"], waiting["instances"]) == ("main/study", 2)


def test_a_destination_with_deliveries_that_are_not_over_goes_only_by_force(admin: httpx.Client) -> None:
    used = admin.delete("/destinations/refuses", params={"force": True})
    assert (used.status_code, used.json()["used_by"]) == (409, ["rulesets/main/rules/ct"])
    assert admin.delete("/rulesets/main").status_code == 204
    assert admin.get("/destinations/refuses/used-by").json() == {"used_by": [], "deliveries": 1}
    told = admin.delete("/destinations/refuses")
    assert told.status_code == 409
    assert "1 delivery to refuses is not over" in told.json()["detail"]
    assert admin.delete("/destinations/refuses", params={"force": True}).status_code == 204
    assert admin.delete("/destinations/pacs").status_code == 204  # all that went there has arrived
