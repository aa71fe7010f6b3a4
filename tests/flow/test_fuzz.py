"""Mutated headers on the road: each is decided, held or left unmatched with its reason; none is lost, none stops the others."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.flow.road import Road, Sink, instance, receive, split

CONFIGURATION: dict[str, Any] = {
    "destinations": [{"name": "sink", "kind": "test_sink"}],
    "rulesets": [
        {
            "name": "m",
            "priority": 1,
            "rules": [
                {
                    "name": "ct",
                    "priority": 1,
                    "when": {
                        "all": [
                            {"tag": "Modality", "op": "eq", "value": "CT"},
                            {"tag": "Rows", "op": "gt", "value": 1},
                            {"not": {"tag": "PatientName", "op": "regex", "value": "^TEST"}},
                        ]
                    },
                    "morphs": [
                        {"kind": "prepend", "tag": "PatientID", "value": "H-"},
                        {"kind": "set", "tag": "InstitutionName", "value": "Söder"},
                        {"kind": "delete", "tag": "PatientBirthDate"},
                    ],
                    "destinations": ["sink"],
                }
            ],
        }
    ],
}
PER_BATCH = 250


def mutated(rng: random.Random, data: bytes) -> bytes:
    """A data set with some of its first bytes changed, cut, doubled or swapped."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(min(len(out), 400) or 1)
        match rng.randrange(5):
            case 0:
                out[at] = rng.randrange(256)
            case 1:
                out[at : at + rng.randint(1, 8)] = rng.randbytes(rng.randint(0, 8))
            case 2:
                del out[at : at + rng.randint(1, 40)]
            case 3:
                out[at:at] = out[max(0, at - 20) : at]
            case _:
                out[at : at + 4] = b"\xff\xff\xff\xff"
    return bytes(out[: rng.randint(0, len(out))] if rng.random() < 0.1 else out)


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_each_is_decided_held_or_unmatched(tmp_path: Path, count: int) -> None:
    rng = random.Random(4711)
    whole = split(instance("1.2.3", pixels=8))
    Sink.given.clear()
    Sink.answer = None
    road = Road(tmp_path, CONFIGURATION)
    for begin in range(0, count, PER_BATCH):
        receive(road.spool, [(f"1.2.{n}", mutated(rng, whole)) for n in range(begin, begin + PER_BATCH)])
        road.route()
    road.deliver()
    rows = road.rows("select outcome, held_reason from instances")
    outcomes = Counter(r["outcome"] for r in rows)
    assert sum(outcomes.values()) == count
    assert all(r["held_reason"] for r in rows if r["outcome"] == "held")
    assert not [r["held_reason"] for r in rows if "Internal error" in (r["held_reason"] or "")]
    assert min(outcomes[o] for o in ("routed", "held", "unmatched")) > 0
    assert len(Sink.given) == outcomes["routed"]
    assert road.spool.batches("ready") == road.spool.batches("routed") == []
    boxed = {box: sum(len(list(b.glob("*.dcm"))) for b in road.spool.batches(box)) for box in ("held", "unmatched")}
    assert boxed == {box: outcomes[box] for box in boxed}
