"""What comes again is known for it, and treated as its source and its destination say."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import pydicom
import pytest

from engine.model import Outcome, Receipt
from engine.spool.seen import Seen
from tests.flow.road import Road, Sink, instance, receive


def configuration(
    source: dict[str, str] | None = None, sink: dict[str, str] | None = None, **rule: Any
) -> dict[str, Any]:
    return {
        "sources": [{"name": "modalities", "kind": "dimse_listener", "ae_title": "AXIOM", "port": 11112,
                     "duplicates": source or {}}],
        "destinations": [{"name": "pacs", "kind": "test_sink", "duplicates": sink or {}}],
        "rulesets": [{"name": "main", "priority": 1, "rules": [
            {"name": "all", "priority": 1, "destinations": ["pacs"]} | rule
        ]}],
    }  # fmt: skip


def changed(uid: str, **tags: Any) -> bytes:
    """The instance with other values."""
    ds = pydicom.dcmread(io.BytesIO(instance(uid)))
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    buffer = io.BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()


def send(road: Road, *files: tuple[str, bytes]) -> None:
    receive(road.spool, list(files))
    road.route()
    road.deliver()


AGAIN = {
    "same_bytes": ("1.1", instance("1.1")),
    "other_bytes": ("1.1", changed("1.1", PatientName="Doe^John")),
    "other_series": ("1.1", changed("1.1", SeriesInstanceUID="1.2.826.9.2")),
}
LATE_PIXEL = instance("1.1", pixels=512)[:-70_000] + b"\x01" + instance("1.1", pixels=512)[-69_999:]
"""Other bytes that neither end shows."""


def told(road: Road) -> list[tuple[str, str | None]]:
    rows = road.rows('select outcome, duplicate from instances order by "at"')
    return [(r["outcome"], r["duplicate"] or None) for r in rows]


@pytest.mark.parametrize("again", AGAIN)
def test_by_default_all_go_again_and_history_knows(home: Path, again: str) -> None:
    road = Road(home, configuration())
    send(road, ("1.1", instance("1.1")))
    send(road, AGAIN[again])
    assert len(Sink.given) == 2
    assert told(road) == [("routed", None), ("routed", again)]


@pytest.mark.parametrize("again", AGAIN)
def test_a_source_skips_what_it_was_told_to_and_nothing_else(home: Path, again: str) -> None:
    for case, file in AGAIN.items():
        Sink.given.clear()
        road = Road(home / case, configuration({again: "skip"}))
        send(road, ("1.1", instance("1.1")))
        send(road, file)
        assert len(Sink.given) == (1 if case == again else 2)
        assert told(road)[1] == ("skipped" if case == again else "routed", case)
        assert road.spool.batches("routed") == road.spool.batches("unmatched") == road.spool.batches("held") == []


def test_two_of_one_association_are_known_too(home: Path) -> None:
    road = Road(home, configuration({"same_bytes": "skip"}))
    send(road, AGAIN["same_bytes"], AGAIN["same_bytes"])
    assert len(Sink.given) == 1


def test_what_is_the_same_at_both_ends_is_not_dropped(home: Path) -> None:
    road = Road(home, configuration({"same_bytes": "skip"}))
    send(road, ("1.1", instance("1.1", pixels=512)))
    send(road, ("1.1", LATE_PIXEL))
    assert len(Sink.given) == 2
    assert told(road)[1] == ("routed", "other_bytes")


def test_what_was_not_compared_wholly_is_not_dropped(home: Path) -> None:
    """The policy came after the first reception, of which only the ends are known."""
    send(Road(home, configuration()), ("1.1", instance("1.1")))
    road = Road(home, configuration({"same_bytes": "skip"}))
    send(road, AGAIN["same_bytes"])
    assert len(Sink.given) == 2
    send(road, AGAIN["same_bytes"])
    assert len(Sink.given) == 2, "now it is known to the last byte"


def test_held_with_the_reason_and_a_retry_sends_it(home: Path) -> None:
    road = Road(home, configuration({"other_bytes": "hold"}))
    send(road, ("1.1", instance("1.1")))
    send(road, AGAIN["other_bytes"])
    assert len(Sink.given) == 1
    [box] = road.spool.batches("held")
    reasons = road.spool.box_reasons("held", box.name)["reasons"]
    assert "comes again with other bytes" in str(reasons)
    assert "modalities holds such duplicates" in str(reasons)
    road.spool.release("held", box.name)
    road.route()
    road.deliver()
    assert len(Sink.given) == 2


@pytest.mark.parametrize("again", AGAIN)
@pytest.mark.parametrize("morphs", [[], [{"kind": "prepend", "tag": "PatientID", "value": "H-"}]], ids=["plain", "changed"])
def test_a_destination_skips_what_it_has(home: Path, again: str, morphs: list[Any]) -> None:
    road = Road(home, configuration(sink={again: "skip"}, morphs=morphs))
    send(road, ("1.1", instance("1.1")))
    send(road, AGAIN[again])
    assert len(Sink.given) == 1
    rows = road.rows("select outcome, code, words from deliveries")
    assert Counter((r["outcome"], r["code"]) for r in rows) == {("confirmed", ""): 1, ("confirmed", "skipped"): 1}
    assert road.spool.batches("routed") == []


def test_what_it_has_not_confirmed_is_not_skipped(home: Path) -> None:
    road = Road(home, configuration(sink={"same_bytes": "skip"}))
    Sink.answer = lambda _, o: Receipt(o.index, Outcome.REFUSED, "0xC000", "no")
    send(road, ("1.1", instance("1.1")))
    Sink.answer = None
    send(road, AGAIN["same_bytes"])
    assert len(Sink.given) == 1


def test_a_destination_holds_as_a_dead_letter_and_a_retry_sends_it(home: Path) -> None:
    road = Road(home, configuration(sink={"other_bytes": "hold"}))
    send(road, ("1.1", instance("1.1")))
    send(road, AGAIN["other_bytes"], ("1.2", instance("1.2")))
    assert [uid for _, uid, _ in Sink.given] == ["1.1", "1.2"]
    [(_, delivery)] = road.spool.outbox.dead("pacs")
    found = road.spool.locate(delivery)
    assert found is not None
    refused = road.spool.state_of(*found).refused
    assert "comes again with other bytes" in refused[1].words
    from engine.spool.ledger import append

    append(road.spool.ledger_path(found[0], found[2].number), {"t": "revive", "who": "test"})
    road.spool.outbox.add("pacs", delivery)
    road.deliver()
    assert [uid for _, uid, _ in Sink.given] == ["1.1", "1.2", "1.1"]


def test_an_interrupted_delivery_is_no_duplicate_of_itself(home: Path) -> None:
    road = Road(home, configuration(sink={"same_bytes": "hold"}))
    Sink.answer = lambda _, o: Receipt(o.index, Outcome.RETRY if o.sop_instance_uid == "1.2" else Outcome.CONFIRMED)
    send(road, ("1.1", instance("1.1")), ("1.2", instance("1.2")))
    Sink.answer = None
    road.deliver()
    assert Counter(uid for _, uid, _ in Sink.given) == {"1.1": 1, "1.2": 1}


def test_a_damaged_memory_is_put_aside_and_images_flow(home: Path) -> None:
    road = Road(home, configuration({"same_bytes": "skip"}))
    (home / "spool" / "seen.db").write_bytes(b"this is no database" * 1000)
    send(road, ("1.1", instance("1.1")))
    assert len(Sink.given) == 1
    assert len(list((home / "spool").glob("seen.db.damaged-*"))) == 1
    send(road, AGAIN["same_bytes"])
    assert len(Sink.given) == 1


def test_what_is_old_is_forgotten(home: Path) -> None:
    road = Road(home, configuration({"same_bytes": "skip"}))
    send(road, ("1.1", instance("1.1")))
    Seen(home / "spool").forget(3600)
    send(road, AGAIN["same_bytes"])
    assert len(Sink.given) == 1
    Seen(home / "spool").forget(-1)
    send(road, AGAIN["same_bytes"])
    assert len(Sink.given) == 2
