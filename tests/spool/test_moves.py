"""Records by which a listener knows whose images a C-MOVE brings."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from engine.model import Association
from engine.spool.moves import Moves

ASKED = Association(source="pacs", source_kind="dimse_qr", calling_ae="PACS", called_ae="AXIOM")


@pytest.fixture
def moves(tmp_path: Path) -> Moves:
    return Moves(tmp_path / "moves")


@pytest.mark.parametrize("originator", ["AXIOM", "PACS", "SENDER"])
def test_another_process_finds_who_asked_and_counts(moves: Moves, tmp_path: Path, originator: str) -> None:
    """The originator is who asked; some archives fill in themselves, as they were called or as they call."""
    asked = moves.announce(ASKED, "PACS")
    listener = Moves(tmp_path / "moves").find(originator, asked.move_id, "SENDER")
    assert listener is not None
    assert listener.association == ASKED
    for uid in ("1.2.1", "1.2.2", "1.2.1"):
        listener.arrived(uid)
    assert asked.instances() == {"1.2.1", "1.2.2"}


def test_what_others_asked_for_is_not_ours(moves: Moves) -> None:
    asked = moves.announce(ASKED, "PACS")
    assert moves.find("SOMEBODY", asked.move_id, "SENDER") is None
    assert moves.find("AXIOM", asked.move_id % 0xFFFF + 1, "SENDER") is None


def test_two_moves_never_share_a_number(moves: Moves) -> None:
    assert len({moves.announce(ASKED, "PACS").move_id for _ in range(300)}) == 300


def test_a_move_that_is_over_leaves_nothing(moves: Moves, tmp_path: Path) -> None:
    asked = moves.announce(ASKED, "PACS")
    asked.arrived("1.2.1")
    asked.done()
    asked.done()
    assert moves.find("AXIOM", asked.move_id, "SENDER") is None
    assert list((tmp_path / "moves").iterdir()) == []


def test_records_of_processes_that_are_gone_are_cleared_in_time(moves: Moves, tmp_path: Path) -> None:
    left = moves.announce(ASKED, "PACS")
    fresh = moves.announce(ASKED, "PACS")
    old = time.time() - 7 * 3600
    os.utime(tmp_path / "moves" / f"{left.move_id}.json", (old, old))
    moves.announce(ASKED, "PACS")
    assert moves.find("AXIOM", left.move_id, "SENDER") is None
    assert moves.find("AXIOM", fresh.move_id, "SENDER") is not None
