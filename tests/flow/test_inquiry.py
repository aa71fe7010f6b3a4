"""What-if and analysis on a real history: a draft against the live rules, rules that do nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.configuration import load_configuration
from engine.errors import Invalid
from engine.history.sealing import seal
from engine.operations import Operations
from engine.operations.inquiry import split_gatherings
from engine.settings import Settings
from engine.store import Store
from tests.flow.road import Road, Sink, instance, receive


def rule(name: str, priority: int, modality: str, destination: str = "pacs") -> dict[str, Any]:
    return {
        "name": name,
        "priority": priority,
        "when": {"tag": "Modality", "op": "eq", "value": modality},
        "destinations": [destination],
    }


LIVE = {
    "destinations": [{"name": "pacs", "kind": "test_sink"}, {"name": "archive", "kind": "test_sink"}],
    "rulesets": [{"name": "main", "priority": 1, "rules": [rule("ct", 1, "CT"), rule("us", 2, "US")]}],
}
DRAFT = {
    **LIVE,
    "rulesets": [{"name": "main", "priority": 1, "rules": [rule("mr", 1, "MR", "archive"), rule("us", 2, "US")]}],
}


@pytest.fixture
def ops(tmp_path: Path) -> Iterator[Operations]:
    Sink.answer = None
    road = Road(tmp_path, LIVE)
    receive(road.spool, [(f"1.{n}", instance(f"1.{n}", modality="CT" if n < 4 else "MR", patient="4711")) for n in range(9)])
    road.route()
    road.deliver()
    seal(tmp_path / "history")
    settings = Settings(home=tmp_path, instance_id="n1", redis_url="unix:///nowhere")
    store = Store(settings)
    store.save(road.configuration.document(), author="test")
    yield Operations(settings, store)
    store.close()


def test_a_draft_is_held_against_the_live_rules(ops: Operations) -> None:
    answer = ops.what_if(DRAFT, days=1)
    assert answer["instances"] == 9
    assert answer["total"] == {"draft": 5, "live": 4, "gained": 5, "lost": 4}
    assert answer["rules"]["main/mr"]["gained"] == 5
    assert answer["rules"]["main/ct"]["lost"] == 4
    assert answer["destinations"]["archive"]["draft"] == 5
    assert answer["modalities"]["MR"]["gained"] == 5
    assert {one["patient_id"] for one in answer["gained"]} == {"4711"}
    assert answer["gained"][0]["rules"]["draft"] == ["main/mr"]


def test_a_draft_that_does_not_hold_is_refused_beside_its_field(ops: Operations) -> None:
    broken = {**LIVE, "rulesets": [{"name": "main", "priority": 1, "rules": [rule("mr", 1, "MR", "nowhere")]}]}
    with pytest.raises(Invalid, match="no destination called nowhere"):
        ops.what_if(broken)


def test_a_rule_that_matched_nothing_is_found_with_its_reason(ops: Operations) -> None:
    findings = ops.analysis(days=30)["findings"]
    (idle,) = [f for f in findings if f["kind"] == "never_matched"]
    assert (idle["rule"], idle["words"]) == (
        "us",
        "It matched none of the 9 instances that it was asked of in the last 30 days.",
    )


@pytest.mark.parametrize(
    ("first", "second", "split"),
    [([], [], []), (["node-1"], ["node-1"], []), (["node-1"], ["node-2"], []), (["node-1", "node-2"], ["node-1"], ["a"]),
     ([], ["node-1", "node-2"], ["a", "b"])],
)  # fmt: skip
def test_a_rule_that_gathers_what_several_nodes_receive_is_found(
    first: list[str], second: list[str], split: list[str]
) -> None:
    sources = [
        {"name": n, "kind": "dimse_listener", "ae_title": "AXIOM", "port": 11112 + p, "instances": i}
        for p, (n, i) in enumerate((("a", first), ("b", second)))
    ]
    gathers = {**rule("together", 1, "CT", "archive"), "gather": "study"}
    only = {**rule("alone", 2, "CT", "archive"), "gather": "study", "sources": ["b"], "state": "off"}
    configuration = load_configuration(
        {**LIVE, "sources": sources, "rulesets": [{"name": "main", "priority": 1, "rules": [gathers, only]}]}
    )
    found = list(split_gatherings(configuration))
    assert [f.rule for f in found] == ["together"] * bool(split)
    assert all(f"and {', '.join(split)} may run on several nodes" in f.words for f in found)
