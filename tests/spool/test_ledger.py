"""The ledger: what its lines add up to, whole or torn."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from engine.model import Outcome, Receipt
from engine.spool.ledger import Ledger, LedgerState, append, read_state

ALL = [1, 2, 3, 4]


def write(path: Path, attempts: list[list[Receipt]], end: str = "retry") -> None:
    ledger = Ledger.try_open(path, ALL)
    assert ledger is not None
    for number, receipts in enumerate(attempts, 1):
        ledger.begin(number)
        for receipt in receipts:
            ledger.receipt(receipt)
        ledger.end(end)
    ledger.close()


def test_confirmed_stays_confirmed_and_refused_waits_for_a_person(tmp_path: Path) -> None:
    path = tmp_path / "0.jsonl"
    write(path, [[Receipt(1, Outcome.CONFIRMED), Receipt(2, Outcome.REFUSED, "0xC000", "no"), Receipt(3, Outcome.RETRY)]])
    state = read_state(path, ALL)
    assert (state.confirmed, set(state.refused), state.since_revived) == ({1}, {2}, 1)
    assert not state.is_final(ALL)
    append(path, {"t": "revive", "who": "ada"})
    state = read_state(path, ALL)
    assert (state.confirmed, state.refused, state.since_revived) == ({1}, {}, 0)


def test_giving_up_makes_dead_letters_of_what_is_left_with_the_last_words(tmp_path: Path) -> None:
    path = tmp_path / "0.jsonl"
    write(path, [[Receipt(1, Outcome.CONFIRMED), Receipt(2, Outcome.RETRY, "0xA700", "out of resources")]], end="dead")
    state = read_state(path, ALL)
    assert set(state.refused) == {2, 3, 4}
    assert state.refused[3].words == "out of resources"


def test_a_discard_ends_what_is_not_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "0.jsonl"
    write(path, [[Receipt(1, Outcome.CONFIRMED), Receipt(2, Outcome.REFUSED)]])
    append(path, {"t": "discard", "who": "ada", "reason": "sent by hand", "all": True})
    state = read_state(path, ALL)
    assert state.discarded == {2, 3, 4}
    assert state.is_final(ALL)


def test_only_one_may_deliver(tmp_path: Path) -> None:
    path = tmp_path / "0.jsonl"
    first = Ledger.try_open(path, ALL)
    assert first is not None
    assert Ledger.try_open(path, ALL) is None
    first.close()
    again = Ledger.try_open(path, ALL)
    assert again is not None
    again.close()


receipts = st.lists(st.builds(Receipt, index=st.sampled_from(ALL), outcome=st.sampled_from(Outcome), words=st.text()))


@given(attempts=st.lists(receipts, min_size=1, max_size=4), cut=st.integers(0, 4000))
def test_cut_anywhere_it_says_what_its_whole_lines_say_and_goes_on(
    attempts: list[list[Receipt]], cut: int, tmp_path_factory: object
) -> None:
    folder: Path = tmp_path_factory.mktemp("ledger")  # type: ignore[attr-defined]
    path = folder / "0.jsonl"
    write(path, attempts)
    data = path.read_bytes()[:cut]
    path.write_bytes(data)
    whole = folder / "whole.jsonl"
    whole.write_bytes(data[: data.rfind(b"\n") + 1])
    assert read_state(path, ALL) == read_state(whole, ALL)
    before = read_state(path, ALL)
    append(path, {"t": "discard", "who": "ada", "reason": "r", "all": True})
    after = read_state(path, ALL)
    assert after.is_final(ALL)
    assert after.confirmed == before.confirmed
    assert LedgerState().is_final([])
