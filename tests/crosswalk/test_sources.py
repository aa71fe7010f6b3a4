"""Each kind of source, on the real thing: exact answers, nothing but what was asked, words for what is wrong."""

from __future__ import annotations

import pytest

from engine.crosswalk.lookup import answers_of
from engine.errors import Hold
from tests.crosswalk.tables import KINDS, ROWS, Table

REPLACE = ("pseudonym", "the alias%")
SLOW = {
    "postgresql": "SELECT pg_sleep(30)",
    "mysql": "SELECT count(*) FROM seq_1_to_100000000 a, seq_1_to_1000 b",
}


def _found(table: Table, *values: str) -> dict[str, tuple[str, ...] | str | None]:
    keys = [(v,) for v in values]
    answers = answers_of(table.source().find(("mrn",), REPLACE, keys), keys)
    return {key[0]: "many" if a.many else a.values for key, a in answers.items()}


def test_answers_are_exact_whatever_the_collation(patients: Table) -> None:
    found = _found(patients, "P1", "p1", "P3", "P2 ", "nobody", "TWICE", "NULL")
    assert found["P1"] == ("A1", "Nobody^One")
    assert found["p1"] == ("A5", "small")
    assert found["P3"] == ("A3", "Müller^Дмитрий")
    assert found["P2 "] is None
    assert found["nobody"] is None
    assert found["TWICE"] == "many"
    assert found["NULL"] is None


@pytest.mark.parametrize(
    "value",
    ["' OR '1'='1", "P1' --", "'; DROP TABLE patients; --", "\\' OR 1=1 -- ", '" OR ""="', "P1\\", "%", "%s", "%(a)s", "{0}",
     "\0", "P1\0", "\udcff", "`", "]", "\n", "N'P1'", "0x5031", "🫀"],
)  # fmt: skip
def test_no_value_is_ever_taken_for_sql(patients: Table, value: str) -> None:
    assert _found(patients, value, "P2") == {value: None, "P2": ("A2", "Nobody^Two")}


def test_values_that_look_like_sql_are_found_when_they_are_there(patients: Table) -> None:
    assert _found(patients, "O'Brien", "100%", "back\\slash") == {
        "O'Brien": ("A4", "x"), "100%": ("A9", "%s"), "back\\slash": ("A10", "y"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "column", ["nothing", "mrn FROM patients; --", 'mrn"', "mrn`", "mrn]", "(SELECT 1)", "MRN", "", "mrn, pseudonym", "%s"]
)
def test_a_column_that_the_table_does_not_have_never_gets_into_sql(patients: Table, column: str) -> None:
    with pytest.raises(Hold, match="has no column") as e:
        patients.source().find((column,), REPLACE, [("P1",)])
    assert "mrn" in str(e.value)
    assert not e.value.waits_for
    with pytest.raises(Hold, match="has no column"):
        patients.source().find(("mrn",), (column,), [("P1",)])


@pytest.mark.parametrize(
    "name", ["nothing", 'patients"; DROP TABLE patients; --', "patients`; --", "patients]; --", "a.patients"]
)
def test_a_table_that_is_not_there_never_gets_into_sql(patients: Table, name: str) -> None:
    if patients.kind == "csv":
        with pytest.raises(Hold, match="away"):
            patients.source(path=f"{patients.config['path']}/{name[:8]}").columns()
        return
    with pytest.raises(Hold, match="has no table"):
        patients.source(table=name).find(("mrn",), REPLACE, [("P1",)])
    assert _found(patients, "P1") == {"P1": ("A1", "Nobody^One")}


def test_several_columns_are_matched_together(patients: Table) -> None:
    keys = [("P1", "1"), ("P1", "2"), ("P2", "2"), ("P2", "two"), ("P2", "02")]
    answers = answers_of(patients.source().find(("mrn", "number"), ("pseudonym",), keys), keys)
    assert [answers[k].values for k in keys] == [("A1",), None, ("A2",), None, None]


def test_a_lookup_is_one_question_however_many_the_keys(patients: Table) -> None:
    before = patients.counted()
    patients.source().find(("mrn",), REPLACE, [(f"Q{n}",) for n in range(600)])
    assert patients.counted() - before == 1


def test_the_whole_table_is_read(patients: Table) -> None:
    expected = [r for r in ROWS if patients.kind != "csv" or None not in r]
    source = patients.source()
    assert sorted(source.rows(("mrn",), ("pseudonym",)), key=str) == sorted((((r[0] or "",), (r[2],)) for r in expected), key=str)
    assert source.count() == len(expected)


def test_the_ticks_of_a_check(patients: Table) -> None:
    ticks = patients.source().check()
    assert [t for t in ticks if t.ok is False] == []
    first = ["file"] if patients.kind == "csv" else ["resolves", "connects", "table"]
    names = [*first, "columns", "read-only"]
    assert [t.name for t in ticks] == names
    assert "pseudonym" in next(t.words for t in ticks if t.name == "columns")
    if patients.kind in ("postgresql", "mysql"):
        assert ticks[-1].words == "the server refuses to write"


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "csv"])
def test_a_check_says_what_is_wrong(kind: str, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.crosswalk.tables import make_source

    config = {"name": "x", "kind": kind, "host": "127.0.0.1", "port": free_port, "database": "d", "user": "u", "table": "t"}
    ticks = make_source(config).check()
    assert [(t.name, t.ok) for t in ticks] == [("resolves", True), ("connects", False)]
    assert make_source(config | {"host": "nowhere.invalid"}).check()[0].ok is False
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(Hold, match="env:NOT_SET") as e:
        make_source(config | {"password": "env:NOT_SET"}).columns()
    assert e.value.waits_for == "crosswalk_sources/x"


def test_the_databases_refuse_to_write(patients: Table) -> None:
    if patients.kind not in ("postgresql", "mysql"):
        pytest.skip("this one cannot be asked to hold a session to reading")
    source = patients.source()
    with pytest.raises(Hold, match=r"(?i)read.?only"), source._session() as connection:  # type: ignore[attr-defined]
        connection.cursor().execute("DELETE FROM patients")


def test_a_question_that_takes_too_long_is_ended_and_waits(patients: Table) -> None:
    if patients.kind not in ("postgresql", "mysql"):
        pytest.skip("its time limit is the driver's")
    source = patients.source(statement_seconds=1)
    with pytest.raises(Hold, match="is away") as e, source._session() as connection:  # type: ignore[attr-defined]
        connection.cursor().execute(SLOW[patients.kind])
    assert e.value.waits_for == "crosswalk_sources/mrn"


def test_a_wrong_password_waits(patients: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    if patients.kind != "sql_server":
        pytest.skip("the others' servers of the tests let anybody in")
    monkeypatch.setenv("CROSSWALK_SECRET", "wrong")
    with pytest.raises(Hold, match="Login failed") as e:
        patients.source().columns()
    assert e.value.waits_for
