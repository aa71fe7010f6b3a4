"""What-if: a draft against the live rules, over rows as history keeps them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from engine.history.lockdown import check_sql
from engine.rules.model import Rule, Ruleset, Schedule
from engine.rules.whatif import Query, what_if
from tests.rules.headers import SENDER, header, row

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def _rule(name: str, when: Any, *destinations: str, **more: Any) -> Rule:
    return Rule.model_validate(
        {"name": name, "priority": ord(name[0]), "when": when, "destinations": list(destinations), **more}
    )


def _is(tag: str, value: str) -> dict[str, str]:
    return {"tag": tag, "op": "eq", "value": value}


CT = _rule("ct", _is("Modality", "CT"), "pacs")
ALL = _rule("every", None, "archive")
LIVE = [Ruleset(name="main", priority=1, rules=[CT, _rule("mr", _is("Modality", "MR"), "pacs", "research")])]


@pytest.fixture
def history() -> Query:
    """3 CT, 2 MR and 1 US; the US came first and matched nothing."""
    rows = []
    for n, modality in enumerate(["US", "CT", "CT", "CT", "MR", "MR"]):
        seen = header(Modality=modality, PatientID=f"P{n}", Rows=[n], SeriesDescription="AX T1")
        rows.append(row(seen, SENDER, NOW + timedelta(hours=n)) | {
            "id": f"b/{n}", "sop_instance_uid": f"1.2.{n}", "outcome": "unmatched" if modality == "US" else "routed",
        })  # fmt: skip
    types = {"received_at": pa.timestamp("us", tz="UTC")}
    names = list(rows[0])
    table = pa.table(
        {name: [one[name] for one in rows] for name in names},
        schema=pa.schema([(n, types.get(n, pa.string())) for n in names]),
    )
    connection = duckdb.connect()
    connection.register("instances", table)

    def asked(sql: str) -> pa.Table:
        assert check_sql(connection, sql) == {"instances"}  # as the reader of history does
        return connection.sql(sql).to_arrow_table()

    return asked


def test_a_draft_rule_beside_the_live_ones(history: Query) -> None:
    draft = _rule("us", {"any": [_is("Modality", "US"), {"tag": "Rows", "op": "ge", "value": 5}]}, "pacs")
    found = what_if(draft, LIVE, [], history)
    assert (found.instances, found.unmatched_then) == (6, 1)
    assert (found.total.draft, found.total.live, found.total.gained, found.total.lost) == (2, 5, 1, 4)
    assert {name: (c.draft, c.live) for name, c in found.rules.items()} == {
        "draft/us": (2, 0),
        "main/ct": (0, 3),
        "main/mr": (0, 2),
    }
    assert {name: (c.gained, c.lost) for name, c in found.modalities.items()} == {
        "CT": (0, 3),
        "MR": (0, 1),
        "US": (1, 0),
    }
    assert found.sources["modalities"].draft == 2
    assert [(s["id"], s["patient_id"], s["rules"]) for s in found.gained] == [
        ("b/0", "P0", {"draft": ["draft/us"], "live": []})
    ]
    assert len(found.lost) == 4


def test_a_ruleset_takes_the_place_of_its_namesake_and_first_match_counts(history: Query) -> None:
    draft = Ruleset(name="main", priority=1, mode="FIRST_MATCH", rules=[CT, ALL])
    found = what_if(draft, LIVE, [], history)
    assert {name: (c.draft, c.live) for name, c in found.rules.items()} == {
        "main/ct": (3, 3),
        "main/every": (3, 0),
        "main/mr": (0, 2),
    }
    assert {name: (c.draft, c.live, c.gained, c.lost) for name, c in found.destinations.items()} == {
        "archive": (3, 0, 3, 0), "pacs": (3, 5, 0, 2), "research": (0, 2, 0, 2),
    }  # fmt: skip


def test_shadow_rules_count_in_the_draft_alone_and_rules_that_are_off_nowhere(history: Query) -> None:
    shadow, off = _rule("every", None, state="shadow"), _rule("ct", _is("Modality", "CT"), state="off")
    rulesets = [Ruleset(name="main", priority=1, rules=[shadow, off])]
    found = what_if(rulesets, rulesets, [], history)
    assert {name: (c.draft, c.live) for name, c in found.rules.items()} == {"main/every": (6, 0)}


def test_since_schedules_and_samples(history: Query) -> None:
    noon = Schedule.model_validate({"name": "noon", "ranges": [{"start": "12:00", "end": "14:30"}]})
    draft = _rule("every", None, "archive", schedule="noon")
    assert what_if(draft, [], [noon], history).total.draft == 3
    found = what_if(draft, [], [noon], history, since=NOW + timedelta(hours=1), samples=1)
    assert (found.instances, found.total.draft, len(found.gained)) == (5, 2, 1)


def test_more_rules_than_bits_of_one_integer(history: Query) -> None:
    rules = [_rule(f"r{n}", _is("PatientID", f"P{n}"), "pacs").model_copy(update={"priority": n}) for n in range(130)]
    found = what_if([Ruleset(name="many", priority=1, rules=rules)], LIVE, [], history)
    assert {name: c.draft for name, c in found.rules.items() if c.draft} == {f"many/r{n}": 1 for n in range(6)}


def test_chained_changes_are_said_not_to_be_judged(history: Query) -> None:
    draft = Ruleset(name="chain", priority=1, changes="chained", rules=[ALL])
    assert what_if([draft], [], [], history).notes == [
        "The ruleset chain chains changes: its rules were asked of the tags as received."
    ]
    assert what_if(ALL, [], [], history).as_json()["total"] == {"draft": 6, "live": 0, "gained": 6, "lost": 0}
