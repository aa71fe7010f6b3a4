"""Analysis: what is claimed is proved, and what is proved is true of every header."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.rules.analyse import analyse, idle
from engine.rules.decide import Rulebook
from engine.rules.model import Rule, Ruleset
from engine.rules.proof import Prover
from tests.rules import strategies as some
from tests.rules.headers import header


def leaf(tag: str, op: str, value: Any = None) -> dict[str, Any]:
    return {"tag": tag, "op": op} | ({} if value is None else {"value": value})


def rule(name: str, when: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "priority": ord(name[0]), "when": when, "destinations": ["pacs"], **more}


def found(*rules: dict[str, Any], **more: Any) -> list[tuple[str, str, tuple[str, ...]]]:
    ruleset = Ruleset.model_validate({"name": "main", "priority": 1, "rules": list(rules), **more})
    return [(f.rule, f.kind, f.others) for f in analyse([ruleset])]


CT, MR = leaf("Modality", "eq", "CT"), leaf("Modality", "eq", "MR")

CONTRADICTORY = [
    {"all": [CT, {"not": CT}]},
    {"all": [CT, leaf("Modality", "ne", "CT")]},
    {"all": [CT, leaf("Modality", "not_exists")]},
    {"all": [CT, leaf("Modality", "not_in", ["CT", "PT"])]},
    {"all": [CT, leaf("Modality", "not_regex", "^C")]},
    {"all": [leaf("Modality", "startswith", "CTX"), leaf("Modality", "not_contains", "TX")]},
    {"all": [leaf("Rows", "gt", 512), {"not": leaf("Rows", "ge", 100)}]},
    {"all": [leaf("StudyDate", "eq", "202402"), {"not": leaf("StudyDate", "eq", "2024")}]},
    {"all": [leaf("Modality", "exists"), leaf("Modality", "not_exists")]},
    {"any": [{"all": [CT, {"not": CT}]}, {"all": [MR, leaf("Modality", "ne", "MR")]}]},
]
POSSIBLE = [
    {"all": [CT, MR]},  # of an instance with two modalities: nobody should write one, but it would match
    {"all": [CT, leaf("Modality", "contains", "MR")]},
    {"all": [leaf("Modality", "ne", "CT"), {"not": MR}]},
    {"all": [leaf("Rows", "gt", 512), {"not": leaf("Rows", "ge", 1000)}]},
    {"all": [leaf("StudyDate", "eq", "2024"), {"not": leaf("StudyDate", "eq", "202402")}]},
    {"all": [{"not": leaf("Modality", "ne", "CT")}, leaf("Modality", "not_exists")]},
    {"all": [leaf("PatientName", "eq", "Doe"), {"not": leaf("PatientName", "startswith", "D")}]},  # not proved
]


@pytest.mark.parametrize("when", CONTRADICTORY)
def test_a_contradiction_is_found(when: Any) -> None:
    assert found(rule("a", when)) == [("a", "contradictory", ())]


@pytest.mark.parametrize("when", POSSIBLE)
def test_what_can_be_is_not_called_a_contradiction(when: Any) -> None:
    assert found(rule("a", when)) == []


def test_a_sender_that_cannot_be() -> None:
    inside = {"source_ip": {"op": "ip_in_subnet", "value": "10.1.2.0/24"}}
    around = {"not": {"source_ip": {"op": "ip_in_subnet", "value": "10.1.0.0/16"}}}
    assert found(rule("a", association={"all": [inside, around]})) == [("a", "contradictory", ())]


def test_a_condition_that_is_always_true() -> None:
    assert found(rule("a", {"any": [CT, {"not": CT}]})) == [("a", "always", ())]
    assert found(rule("a", {"any": [leaf("Modality", "exists"), leaf("Modality", "not_exists")]})) == [
        ("a", "always", ())
    ]
    assert found(rule("a")) == []  # a rule without a condition is meant to take everything
    assert found(rule("a", {"any": [CT, leaf("Modality", "ne", "CT")]})) == []  # a missing one is neither


FIRST = {"mode": "FIRST_MATCH"}


def test_rules_that_an_earlier_one_covers() -> None:
    small = {"all": [CT, leaf("Rows", "eq", 512)]}
    assert found(rule("a", CT), rule("b", small), **FIRST) == [("b", "covered", ("a",))]
    assert found(rule("a", small), rule("b", CT), **FIRST) == []
    assert found(rule("a"), rule("b", CT), **FIRST) == [("b", "covered", ("a",))]
    assert found(rule("a", CT), rule("b", leaf("Modality", "in", ["CT"])), **FIRST) == [("b", "equal", ("a",))]
    assert found(rule("a", leaf("Modality", "in", ["CT", "MR"])), rule("b", MR), **FIRST) == [("b", "covered", ("a",))]
    assert found(rule("a", leaf("StudyDate", "ge", "2020")), rule("b", leaf("StudyDate", "gt", "202406")), **FIRST) == [
        ("b", "covered", ("a",))
    ]


def test_what_ends_nothing_covers_nothing() -> None:
    assert found(rule("a", state="shadow"), rule("b", CT), **FIRST) == []
    assert found(rule("a", state="off"), rule("b", CT), **FIRST) == []
    assert found(rule("a"), rule("b", CT)) == []
    assert found(rule("a", sources=["web"]), rule("b", CT), **FIRST) == []
    assert found(rule("a", schedule="office"), rule("b", CT), **FIRST) == []


def test_narrower_sources_and_the_same_schedule_are_covered() -> None:
    assert found(
        rule("a", sources=["web", "ct"], schedule="s"), rule("b", CT, sources=["ct"], schedule="s"), **FIRST
    ) == [("b", "covered", ("a",))]


def test_rules_that_earlier_ones_cover_together() -> None:
    rules = [rule("a", CT), rule("b", {"not": CT}), rule("c", MR)]
    assert found(*rules, **FIRST) == [("c", "unreachable", ("a", "b"))]


def test_chained_changes_may_uncover_a_rule() -> None:
    morphs = [{"kind": "set", "tag": "PatientID", "value": "x"}]
    assert found(rule("a", CT, morphs=morphs), rule("b", CT), changes="chained") == []
    assert [kind for _, kind, _ in found(rule("a", CT), rule("b", CT), changes="chained")] == ["equal"]


def test_equal_and_conflicting_rules_among_all_matches() -> None:
    morphs = [{"kind": "set", "tag": "PatientID", "value": "x"}]
    assert found(rule("a", CT), rule("b", {"all": [CT]})) == [("b", "equal", ("a",))]
    assert found(rule("a", CT), rule("b", {"all": [CT, MR]}, morphs=morphs)) == [("b", "conflict", ("a",))]
    assert found(rule("a", CT), rule("b", {"all": [CT, MR]}, morphs=morphs, destinations=["other"])) == []


def test_a_live_rule_without_destination() -> None:
    assert found(rule("a", CT, destinations=[])) == [("a", "no_destination", ())]
    assert found(rule("a", CT, destinations=[], state="shadow")) == []


def test_rules_that_matched_nothing_in_history() -> None:
    import duckdb

    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE decisions AS SELECT * FROM (VALUES ('main', 'a', true, now()), ('main', 'b', false, now()), "
        "('main', 'b', false, now()), ('main', 'c', true, now() - to_days(40))) t(ruleset, rule, matched, \"at\")"
    )
    rulesets = [
        Ruleset.model_validate(
            {"name": "main", "priority": 1, "rules": [rule(n) for n in "abc"] + [rule("d", state="off")]}
        )
    ]
    findings = idle(rulesets, lambda sql: connection.sql(sql).to_arrow_table())
    assert [(f.rule, f.words) for f in findings] == [
        ("b", "It matched none of the 2 instances that it was asked of in the last 30 days."),
        ("c", "It was asked of no instance in the last 30 days."),
    ]


def test_a_question_with_too_many_cases_is_left_open() -> None:
    many = [leaf("Rows", "eq", n) for n in range(60)]
    pairs = [{"any": [many[i], {"not": many[i + 1]}]} for i in range(0, 59)]
    assert found(rule("a", {"all": pairs})) == []


# --- soundness ----------------------------------------------------------------------------------------

SMALL = st.sampled_from(
    [
        CT,
        MR,
        leaf("Modality", "ne", "CT"),
        leaf("Modality", "startswith", "C"),
        leaf("Modality", "exists"),
        leaf("Modality", "in", ["CT", "MR"]),
        leaf("Modality", "not_exists"),
        leaf("Modality", "contains", "T"),
        leaf("StudyDate", "ge", "2024"),
        leaf("StudyDate", "eq", "202401"),
        leaf("StudyDate", "lt", "20240131"),
        leaf("StudyDate", "le", "2024"),
        leaf("SliceThickness", "gt", 1),
        leaf("SliceThickness", "le", "1.0"),
        leaf("SliceThickness", "eq", "0.1"),
        leaf("PatientName", "eq", "Doe^John"),
        leaf("PatientName", "startswith", "Doe"),
        leaf("ImageType", "not_in", ["CT", "a.b"]),
        leaf("ImageType", "regex", "^C"),
        leaf("ImageType", "eq", "CT"),
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(some.trees(SMALL), some.trees(SMALL), st.lists(some.header_elements.map(header), min_size=4, max_size=4))
def test_no_header_contradicts_a_proof(one: Any, other: Any, headers: list[Any]) -> None:
    rules = [Rule.model_validate(rule(name, when)) for name, when in (("a", one), ("b", other))]
    prover = Prover()
    a, b = map(prover.formula, rules)
    never, always, follows = prover.never(a), prover.always(a), prover.follows(a, [b])
    book = Rulebook([Ruleset(name="m", priority=1, rules=rules)], [])
    from tests.rules.test_decide import NOW, SENDER, unchanged

    for seen in headers:
        says_a, says_b = (v.matched for v in book.decide(seen, SENDER, NOW, unchanged).verdicts)
        assert not (never and says_a)
        assert not (always and not says_a)
        assert not (follows and says_a and not says_b)
