"""What may be asked, what may not, and what is hidden from those who may not see patients."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.errors import Invalid
from engine.history import Reader, Recorder, is_truncated, seal
from engine.history.questions import flow_counts, instance_story, instances

NOW = datetime.now(UTC)


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Two instances of one batch, one delivered after a retry, one held."""
    folder = tmp_path / "it's [a] home?*" / "history"
    r = Recorder(folder, "node-1")
    common = {"batch": "b1", "source": "ct", "received_at": NOW, "calling_ae": "CT01", "bytes": 100}
    r.write(
        "instances",
        [
            common
            | {"id": "b1/0", "index": 0, "sop_instance_uid": "1.2.0", "patient_id": "4711", "patient_name": "DOE^JOHN"}
            | {"study_date": "20260105", "outcome": "routed", "header": {"00100020": {"vr": "LO", "Value": ["4711"]}}},
            common
            | {"id": "b1/1", "index": 1, "sop_instance_uid": "1.2.1", "patient_id": "100%_x", "outcome": "held"}
            | {"held_reason": "The value 100%_x is odd"},
        ],
    )
    here = {"batch": "b1", "index": 0, "sop_instance_uid": "1.2.0", "ruleset": "main", "rule": "ct", "state": "live"}
    r.write("decisions", [here | {"id": "d", "matched": True, "reasons": ["PatientID exists: is 4711"]}])
    r.write(
        "changes",
        [
            here | {"id": "c1", "tag": "00100020", "path": "PatientID", "before": "4711", "after": ""},
            here | {"id": "c2", "tag": "00291010", "path": "x", "before": "4711", "after": None},
            here | {"id": "c3", "tag": "00080080", "path": "InstitutionName", "before": "A", "after": "B"},
            here | {"id": "c4", "tag": "00080050", "path": "AccessionNumber", "before": "9", "after": "8"},
            here | {"id": "c5", "tag": "0020000D", "path": "StudyInstanceUID", "before": "1.2", "after": "2.25.7",
                    "morph": "deidentify"},
        ],
    )
    sent = {"delivery": "x", "batch": "b1", "branch": "main/ct", "destination": "pacs", "sop_instance_uid": "9.9"}
    r.write(
        "deliveries",
        [
            sent | {"id": "x/1/-1", "attempt": 1, "index": -1, "outcome": "retry", "words": "refused"},
            sent | {"id": "x/2/0", "attempt": 2, "index": 0, "outcome": "retry", "code": "0xA700"},
            sent | {"id": "x/3/0", "attempt": 3, "index": 0, "outcome": "confirmed", "location": "/out/4711/1.dcm"},
        ],
    )
    seal(folder)
    return folder


EVIL = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    'SELECT * FROM "/etc/passwd"',
    "SELECT * FROM glob('/*')",
    "SELECT * FROM read_parquet('{history}/instances/*/*.parquet')",
    "SELECT * FROM '{history}/instances/day=2026-01-05/x.parquet'",
    'WITH "{history}/x.parquet" AS (SELECT 1) SELECT * FROM "{history}/x.parquet"',
    "WITH duckdb_settings AS (SELECT 1) SELECT * FROM duckdb_settings",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT * FROM instances WHERE id IN (SELECT filename FROM read_blob('/etc/passwd'))",
    "WITH x AS (SELECT * FROM read_csv('/etc/passwd')) SELECT * FROM x",
    "SELECT 1 UNION ALL SELECT content FROM read_text('/etc/passwd')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('instances')",
    "SELECT * FROM parquet_metadata('{history}/x')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_views()",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM pg_catalog.pg_views",
    "SELECT * FROM information_schema.schemata",
    "SELECT * FROM memory.main.instances",
    "SELECT current_setting('allowed_directories')",
    "SELECT write_log('x')",
    "COPY (SELECT 1) TO '{history}/x.csv'",
    "COPY instances TO '/tmp/x.csv'",
    "ATTACH '/tmp/x.db' AS x",
    "INSTALL httpfs",
    "LOAD json",
    "PRAGMA database_list",
    "SET memory_limit = '100GB'",
    "RESET lock_configuration",
    "CREATE TABLE t AS SELECT 1",
    "CREATE OR REPLACE TEMP VIEW instances AS SELECT 1",
    "DROP VIEW instances",
    "INSERT INTO instances VALUES (1)",
    "WITH x AS (INSERT INTO instances VALUES (1) RETURNING *) SELECT * FROM x",
    "DELETE FROM instances",
    "EXPORT DATABASE '/tmp/x'",
    "CALL pragma_version()",
    "EXPLAIN ANALYZE SELECT 1",
    "PREPARE a AS SELECT 1",
    "CHECKPOINT",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP VIEW instances",
    "SHOW ALL TABLES",
    "SHOW DATABASES",
    "",
    "-- nothing",
    "SELECT secret FROM local_variable",
    "SELECT stats(patient_id) FROM instances",
    "SELECT max(main.stats(header)::VARCHAR) FROM instances",
    "SELECT patient_id.stats() FROM instances",
    "SELECT \"STATS\"(location) FROM deliveries",
    "SELECT json_serialize_plan('SELECT * FROM read_parquet(''{history}/**/*.parquet'')')",
    "SELECT pg_sleep(1000)",
    "SELECT repeat('x', 1000000000)",
    "SELECT levenshtein(array_to_string(range(100000), ','), array_to_string(range(99999), ','))",
    "SELECT list_filter([1], lambda x: stats(x) IS NULL)",
    "SELECT count(*) FILTER (WHERE getvariable('x') IS NULL) OVER () FROM instances",
    "SELECT * FROM instances ORDER BY current_setting('home_directory')",
]


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("sql", EVIL)
def test_only_one_select_over_the_views_may_be_asked(history: Path, sql: str, mask: bool) -> None:
    local_variable = Reader(history).query("SELECT 1 AS secret")  # DuckDB would find it by its name
    assert local_variable.num_rows == 1
    with pytest.raises(Invalid) as refused:
        Reader(history).query(sql.replace("{history}", str(history).replace("'", "''")), mask=mask)
    [problem] = refused.value.problems
    assert problem.loc == ("sql",)
    assert len(problem.words) > 20
    assert str(history) not in problem.words.replace(sql, "") or "no view called" in problem.words


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT count(*) AS n FROM instances;", [{"n": 2}]),
        ("WITH a AS (SELECT * FROM Instances) SELECT count(*) AS n FROM a -- all of them", [{"n": 2}]),
        ("FROM changes SELECT count(*) AS n", [{"n": 5}]),
        (
            "SELECT d.code FROM deliveries d JOIN instances i USING (batch, index) ORDER BY attempt",
            [{"code": "0xA700"}, {"code": None}],
        ),
        (
            "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT max(n) AS n FROM t",
            [{"n": 3}],
        ),
        ("SELECT r FROM (SELECT unnest(reasons) AS r FROM decisions)", [{"r": "PatientID exists: is 4711"}]),
        ("SELECT * FROM range(2) t(n)", [{"n": 0}, {"n": 1}]),
        ("SELECT t.at > TIMESTAMPTZ '2020-01-01' AS later, \"at\" IS NULL AS no FROM audit t", []),
        (
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'audit' AND column_name = 'who'",
            [{"column_name": "who"}],
        ),
        ("VALUES (1)", [{"col0": 1}]),
    ],
)
def test_ordinary_questions_are_answered(history: Path, sql: str, rows: list[dict]) -> None:
    assert Reader(history).rows(sql) == rows


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT at FROM instances", 'double quotes: "at"'),
        ("SELECT nme FROM audit", "nme"),
        ("SELECT * FROM nothing", "there are instances, decisions"),
        ("SELECT CAST('a' AS INT)", "Could not convert"),
        ("SELECT $x", "x"),
        ("SELECT * FROM range(100000000) ORDER BY hash(range)", "more memory"),
    ],
)
def test_what_is_wrong_with_the_sql_is_said_in_words(history: Path, sql: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        Reader(history, memory="100MB").query(sql)


def test_a_slow_query_is_stopped(history: Path) -> None:
    with pytest.raises(Invalid, match=r"longer than 0\.2 seconds"):
        Reader(history).query("SELECT count(*) FROM range(100000000000) a", timeout_s=0.2)
    with pytest.raises(Invalid, match=r"longer than 0\.2 seconds"):
        Reader(history).query("SELECT * FROM range(100000000000) a", limit=None, timeout_s=0.2)


def test_an_answer_stops_at_its_limit_and_says_so(history: Path) -> None:
    reader = Reader(history)
    table = reader.query("SELECT * FROM range(10000000000)", limit=7)
    assert (table.num_rows, is_truncated(table)) == (7, True)
    table = reader.query("SELECT * FROM range(7)", limit=7)
    assert (table.num_rows, is_truncated(table)) == (7, False)
    assert reader.query("SELECT * FROM range(30000)", limit=None).num_rows == 30_000
    assert reader.query("SELECT * FROM range(3)", limit=0).num_rows == 0


def test_values_are_bound(history: Path) -> None:
    reader = Reader(history)
    assert reader.rows("SELECT ?::VARCHAR AS a, ? + 1 AS b", ["'; DROP", 1]) == [{"a": "'; DROP", "b": 2}]
    assert reader.rows("SELECT id FROM instances WHERE patient_id = $id", {"id": "4711"}) == [{"id": "b1/0"}]


def test_what_tells_of_a_patient_is_masked(history: Path) -> None:
    reader = Reader(history)
    for view in ("instances", "decisions", "changes", "deliveries"):
        assert "4711" in str(reader.rows(f"SELECT * FROM {view}"))
        hidden = str(reader.rows(f"SELECT * FROM {view}", mask=True))
        assert "4711" not in hidden
        assert "DOE" not in hidden
        assert "100%_x" not in hidden
    changes = reader.rows('SELECT id, "before", "after" FROM changes ORDER BY id', mask=True)
    assert changes == [
        {"id": "c1", "before": "***", "after": ""},
        {"id": "c2", "before": "***", "after": None},
        {"id": "c3", "before": "A", "after": "B"},
        {"id": "c4", "before": "***", "after": "***"},
        {"id": "c5", "before": "***", "after": "***"},
    ]
    assert reader.rows("SELECT reasons FROM decisions", mask=True) == [{"reasons": ["PatientID exists"]}]
    assert reader.rows("SELECT id FROM instances WHERE patient_id = '4711'", mask=True) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4711", ["1.2.0"]),
        ("doe john", ["1.2.0"]),
        ("doe 2026-01-05", ["1.2.0"]),
        ("1.2.1", ["1.2.1"]),
        ("%_", ["1.2.1"]),
        ("ct01", ["1.2.1", "1.2.0"]),
        ("", ["1.2.1", "1.2.0"]),
        ("' OR true --", []),
        ("$w0", []),
    ],
)
def test_instances_are_found_by_what_people_know_of_them(history: Path, text: str, found: list[str]) -> None:
    rows = instances(Reader(history), text, 10)
    assert [r["sop_instance_uid"] for r in rows] == found


def test_a_masked_search_does_not_search_what_it_hides(history: Path) -> None:
    assert instances(Reader(history), "4711", mask=True) == []
    assert [r["patient_id"] for r in instances(Reader(history), "1.2.0", mask=True)] == ["***"]


def test_an_instance_tells_its_whole_story_by_its_old_and_new_uid(history: Path) -> None:
    for uid in ("1.2.0", "9.9"):
        story = instance_story(Reader(history), uid)
        assert story["sop_instance_uid"] == uid
        [one] = story["receptions"]
        assert one["header"] == {"00100020": {"vr": "LO", "Value": ["4711"]}}
        assert [d["rule"] for d in one["decisions"]] == ["ct"]
        assert [c["id"] for c in one["changes"]] == ["c1", "c2", "c3", "c4", "c5"]
        assert [(d["attempt"], d["outcome"]) for d in one["deliveries"]] == [
            (1, "retry"),
            (2, "retry"),
            (3, "confirmed"),
        ]
    [held] = instance_story(Reader(history), "1.2.1")["receptions"]
    assert (held["outcome"], held["deliveries"]) == ("held", [])
    assert instance_story(Reader(history), "5")["receptions"] == []
    [masked] = instance_story(Reader(history), "1.2.0", mask=True)["receptions"]
    assert masked["header"] is None


def test_the_flow_is_counted(history: Path) -> None:
    flow = flow_counts(Reader(history), NOW - timedelta(minutes=5))
    assert flow["sources"] == [{"source": "ct", "received": 2, "held": 1, "unmatched": 0, "bytes": 200}]
    assert flow["source_rule"] == [{"source": "ct", "rule": "main/ct", "state": "live", "count": 1}]
    assert flow["rule_destination"] == [
        {"rule": "main/ct", "destination": "pacs", "confirmed": 1, "retried": 1, "refused": 0}
    ]
    assert flow["totals"] == {"received": 2, "held": 1, "unmatched": 0, "delivered": 1, "refused": 0}
    assert sum(m["received"] for m in flow["per_minute"]) == 2
    assert sum(m["delivered"] for m in flow["per_minute"]) == 1
    assert flow_counts(Reader(history), NOW + timedelta(minutes=5))["totals"]["received"] == 0
