"""When a schedule is next on, asked of a saved one and of a draft."""

from __future__ import annotations

from typing import Any

from tests.api.site import Site

OFFICE: dict[str, Any] = {
    "name": "office", "time_zone": "Europe/Berlin", "exceptions": ["2026-11-26"],
    "ranges": [{"days": ["mon", "tue", "wed", "thu", "fri"], "start": "07:00", "end": "18:00"}],
}  # fmt: skip
AT = {"at": "2026-11-25T18:30:00Z"}


def test_when_a_schedule_is_next_on(site: Site) -> None:
    client = site.signed_in()
    client.post("/schedules", json=OFFICE)
    answer = client.get("/schedules/office/next-on", params={**AT, "days": 2})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["on"], told["next_on"], told["next_off"]) == (False, "2026-11-27T07:00:00+01:00", "2026-11-27T18:00:00+01:00")
    assert [(d["date"], d["exception"], d["on"]) for d in told["days"]] == [
        ("2026-11-25", False, [{"start": "07:00", "end": "18:00"}]), ("2026-11-26", True, []),
    ]  # fmt: skip
    assert client.post("/schedules/next-on", json=OFFICE, params={**AT, "days": 2}).json() == told


def test_what_cannot_be_said_is_told(site: Site) -> None:
    client = site.signed_in()
    assert client.get("/schedules/nope/next-on").status_code == 404
    wrong = client.post("/schedules/next-on", json={**OFFICE, "time_zone": "Berlin"})
    assert (wrong.status_code, wrong.json()["problems"][0]["loc"]) == (422, ["time_zone"])
    assert client.post("/schedules/next-on", json=OFFICE, params={"at": "2026-11-25T18:30:00"}).status_code == 422
