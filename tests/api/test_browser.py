"""The data browser's routes: who may ask what, what is masked and audited, and peers that are slow or at fault."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from engine.dicom.network.command import C_FIND_RQ, Command
from engine.dicom.network.identifier import encode_identifier
from tests.api.site import Site
from tests.dimse.double import Archive, archive
from tests.peers import wait_until

MATCH = {
    0x00080052: "STUDY", 0x0020000D: "1.2.3", 0x00100010: "山田^太郎", 0x00100020: "4711", 0x00080050: "A1",
    0x00080090: "Arzt^Anna", 0x00081030: "Thorax", 0x00080020: "20260102",
}  # fmt: skip


def answering(one: Archive, command: Command) -> None:
    if command.field == C_FIND_RQ:
        one.answer(command, 0xFF00, encode_identifier(MATCH, "1.2.840.10008.1.2.1"))
        one.answer(command, 0x0000)


@pytest.fixture
def asked(site: Site) -> Iterator[Site]:
    """A site with an archive that answers, and one that is silent."""
    hold = threading.Event()

    def silent(one: Archive, command: Command) -> None:
        hold.wait(30)

    with archive(answering) as port, archive(silent) as slow:
        given = {"kind": "dimse_qr", "host": "127.0.0.1", "ae_title": "ARCHIVE"}
        sources = [
            {"name": "archive", "port": port, **given},
            {"name": "slow", "port": slow, **given},
            {"name": "off", "port": port, "enabled": False, **given},
        ]
        site.store.save({"sources": sources}, author="test", reason="", expected=None)
        yield site
        hold.set()


def query(client: Any, source: str = "archive", **body: Any) -> Any:
    return client.post("/data-browser/query", json={"source": source, **body})


def test_who_may_see_patients_sees_them_and_others_see_the_rest(asked: Site) -> None:
    [seen] = query(asked.signed_in()).json()["matches"]
    assert seen["attributes"]["00100010"]["Value"] == ["山田^太郎"]
    [masked] = query(asked.signed_in("ada", "User")).json()["matches"]
    hidden = {tag for tag, element in masked["attributes"].items() if element.get("Value") == ["***"]}
    assert hidden == {"00100010", "00100020", "00080050", "00080090"}
    assert masked["attributes"]["00081030"]["Value"] == ["Thorax"]
    assert masked["study_instance_uid"] == "1.2.3"


def test_who_may_not_see_patients_may_not_ask_by_them(asked: Site) -> None:
    ada = asked.signed_in("ada", "User")
    for path in ("PatientName", "00100020", "AccessionNumber", "ReferringPhysicianName"):
        answer = query(ada, filters={path: "4711"})
        assert answer.status_code == 403, path
        assert "permission to see patient data" in answer.json()["detail"]
    assert query(ada, filters={"StudyDate": "-7d..", "PatientID": "*"}).status_code == 200


def test_each_question_is_audited_without_its_words(asked: Site) -> None:
    query(asked.signed_in(), filters={"PatientID": "4711"})
    row = next(row for row in asked.store.audit.rows() if row.action == "query-patients")
    assert (row.name, row.detail["level"], list(row.detail["sought"])) == ("archive", "study", ["PatientID"])
    assert "4711" not in str(row.detail)


def test_what_is_wrong_with_a_question_is_said_beside_its_place(asked: Site) -> None:
    root = asked.signed_in()
    answer = query(root, filters={"PatientNme": "x", "StudyDate": "-7x.."}, fields=["00020010"])
    assert answer.status_code == 422
    places = [p["loc"] for p in answer.json()["problems"]]
    assert ["filters", "PatientNme"] in places
    assert ["fields", "00020010"] in places
    assert query(root, filters={"StudyDate": "-7x.."}).status_code == 422
    assert query(root, "nowhere").status_code == 404


def test_a_slow_peer_is_given_up_and_does_not_take_the_api_with_it(asked: Site) -> None:
    """Four questions to it are the most that run; the next is told so at once, and other sources answer meanwhile."""
    root = asked.signed_in()
    people = [asked.signed_in() for _ in range(4)]  # before the clock of the first question runs
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(query, one, "slow", timeout=5) for one in people]
        wait_until(lambda: asked.parts.operations.asking.running("slow") == 4, 30)
        busy = query(root, "slow", timeout=5)
        assert (busy.status_code, "Retry-After" in busy.headers) == (503, True)
        assert query(root).status_code == 200
        answers = [one.result() for one in waiting]
    assert {a.status_code for a in answers} == {504}
    assert answers[0].headers["content-type"] == "application/problem+json"
    assert "had not ended its answer after 5 seconds, and no match had come" in answers[0].json()["detail"]


def test_what_is_chosen_is_kept_with_its_progress(asked: Site) -> None:
    root = asked.signed_in()
    matches = query(root).json()["matches"]
    answer = root.post("/data-browser/route", json={"source": "archive", "items": matches})
    assert answer.status_code == 202
    made = answer.json()
    assert (made["state"], made["total"], made["items"][0]["state"]) == ("running", 1, "waiting")
    assert root.get(f"/data-browser/routes/{made['id']}").json() == made
    [listed] = root.get("/data-browser/routes").json()
    assert (listed["id"], "items" in listed) == (made["id"], False)
    [due] = asked.store.polls.due("archive", made_at(made), 10)
    assert due.key == ("1.2.3", "", "")
    asked.store.polls.fetched("archive", due, 7, made_at(made))
    done = root.get(f"/data-browser/routes/{made['id']}").json()
    assert (done["state"], done["fetched"], done["received"]) == ("done", 1, 7)
    assert next(row for row in asked.store.audit.rows() if row.action == "route-selected").name == "archive"


def made_at(route: Any) -> Any:
    return datetime.fromisoformat(route["at"]) + timedelta(seconds=1)


def test_what_cannot_be_fetched_is_refused_in_words(asked: Site) -> None:
    root = asked.signed_in()
    item = {"level": "study", "study_instance_uid": "1.2.3"}
    for source, items, status in (
        ("off", [item], 409), ("archive", [], 422), ("archive", [{"level": "series", "study_instance_uid": "1.2.3"}], 422),
        ("archive", [{"level": "patient"}], 422), ("nowhere", [item], 404),
        ("archive", [{"level": "study", "study_instance_uid": "../../x"}], 422),
    ):  # fmt: skip
        answer = root.post("/data-browser/route", json={"source": source, "items": items})
        assert answer.status_code == status, answer.text
    assert root.get("/data-browser/routes/none").status_code == 404
