"""One rule, two engines: what Python decides of an arriving instance, DuckDB says of its row in history."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.dicom.header import Header
from engine.history.lockdown import check_sql
from engine.model import Association
from engine.rules.decide import Rulebook
from engine.rules.model import Rule, Ruleset, Schedule
from engine.rules.to_sql import ToSql, rule_sql
from tests.rules import strategies as some
from tests.rules.headers import header, row

PER_EXAMPLE = 8
SCHEMA = pa.schema([("header", pa.string()), ("received_at", pa.timestamp("us", tz="UTC"))])
CONNECTION = duckdb.connect(config={"threads": 1})
WHEN = datetime(2024, 2, 29, 9, 30, tzinfo=UTC)


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    names = list(rows[0])
    fields = [SCHEMA.field(name) if name in SCHEMA.names else pa.field(name, pa.string()) for name in names]
    return pa.table({name: [one[name] for one in rows] for name in names}, schema=pa.schema(fields))


def python_says(rule: Rule, schedules: list[Schedule], instance: tuple[Header, Association, datetime]) -> bool:
    book = Rulebook([Ruleset(name="m", priority=1, rules=[rule])], schedules)
    return book.decide(*instance, lambda _, unchanged: (unchanged, (), ())).verdicts[0].matched


def sql_says(sql: str, instances: list[tuple[Header, Association, datetime]], extract: str | None = None) -> list[Any]:
    check_sql(CONNECTION, f"SELECT {sql} FROM (SELECT *, {extract or 1} AS x FROM instances)")  # history lets it be asked
    instances_table = _table([row(*one) for one in instances])
    source = f"(SELECT *, {extract} AS x FROM instances_table)" if extract else "instances_table"
    return (
        [answer for (answer,) in CONNECTION.execute(f"SELECT {sql} FROM {source}").fetchall()]
        if instances_table
        else []
    )


def agree(rule: Rule, schedules: list[Schedule], instances: list[tuple[Header, Association, datetime]]) -> None:
    expected = [python_says(rule, schedules, one) for one in instances]
    assert sql_says(rule_sql(rule, schedules), instances) == expected
    shared = ToSql(schedules)
    sql = shared.rule(rule)
    assert sql_says(sql, instances, shared.extract) == expected


instances = st.lists(
    st.tuples(some.header_elements.map(header), some.associations, some.moments),
    min_size=PER_EXAMPLE,
    max_size=PER_EXAMPLE,
)
LOOSE = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=60, **LOOSE)
@given(some.rules, some.schedules, instances)
def test_python_and_sql_agree(rule: Rule, schedule: Schedule, seen: list[Any]) -> None:
    agree(rule, [schedule], seen)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=2_500, **LOOSE)
@given(some.rules, some.schedules, instances)
def test_python_and_sql_agree_on_twenty_thousand(rule: Rule, schedule: Schedule, seen: list[Any]) -> None:
    agree(rule, [schedule], seen)
