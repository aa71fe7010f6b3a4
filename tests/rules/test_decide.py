"""Deciding: order, modes, branches, chains, shadows, reasons, and failing closed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from engine.dicom.header import Header
from engine.errors import Hold, Invalid
from engine.model import Association, Change
from engine.rules.decide import Decision, Rulebook
from engine.rules.model import Rule, Ruleset, Schedule
from tests.rules.headers import SENDER, file, header

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)  # a Tuesday
CT = {"tag": "Modality", "op": "eq", "value": "CT"}
MR = {"tag": "Modality", "op": "eq", "value": "MR"}


def unchanged(rule: Rule, seen: Header) -> tuple[Header, tuple[Change, ...], tuple[str, ...]]:
    return seen, (), ()


def rename(rule: Rule, seen: Header) -> tuple[Header, tuple[Change, ...], tuple[str, ...]]:
    """Stands for morphs: appends the rule's name to the patient's ID."""
    before = seen.text("PatientID")
    after = f"{before}{rule.name}"
    changes = (Change("PatientID", "00100020", "LO", before, after, "suffix"),)
    return header(PatientID=after, Modality=seen.text("Modality")), changes, ()


def rule(name: str, priority: int = 0, **more: Any) -> dict[str, Any]:
    return {"name": name, "priority": priority or ord(name[-1]), "destinations": [f"to-{name}"], **more}


def ruleset(*rules: dict[str, Any], name: str = "main", priority: int = 10, **more: Any) -> Ruleset:
    return Ruleset.model_validate({"name": name, "priority": priority, "rules": list(rules), **more})


def decide(
    *rulesets: Ruleset,
    seen: Header | None = None,
    association: Association = SENDER,
    schedules: list[Schedule] | None = None,
    change: Any = unchanged,
    at: datetime = NOW,
) -> Decision:
    seen = seen or header(Modality="CT", PatientID="P1")
    return Rulebook(rulesets, schedules or []).decide(seen, association, at, change)


def matched(decision: Decision) -> list[str]:
    return [v.rule for v in decision.verdicts if v.matched]


def reasons(when: Any, seen: Header | None = None) -> tuple[str, ...]:
    return decide(ruleset(rule("a", when=when)), seen=seen).verdicts[0].reasons


# --- order and modes ----------------------------------------------------------------------------------


def test_rulesets_and_rules_speak_by_priority() -> None:
    decision = decide(
        ruleset(rule("x", 5), rule("y", 2), name="late", priority=20), ruleset(rule("z", 9), name="early", priority=3)
    )
    assert [(v.ruleset, v.rule) for v in decision.verdicts] == [("early", "z"), ("late", "y"), ("late", "x")]


def test_all_matches_makes_a_branch_of_each_and_first_match_only_of_the_first() -> None:
    rules = [rule("a", when=MR), rule("b", when=CT), rule("c")]
    every = decide(ruleset(*rules))
    assert [b.rule for b in every.branches] == ["b", "c"]
    first = decide(ruleset(*rules, mode="FIRST_MATCH"))
    assert [b.rule for b in first.branches] == ["b"]
    assert first.verdicts[2].reasons == ("not asked: b matched first",)


def test_first_match_ends_its_own_ruleset_only() -> None:
    decision = decide(ruleset(rule("a"), rule("b"), mode="FIRST_MATCH"), ruleset(rule("c"), name="other", priority=20))
    assert [b.rule for b in decision.branches] == ["a", "c"]


def test_a_rule_that_is_off_says_nothing() -> None:
    assert [v.rule for v in decide(ruleset(rule("a", state="off"), rule("b"))).verdicts] == ["b"]


def test_a_shadow_match_is_told_but_neither_delivers_nor_ends_its_ruleset() -> None:
    decision = decide(ruleset(rule("a", state="shadow", morphs=[SET]), rule("b"), mode="FIRST_MATCH"), change=rename)
    assert [(v.rule, v.state, v.matched) for v in decision.verdicts] == [("a", "shadow", True), ("b", "live", True)]
    assert [b.rule for b in decision.branches] == ["b"]
    assert [(s.rule, s.changes[0].after) for s in decision.shadows] == [("a", "P1a")]


SET = {"kind": "set", "tag": "PatientID", "value": "x"}


def test_each_rule_sees_the_instance_as_received() -> None:
    rules = [rule("a", morphs=[SET]), rule("b", morphs=[SET], when={"tag": "PatientID", "op": "eq", "value": "P1"})]
    decision = decide(ruleset(*rules), change=rename)
    assert [b.header.text("PatientID") for b in decision.branches] == ["P1a", "P1b"]


def test_chained_rules_see_and_pass_on_what_earlier_ones_changed() -> None:
    rules = [
        rule("a", morphs=[SET]),
        rule("b", state="shadow", morphs=[SET]),
        rule("c", morphs=[SET], when={"tag": "PatientID", "op": "eq", "value": "P1a"}),
        rule("d", when={"tag": "PatientID", "op": "eq", "value": "P1ac"}),
    ]
    decision = decide(ruleset(*rules, changes="chained"), ruleset(rule("e"), name="other", priority=20), change=rename)
    assert [(b.rule, b.header.text("PatientID")) for b in decision.branches] == [
        ("a", "P1a"),
        ("c", "P1ac"),
        ("d", "P1ac"),
        ("e", "P1"),
    ]
    assert [c.after for c in decision.branches[2].changes] == ["P1a", "P1ac"]
    assert [s.header.text("PatientID") for s in decision.shadows] == ["P1ab"]


def test_a_branch_without_morphs_is_the_received_header_itself() -> None:
    seen = header(Modality="CT")
    assert decide(ruleset(rule("a")), seen=seen, change=rename).branches[0].header is seen


# --- what a rule asks beside tags ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sources", "found"), [([], True), (["modalities"], True), (["dimse_listener"], True), (["stow_rs", "web"], False)]
)
def test_sources_by_name_or_by_kind(sources: list[str], found: bool) -> None:
    verdict = decide(ruleset(rule("a", sources=sources))).verdicts[0]
    assert verdict.matched is found
    if not found:
        assert verdict.reasons == ("sources stow_rs, web: came from modalities (dimse_listener)",)


def test_the_schedule_looks_at_the_time_of_receipt() -> None:
    office = Schedule.model_validate(
        {
            "name": "office",
            "time_zone": "Europe/Berlin",
            "ranges": [{"days": ["tue"], "start": "07:00", "end": "12:30"}],
        }
    )
    rules = ruleset(rule("a", schedule="office"))
    assert matched(decide(rules, schedules=[office], at=datetime(2026, 11, 24, 11, 29, tzinfo=UTC))) == ["a"]
    late = decide(rules, schedules=[office], at=datetime(2026, 11, 24, 11, 30, tzinfo=UTC))
    assert late.verdicts[0].reasons == ("schedule office: not on at Tue 2026-11-24 12:30 Europe/Berlin",)


def test_a_schedule_that_is_not_there_is_refused_when_the_book_is_made() -> None:
    with pytest.raises(Invalid, match="There is no schedule called office"):
        Rulebook([ruleset(rule("a", schedule="office"))], [])


@pytest.mark.parametrize(
    ("association", "found", "reason"),
    [
        ({"calling_ae": {"op": "eq", "value": "CT01"}}, True, "calling_ae eq CT01: is CT01"),
        ({"calling_ae": {"op": "in", "value": ["MR", "PT"]}}, False, "calling_ae in MR, PT: is CT01"),
        (
            {"called_ae": {"op": "startswith", "value": "ax", "ignore_case": True}},
            True,
            "called_ae startswith ax (any case): is AXIOM",
        ),
        (
            {"source_ip": {"op": "ip_in_subnet", "value": "10.1.0.0/16"}},
            True,
            "source_ip ip_in_subnet 10.1.0.0/16: is 10.1.2.3",
        ),
        (
            {"source_ip": {"op": "ip_in_subnet", "value": "10.2.0.0/16"}},
            False,
            "source_ip ip_in_subnet 10.2.0.0/16: is 10.1.2.3",
        ),
        (
            {"source_ip": {"op": "ip_in_subnet", "value": "::ffff:10.1.0.0/112"}},
            True,
            "source_ip ip_in_subnet ::ffff:10.1.0.0/112: is 10.1.2.3",
        ),
        (
            {"source_ip": {"op": "ip_eq", "value": "::ffff:10.1.2.3"}},
            True,
            "source_ip ip_eq ::ffff:10.1.2.3: is 10.1.2.3",
        ),
        ({"source_ip": {"op": "ip_startswith", "value": "10.1."}}, True, "source_ip ip_startswith 10.1.: is 10.1.2.3"),
        ({"user": {"op": "ne", "value": "x"}}, False, "user ne x: missing"),
        ({"tls_subject": {"op": "not_exists"}}, True, "tls_subject not_exists: missing"),
        ({"not": {"calling_ae": {"op": "regex", "value": "^MR"}}}, True, "not calling_ae regex ^MR: is CT01"),
    ],
)
def test_the_sender_is_asked(association: Any, found: bool, reason: str) -> None:
    verdict = decide(ruleset(rule("a", association=association))).verdicts[0]
    assert (verdict.matched, verdict.reasons) == (found, (reason,))


# --- reasons ------------------------------------------------------------------------------------------


def test_reasons_name_the_leaf_that_decided_and_the_value_seen() -> None:
    seen = header(
        Modality="MR",
        PatientID="",
        ImageType="ORIGINAL\\PRIMARY",
        OtherPatientIDsSequence=[{}],
        PatientComments="x" * 100,
    )
    assert reasons(CT, seen) == ("Modality eq CT: is MR",)
    assert reasons({"tag": "AccessionNumber", "op": "startswith", "value": "TEST"}, seen) == (
        "AccessionNumber startswith TEST: missing",
    )
    assert reasons({"tag": "PatientID", "op": "ne", "value": ""}, seen) == ('PatientID ne "": empty',)
    assert reasons({"tag": "ImageType", "op": "contains", "value": "X"}, seen) == (
        "ImageType contains X: is ORIGINAL, PRIMARY",
    )
    assert reasons({"tag": "OtherPatientIDsSequence", "op": "exists"}, seen) == (
        "OtherPatientIDsSequence exists: there (VR SQ)",
    )
    assert reasons({"tag": "PatientComments", "op": "exists"}, seen) == (f"PatientComments exists: is {'x' * 64}…",)


def test_reasons_of_trees() -> None:
    seen = header(Modality="CT", PatientID="P1")
    test = {"tag": "PatientID", "op": "startswith", "value": "TEST"}
    assert reasons({"all": [CT, {"not": test}]}, seen) == (
        "Modality eq CT: is CT",
        "not PatientID startswith TEST: is P1",
    )
    assert reasons({"all": [CT, test, MR]}, seen) == ("PatientID startswith TEST: is P1",)
    assert reasons({"any": [MR, test]}, seen) == ("Modality eq MR: is CT", "PatientID startswith TEST: is P1")
    assert reasons({"any": [MR, CT, test]}, seen) == ("Modality eq CT: is CT",)
    assert reasons({"not": {"any": [MR, test]}}, seen) == (
        "not Modality eq MR: is CT",
        "not PatientID startswith TEST: is P1",
    )


def test_a_rule_that_asks_nothing_says_so() -> None:
    assert decide(ruleset(rule("a"))).verdicts[0].reasons == ("no condition: takes every instance",)


# --- failing closed -----------------------------------------------------------------------------------


def _cut_off() -> Header:
    """A sequence whose item is cut off: whoever looks inside must stop."""
    return header({0x00400275: ("UN", b"\xfe\xff\x00\xe0\xff\0\0\0")}, Modality="CT")


INSIDE = {"tag": "RequestAttributesSequence[0].StudyDate", "op": "exists"}


def test_a_header_that_cannot_be_read_holds_the_instance_and_names_the_rule() -> None:
    with pytest.raises(Hold, match=r"^Ruleset main, rule b: .*cut off"):
        decide(ruleset(rule("a"), rule("b", when={"not": INSIDE})), seen=_cut_off())


def test_a_morph_that_errs_holds_the_instance_and_names_the_rule() -> None:
    def errs(rule: Rule, seen: Header) -> Any:
        raise Hold("PatientID would be longer than a LO can be.")

    with pytest.raises(Hold, match=r"^Ruleset main, rule a: PatientID would be longer"):
        decide(ruleset(rule("a", morphs=[SET])), change=errs)


def test_an_error_of_our_own_holds_the_instance_without_telling_what_the_patient_is_called() -> None:
    def broken(rule: Rule, seen: Header) -> Any:
        raise KeyError("Doe^John")

    with pytest.raises(Hold) as caught:
        decide(ruleset(rule("a", morphs=[SET])), change=broken)
    assert str(caught.value) == "Ruleset main, rule a: it could not be evaluated (KeyError)."


def test_a_shadow_rule_that_errs_does_not_hold_live_traffic_but_says_so() -> None:
    decision = decide(ruleset(rule("a", state="shadow", when=INSIDE), rule("b")), seen=_cut_off())
    assert [b.rule for b in decision.branches] == ["b"] and decision.shadows == ()
    assert not decision.verdicts[0].matched
    assert (
        decision.verdicts[0].reasons[0].startswith("it erred, and would have held the instance: Ruleset main, rule a: ")
    )


# --- cost ---------------------------------------------------------------------------------------------


def test_a_pattern_that_backtracks_elsewhere_is_linear() -> None:
    from time import perf_counter

    def seconds(length: int) -> float:
        seen = header({0x00104000: ("UT", "a" * length + "!")})
        best = []
        for _ in range(5):
            begun = perf_counter()
            assert matched(decide(evil, seen=seen)) == []
            best.append(perf_counter() - begun)
        return min(best)

    evil = ruleset(rule("a", when={"tag": "PatientComments", "op": "regex", "value": "^(a+)+$"}))
    short, long = seconds(8 * 1024), seconds(64 * 1024)
    assert long < 40 * short  # eight times the text; a backtracking engine would not end


def test_an_element_is_decoded_once_for_all_rules() -> None:
    looked: list[Any] = []

    class Counting(Header):
        __slots__ = ()

        def find(self, path: Any) -> Any:
            looked.append(str(path))
            return super().find(path)

    seen = Counting.read(file(Modality="CT", PatientID="P1"))
    decide(
        ruleset(
            *[rule(f"r{c}", when={"all": [CT, {"not": MR}, {"tag": "PatientID", "op": "exists"}]}) for c in "abcdef"]
        ),
        seen=seen,
    )
    assert sorted(looked) == ["Modality", "PatientID"]
