"""Schedules: days, overnight, exceptions, and the clock that jumps twice a year."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from engine.rules.model import Schedule
from engine.rules.outlook import outlook
from engine.rules.schedule import offset_changes
from tests.rules import strategies as some

BERLIN = ZoneInfo("Europe/Berlin")


def schedule(**more: Any) -> Schedule:
    return Schedule.model_validate({"name": "s", "time_zone": "Europe/Berlin", **more})


def berlin(*when: int, fold: int = 0) -> datetime:
    return datetime(*when, tzinfo=BERLIN, fold=fold)  # type: ignore[misc,arg-type]


OFFICE = schedule(ranges=[{"days": ["mon", "tue", "wed", "thu", "fri"], "start": "07:00", "end": "18:00"}])
NIGHT = schedule(ranges=[{"days": ["fri"], "start": "22:00", "end": "06:00"}])


@pytest.mark.parametrize(
    ("at", "on"),
    [
        (berlin(2026, 11, 23, 7, 0), True),  # a Monday
        (berlin(2026, 11, 23, 6, 59, 59), False),
        (berlin(2026, 11, 23, 17, 59, 59), True),
        (berlin(2026, 11, 23, 18, 0), False),
        (berlin(2026, 11, 22, 12, 0), False),  # a Sunday
        (datetime(2026, 11, 23, 6, 30, tzinfo=UTC), True),  # 07:30 in Berlin
        (datetime(2026, 7, 20, 5, 30, tzinfo=UTC), True),  # 07:30 in summer
        (datetime(2026, 7, 20, 16, 30, tzinfo=UTC), False),
    ],
)
def test_days_and_hours_are_those_of_the_zone(at: datetime, on: bool) -> None:
    assert OFFICE.active(at) is on


def test_an_overnight_range_belongs_to_the_day_on_which_it_begins() -> None:
    assert NIGHT.active(berlin(2026, 11, 27, 23, 0))  # Friday
    assert NIGHT.active(berlin(2026, 11, 28, 5, 59))  # Saturday morning
    assert not NIGHT.active(berlin(2026, 11, 28, 6, 0))
    assert not NIGHT.active(berlin(2026, 11, 27, 5, 0))  # Friday morning belongs to Thursday
    assert not NIGHT.active(berlin(2026, 11, 28, 23, 0))


def test_start_equal_to_end_is_a_whole_day_and_several_ranges_add_up() -> None:
    whole = schedule(ranges=[{"days": ["sun"], "start": "08:00", "end": "08:00"}])
    assert whole.active(berlin(2026, 11, 22, 8, 0)) and whole.active(berlin(2026, 11, 23, 7, 59))
    assert not whole.active(berlin(2026, 11, 23, 8, 0))
    two = schedule(ranges=[{"start": "06:00", "end": "08:00"}, {"start": "20:00", "end": "24:00"}])
    assert [h for h in range(24) if two.active(berlin(2026, 11, 22, h))] == [6, 7, 20, 21, 22, 23]


def test_without_ranges_it_is_always_on_save_for_exceptions() -> None:
    always = schedule(exceptions=["2026-12-25"])
    assert always.active(berlin(2026, 12, 24, 23, 59)) and not always.active(berlin(2026, 12, 25, 0, 0))
    assert not always.active(berlin(2026, 12, 25, 23, 59)) and always.active(berlin(2026, 12, 26, 0, 0))


def test_no_range_begins_on_an_exception_but_one_that_has_begun_goes_on() -> None:
    nights = schedule(ranges=[{"start": "22:00", "end": "06:00"}], exceptions=["2026-12-25"])
    assert nights.active(berlin(2026, 12, 25, 5, 0))  # began on the 24th
    assert not nights.active(berlin(2026, 12, 25, 23, 0)) and not nights.active(berlin(2026, 12, 26, 5, 0))


def test_in_spring_the_skipped_hour_shortens_a_range() -> None:
    gap = schedule(ranges=[{"start": "02:30", "end": "04:00"}])  # 02:00 to 03:00 is skipped on 2026-03-29
    assert not gap.active(datetime(2026, 3, 29, 0, 59, tzinfo=UTC))  # 01:59
    assert gap.active(datetime(2026, 3, 29, 1, 0, tzinfo=UTC))  # 03:00, the first moment after the jump
    assert not gap.active(datetime(2026, 3, 29, 2, 0, tzinfo=UTC))  # 04:00
    assert gap.next_on(datetime(2026, 3, 29, 0, 0, tzinfo=UTC)) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


def test_in_autumn_the_repeated_hour_is_on_both_times() -> None:
    early = schedule(ranges=[{"start": "02:15", "end": "02:45"}])  # 02:00 to 03:00 comes twice on 2026-10-25
    on = [m for m in range(0, 180) if early.active(datetime(2026, 10, 25, 0, 0, tzinfo=UTC) + timedelta(minutes=m))]
    assert on == [*range(15, 45), *range(75, 105)]
    second = datetime(2026, 10, 25, 1, 0, tzinfo=UTC)
    found = early.next_on(second)
    assert found is not None
    assert (found.astimezone(UTC), found.fold) == (datetime(2026, 10, 25, 1, 15, tzinfo=UTC), 1)


def test_next_on() -> None:
    assert OFFICE.next_on(berlin(2026, 11, 27, 19, 0)) == berlin(2026, 11, 30, 7, 0)
    assert OFFICE.next_on(berlin(2026, 11, 27, 12, 0)) == berlin(2026, 11, 27, 12, 0)
    holidays = OFFICE.model_copy(update={"exceptions": [berlin(2026, 11, 30).date()]})
    assert holidays.next_on(berlin(2026, 11, 27, 19, 0)) == berlin(2026, 12, 1, 7, 0)
    assert OFFICE.next_on(berlin(2026, 11, 27, 19, 0)).tzinfo == BERLIN  # type: ignore[union-attr]


@settings(max_examples=40, deadline=None)
@given(some.schedules, some.moments)
def test_nothing_is_on_before_next_on(schedule: Schedule, at: datetime) -> None:
    found = schedule.next_on(at)
    if found is None:
        assert not any(schedule.active(at + timedelta(hours=h)) for h in range(24 * 9))
        return
    found = found.astimezone(UTC)
    assert found >= at and schedule.active(found)
    minutes = int((found - at).total_seconds() // 60)
    assert not any(schedule.active(at + timedelta(minutes=m)) for m in range(0, min(minutes, 3000), 7))
    assert found == at or not schedule.active(found - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"time_zone": "Berlin"}, "did you mean Europe/Berlin?"),
        ({"time_zone": "Mars/Base"}, "there is no time zone Mars/Base"),
        ({"ranges": [{"start": "25:00"}]}, "write a time as HH:MM"),
        ({"ranges": [{"start": "24:30"}]}, "write a time as HH:MM"),
        ({"ranges": [{"days": []}]}, "at least 1 item"),
        ({"exceptions": ["2026-02-30"]}, "date"),
    ],
)
def test_what_is_wrong_is_said_in_words(given_: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words.replace("?", r"\?")):
        schedule(**given_)


def test_a_time_that_yaml_read_as_a_number_is_understood() -> None:
    import yaml

    data = yaml.safe_load("{name: s, ranges: [{start: 07:00, end: 18:30}]}")
    found = Schedule.model_validate(data).ranges[0]
    assert (found.start, found.end) == ("07:00", "18:30")


def test_offsets_are_those_of_the_zone_at_every_hour() -> None:
    for zone in ("Europe/Berlin", "Australia/Lord_Howe", "America/Asuncion", "Africa/Casablanca"):
        changes = offset_changes(zone)
        for hours in range(0, 24 * 366 * 30, 997):
            at = datetime(2005, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
            expected = at.astimezone(ZoneInfo(zone)).utcoffset()
            assert [offset for moment, offset in changes if moment <= at][-1] == expected


def test_a_moment_without_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        OFFICE.active(datetime(2026, 1, 1))


def test_next_off() -> None:
    assert OFFICE.next_off(berlin(2026, 11, 27, 12, 0)) == berlin(2026, 11, 27, 18, 0)
    assert OFFICE.next_off(berlin(2026, 11, 27, 19, 0)) == berlin(2026, 11, 27, 19, 0)
    assert schedule().next_off(berlin(2026, 11, 27, 19, 0)) is None
    far = schedule(exceptions=["2031-01-01"])
    assert far.next_off(berlin(2026, 11, 27, 19, 0)) == datetime(2031, 1, 1, tzinfo=far.zone)


@settings(max_examples=40, deadline=None)
@given(some.schedules, some.moments)
def test_all_is_on_before_next_off(schedule: Schedule, at: datetime) -> None:
    found = schedule.next_off(at)
    if found is None:
        assert schedule.active(at)
        return
    assert not schedule.active(found)
    step = max((found - at) / 50, timedelta(minutes=1))
    moment = at
    while moment < found:
        assert schedule.active(moment)
        moment += step


def test_the_days_to_come_as_the_clock_shows_them() -> None:
    nights = schedule(
        exceptions=["2026-03-30"],
        ranges=[{"start": "22:00", "end": "02:30"}, {"days": ["sun"], "start": "12:00", "end": "13:00"}],
    )
    told = outlook(nights, berlin(2026, 3, 29, 0, 30), days=3)  # the Sunday on which summer time begins
    assert (told["on"], told["next_off"], told["next_on"]) == (True, "2026-03-29T03:00:00+02:00", "2026-03-29T12:00:00+02:00")
    sunday, monday, tuesday = told["days"]
    assert (sunday["day"], sunday["clock_jumps"], monday["clock_jumps"]) == ("sun", 60, 0)
    assert [(s["start"], s["end"]) for s in sunday["on"]] == [("00:00", "02:30"), ("12:00", "13:00"), ("22:00", "24:00")]
    assert (monday["exception"], monday["on"]) == (True, [{"start": "00:00", "end": "02:30"}])  # it had begun on Sunday
    assert tuesday["on"] == [{"start": "22:00", "end": "24:00"}]
