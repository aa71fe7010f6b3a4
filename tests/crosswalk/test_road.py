"""On the way through: one question a batch, the cache, a database killed and back, Redis killed, tables synced."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from engine import flow
from engine.crosswalk.cache import Cache
from engine.crosswalk.lookup import Crosswalks
from engine.crosswalk.sync import ask_for_sync, status_of, sync
from engine.errors import Conflict, Hold, Retry
from engine.jobs.context import Context
from engine.jobs.crosswalk_work import release_waiting, sync_due
from engine.operations import Operations
from engine.settings import Settings
from tests.crosswalk.tables import Table
from tests.flow.road import Road, Sink, instance, receive
from tests.peers import free_port, postgres, valkey, wait_until

Node = Callable[[dict[str, Any]], tuple[Context, Operations]]
"""Gives a node whose live configuration is that."""


@pytest.fixture(autouse=True)
def _empty_sink() -> Iterator[None]:
    Sink.given.clear()
    yield
    Sink.answer = None


def _document(source: dict[str, Any], *, before: list[dict[str, Any]] | None = None, **of_map: Any) -> dict[str, Any]:
    one = {"name": "m", "source": "mrn", "match": {"PatientID": "mrn"}, "replace": {"PatientID": "pseudonym"}}
    morphs = [*(before or []), {"kind": "crosswalk", "map": "m"}]
    rule = {"name": "all", "priority": 1, "morphs": morphs, "destinations": ["out"]}
    return {
        "destinations": [{"name": "out", "kind": "test_sink"}], "crosswalk_sources": [source], "crosswalk_maps": [one | of_map],
        "rulesets": [{"name": "main", "priority": 1, "rules": [rule]}],
    }  # fmt: skip


def _road(home: Path, document: dict[str, Any], cache: Cache | None = None) -> Road:
    road = Road(home, document)
    road.decider = flow.Decider.of(7, road.configuration, cache=cache, original_attributes=False)
    return road


def _send(road: Road, *patients: str) -> None:
    receive(road.spool, [(f"1.2.{time.monotonic_ns()}.{i}", instance("1.2.3", patient=p)) for i, p in enumerate(patients)])
    road.route()
    road.deliver()


def test_a_batch_is_one_question(patients: Table, home: Path) -> None:
    road = _road(home, _document(patients.config))
    before = patients.counted()
    _send(road, *["P1", "P2", "P3", "O'Brien"] * 5)
    assert patients.counted() - before == 1
    assert len(Sink.given) == 20
    assert {d[2].count(b"A1") for d in Sink.given[:4]} == {0, 1}


def test_what_an_earlier_change_made_is_asked_for_itself(patients: Table, home: Path) -> None:
    changed = {"kind": "regex_replace", "tag": "PatientID", "pattern": "^X-", "replacement": ""}
    road = _road(home, _document(patients.config, before=[changed]))
    before = patients.counted()
    _send(road, "X-P1", "X-P1", "P2")
    assert patients.counted() - before == 2
    assert [b"A1" in d[2] or b"A2" in d[2] for d in Sink.given] == [True] * 3


def test_answers_and_misses_are_remembered_for_their_time(patients: Table, home: Path, clean_valkey: str) -> None:
    cache = Cache(clean_valkey)
    road = _road(home, _document(patients.config, miss_seconds=600, on_miss="keep"), cache)
    before = patients.counted()
    for _ in range(3):
        _send(road, "P1", "nobody")
    assert patients.counted() - before == 1
    patients.insert([("nobody", "20", "A20", "z")])
    _send(road, "nobody")
    assert b"A20" not in Sink.given[-1][2]
    road = _road(home, _document(patients.config, miss_seconds=0, cache_seconds=0.05, on_miss="keep"), cache)
    with redis.Redis.from_url(clean_valkey) as client:
        client.flushall()
    _send(road, "P1", "nobody")
    assert b"A20" in Sink.given[-1][2]
    with redis.Redis.from_url(clean_valkey) as client:
        wait_until(lambda: not client.keys("axiom:crosswalk:m:*"), what="the answers to be forgotten")


def test_nothing_in_the_cache_but_json_and_no_patients_identifier_in_its_names(
    postgres_patients: Table, home: Path, clean_valkey: str
) -> None:
    _send(_road(home, _document(postgres_patients.config), Cache(clean_valkey)), "O'Brien", "nobody")
    with redis.Redis.from_url(clean_valkey) as client:
        keys = client.keys("axiom:crosswalk:*")
        assert len(keys) == 2
        assert not any(b"Brien" in k for k in keys)
        assert sorted(str(json.loads(client.get(k))) for k in keys) == ["{'values': None}", "{'values': ['A4']}"]
        for key in keys:
            client.set(key, b"\x80\x04no pickle, no JSON")
    before = postgres_patients.counted()
    _send(_road(home, _document(postgres_patients.config), Cache(clean_valkey)), "O'Brien")
    assert postgres_patients.counted() - before == 1


def test_a_map_that_is_changed_asks_anew(postgres_patients: Table, home: Path, clean_valkey: str) -> None:
    _send(_road(home, _document(postgres_patients.config), Cache(clean_valkey)), "P1")
    changed = _document(postgres_patients.config, replace={"PatientID": "the alias%"})
    _send(_road(home, changed, Cache(clean_valkey)), "P1")
    assert b"Nobody^One" in Sink.given[-1][2]


def test_redis_away_is_the_database_asked(postgres_patients: Table, home: Path, tmp_path: Path) -> None:
    with valkey(tmp_path / "v", port=free_port()) as url:
        cache = Cache(url)
        road = _road(home, _document(postgres_patients.config, sync_seconds=600), cache)
        _send(road, "P1")
    _send(road, "P1", "P2")
    assert [b"A1" in d[2] for d in Sink.given] == [True, True, False]
    with pytest.raises(Retry, match="Redis is away"):
        status_of(cache, road.configuration.crosswalk_maps[0])


def test_a_database_away_is_asked_once_a_batch_and_holds_what_needs_it(home: Path, free_port: int) -> None:
    source = {"name": "mrn", "kind": "postgresql", "host": "127.0.0.1", "port": free_port, "database": "d", "user": "u"}
    source["table"] = "t"
    document = _document(source)
    document["rulesets"][0]["rules"][0]["when"] = {"tag": "PatientID", "op": "startswith", "value": "P"}
    document["rulesets"][0]["rules"].append({"name": "rest", "priority": 2, "destinations": ["out"],
                                            "when": {"tag": "PatientID", "op": "startswith", "value": "X"}})  # fmt: skip
    road = _road(home, document)
    _send(road, "P1", "P2", "X1")
    assert len(Sink.given) == 1
    (box,) = road.spool.batches("held")
    data = road.spool.box_reasons("held", box.name)
    assert set(data["waits"].values()) == {"crosswalk_sources/mrn"}  # type: ignore[attr-defined]
    assert all("mrn is away, the images wait for it" in r for r in data["reasons"].values())  # type: ignore[attr-defined]


@pytest.fixture
def node(home: Path, clean_valkey: str) -> Node:
    def make(document: dict[str, Any]) -> tuple[Context, Operations]:
        config = Settings(home=home, redis_url=clean_valkey, min_free_mb=0)
        context = Context(config)
        context.spool.make()
        context.store.apply(document, author="test")
        return context, Operations(config, context.store)

    return make


def _through(context: Context) -> None:
    for folder in context.spool.batches("ready"):
        with context.spool.claim(folder) as batch:
            assert batch is not None
            flow.route(context.spool, batch, context.decider, context.recorder)


def test_a_database_that_comes_back_releases_what_waited(
    node: Node, tmp_path: Path
) -> None:
    path = tmp_path / "patients.csv"
    source = {"name": "mrn", "kind": "csv", "path": str(path)}
    context, ops = node(_document(source))
    receive(context.spool, [("1.2.3.4", instance("1.2.3.4", patient="P1"))])
    _through(context)
    (item,) = ops.held()
    assert item["waits_for"] == ["crosswalk_sources/mrn"]
    assert ops.crosswalk_status()["maps"][0]["batches_waiting"] == 1
    assert release_waiting(context, time.time() + 60) == []
    path.write_text("mrn,pseudonym\nP1,A1\n")
    assert release_waiting(context, 0) == []
    (name,) = release_waiting(context, time.time() + 60)
    assert name.endswith("-r1")
    _through(context)
    assert ops.held() == []
    (delivery,) = ops.deliveries()
    assert delivery["instances"] == 1


def test_what_waits_for_a_source_that_is_gone_is_decided_anew(
    node: Node, tmp_path: Path
) -> None:
    context, ops = node(_document({"name": "mrn", "kind": "csv", "path": str(tmp_path / "none.csv")}))
    receive(context.spool, [("1.2.3.4", instance("1.2.3.4"))])
    _through(context)
    context.store.apply({"crosswalk_sources": [], "crosswalk_maps": [], "rulesets": []}, author="test")
    assert len(release_waiting(context, time.time() + 60)) == 1
    _through(context)
    assert (ops.held(), len(ops.unmatched())) == ([], 1)


def test_what_a_person_must_mend_is_not_released(
    node: Node, tmp_path: Path
) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("mrn,pseudonym\nP1,A1\n")
    context, ops = node(_document({"name": "mrn", "kind": "csv", "path": str(path)}))
    receive(context.spool, [("1.2.3.4", instance("1.2.3.4", patient="nobody"))])
    _through(context)
    assert ops.held()[0]["waits_for"] == []
    assert release_waiting(context, time.time() + 10_000) == []


def test_postgresql_killed_in_the_middle_and_back_elsewhere(
    node: Node, request: pytest.FixtureRequest
) -> None:
    import sqlalchemy as sa

    with postgres() as url:
        there = sa.make_url(url)
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE patients (mrn text, pseudonym text)"))
            connection.execute(sa.text("INSERT INTO patients VALUES ('P1', 'A1'), ('P2', 'A2')"))
        source = {"name": "mrn", "kind": "postgresql", "host": there.host, "port": there.port, "database": there.database,
                  "user": there.username, "table": "patients", "connect_seconds": 1}  # fmt: skip
        context, ops = node(_document(source, cache_seconds=0))
        receive(context.spool, [("1.2.3.1", instance("1.2.3.1", patient="P1"))])
        _through(context)
        assert ops.held() == []
    receive(context.spool, [("1.2.3.2", instance("1.2.3.2", patient="P2"))])
    _through(context)
    assert ops.held()[0]["waits_for"] == ["crosswalk_sources/mrn"]
    assert release_waiting(context, time.time() + 60) == []
    back = sa.make_url(request.getfixturevalue("postgres_url"))
    with sa.create_engine(back, poolclass=sa.NullPool).begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS patients"))
        connection.execute(sa.text("CREATE TABLE patients (mrn text, pseudonym text)"))
        connection.execute(sa.text("INSERT INTO patients VALUES ('P2', 'A2')"))
    context.store.apply({"crosswalk_sources": [source | {"port": back.port}]}, author="test")
    assert len(release_waiting(context, time.time() + 60)) == 1
    _through(context)
    assert ops.held() == []
    assert sum(d["instances"] for d in ops.deliveries()) == 2


# --- syncing


def _crosswalks(patients: Table, cache: Cache, **of_map: Any) -> tuple[Crosswalks, Any, Any]:
    from engine.configuration import load_configuration

    configuration = load_configuration(_document(patients.config, **({"sync_seconds": 600} | of_map)))
    maps, sources = configuration.crosswalk_maps, configuration.crosswalk_sources
    return Crosswalks(maps, sources, cache), maps[0], sources[0]


def test_a_synced_table_is_asked_no_more_and_says_the_same(patients: Table, clean_valkey: str) -> None:
    cache = Cache(clean_valkey)
    crosswalks, one, source = _crosswalks(patients, cache)
    keys = [(v,) for v in ("P1", "p1", "P3", "TWICE", "NULL", "nobody", "O'Brien", "100%", "P1 ")]
    plain = Crosswalks([one], [source]).ask("m", keys)
    told: list[tuple[int, int]] = []
    status = sync(cache, one, source, lambda rows, total: told.append((rows, total)))
    assert (status["state"], status["rows"]) == ("done", source.count())
    assert told[-1] == (status["rows"], status["rows"])
    before = patients.counted()
    assert crosswalks.ask("m", keys) == plain
    assert patients.counted() == before
    assert status_of(cache, one)["state"] == "done"


def test_query_asks_the_table_for_what_the_copy_lacks(postgres_patients: Table, clean_valkey: str) -> None:
    cache = Cache(clean_valkey)
    crosswalks, one, source = _crosswalks(postgres_patients, cache, on_miss="query")
    sync(cache, one, source)
    postgres_patients.insert([("NEW", "30", "A30", "z")])
    assert crosswalks.ask("m", [("NEW",), ("P1",)])[("NEW",)].values == ("A30",)
    held, _, _ = _crosswalks(postgres_patients, cache)
    assert held.ask("m", [("NEW",)])[("NEW",)].values is None


def test_a_copy_that_lost_anything_is_no_copy(postgres_patients: Table, clean_valkey: str) -> None:
    cache = Cache(clean_valkey)
    crosswalks, one, source = _crosswalks(postgres_patients, cache)
    sync(cache, one, source)
    with redis.Redis.from_url(clean_valkey) as client:
        client.flushall()
    before = postgres_patients.counted()
    assert crosswalks.ask("m", [("P1",)])[("P1",)].values == ("A1",)
    assert postgres_patients.counted() - before == 1


def test_one_at_a_time_and_a_failure_leaves_the_last_copy(postgres_patients: Table, clean_valkey: str) -> None:
    cache = Cache(clean_valkey)
    crosswalks, one, source = _crosswalks(postgres_patients, cache)
    sync(cache, one, source)
    with redis.Redis.from_url(clean_valkey) as client:
        client.set("axiom:crosswalk:syncing", "other")
        with pytest.raises(Conflict, match="Another table is being synced"):
            sync(cache, one, source)
        client.delete("axiom:crosswalk:syncing")
        with pytest.raises(Hold, match="has no table"):
            sync(cache, one, source.model_copy(update={"table": "gone"}))
        assert client.get("axiom:crosswalk:syncing") is None
    assert status_of(cache, one)["state"] == "failed"
    assert crosswalks.ask("m", [("P1",)])[("P1",)].values == ("A1",)


def test_a_sync_that_is_cut_off_leaves_the_last_copy(
    node: Node, tmp_path: Path
) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("mrn,pseudonym\nP1,A1\n")
    context, ops = node(_document({"name": "mrn", "kind": "csv", "path": str(path)}, sync_seconds=600))
    assert sync_due(context) == ["m"]
    path.write_text("mrn,pseudonym\n" + "P1,CHANGED\n" * 2500 + "one,too,many\n")
    with pytest.raises(Hold, match="a line of 3 columns"):
        ops.crosswalk_sync("m", "ada")
    told = ops.crosswalk_status()["maps"][0]
    assert (told["state"], told["rows"], told["total"]) == ("failed", 2000, 2501)
    assert ops.crosswalk_lookup("m", ["P1"])["replace"] == {"PatientID": "A1"}
    assert not [k for k in context.cache.client.keys("axiom:*") if k.count(b":") > 4]


def test_the_house_syncs_what_is_due_or_wanted(
    node: Node, tmp_path: Path
) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("mrn,pseudonym\nP1,A1\n")
    context, ops = node(_document({"name": "mrn", "kind": "csv", "path": str(path)}, sync_seconds=600))
    assert ops.crosswalk_status()["maps"][0]["state"] == "never"
    assert sync_due(context) == ["m"]
    assert sync_due(context) == []
    assert ops.crosswalk_ask_for_sync("m", "ada")["state"] == "done"
    assert sync_due(context) == ["m"]
    told = ops.crosswalk_status()["maps"][0]
    assert (told["state"], told["rows"], told["source"]) == ("done", 1, "mrn")
    path.unlink()
    ask_for_sync(context.cache, "m")
    assert sync_due(context) == []
    assert "away" in ops.crosswalk_status()["maps"][0]["error"]
