"""Asking and fetching with archives that hospitals run: DCMTK's dcmqrscp, Orthanc over DIMSE."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Permanent, Retry
from engine.sources._query import Match, Query
from engine.sources.dimse_qr import DimseQr
from tests.dimse.archives import NAMES, Archive, archive_of, by_uid, same, studies
from tests.dimse.support import FolderIntake, running
from tests.peers import free_port, wait_until

STOP = threading.Event()


@dataclass
class Site:
    """An archive, and the port at which it takes AXIOM to listen."""

    archive: Archive
    files: dict[str, list[Path]]
    listener_port: int

    def source(self, **fields: Any) -> DimseQr:
        given = {
            "name": "archive", "host": "127.0.0.1", "port": self.archive.port, "ae_title": self.archive.ae_title,
            "dimse_timeout": 30, "settle_seconds": 30,
        }  # fmt: skip
        return DimseQr(**given | fields)


@pytest.fixture(scope="module", params=["dcmqrscp", "orthanc"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, port = tmp_path_factory.mktemp(request.param), free_port()
    files = studies(folder / "sent")
    with archive_of(request.param, folder / "archive", files, {"AXIOM": port}) as archive:
        yield Site(archive, files, port)


def find(source: DimseQr, level: str = "study", limit: int = 0, offset: int = 0, **filters: str) -> list[Match]:
    return list(source.query(Query(level, filters, limit=limit, offset=offset), STOP))  # type: ignore[arg-type]


@pytest.mark.parametrize("root", ["study", "patient"])
def test_every_level_is_found_with_names_in_every_script(site: Site, root: str) -> None:
    source = site.source(root=root)
    found = {m.text("PatientID"): m for m in find(source, StudyDate="20260101-20260131")}
    assert found.keys() == NAMES.keys()
    for patient, (_, name) in NAMES.items():
        assert found[patient].text("PatientName") == name
    study = found["JAPANESE"].study_instance_uid
    series = find(source, "series", StudyInstanceUID=study, PatientID="JAPANESE")
    assert sorted(m.text("Modality") for m in series) == ["CT", "MR"]
    assert {m.study_instance_uid for m in series} == {study}
    images = find(source, "instance", StudyInstanceUID=study, PatientID="JAPANESE")
    assert {m.sop_instance_uid for m in images} == by_uid(site.files["JAPANESE"]).keys()
    patients = find(source, "patient")
    assert sorted(m.text("PatientName") for m in patients) == sorted(name for _, name in NAMES.values())


def test_series_of_all_studies_are_found_level_by_level(site: Site) -> None:
    found = find(site.source(), "series", PatientID="LATIN")
    assert sorted(m.text("Modality") for m in found) == ["CT", "MR"]
    assert all(m.study_instance_uid for m in found)
    assert len(find(site.source(), "series", Modality="MR")) == len(NAMES)


@pytest.mark.parametrize("patient", ["JAPANESE", "LATIN", "CYRILLIC", "CHINESE", "UNICODE"])
def test_a_patient_is_asked_for_in_their_own_script(site: Site, patient: str) -> None:
    charset, name = NAMES[patient]
    sought = {"CHINESE": "*小东*", "JAPANESE": name}.get(patient, name[:6] + "*")
    source = site.source(character_set="ISO_IR 192" if site.archive.url else "\\".join(charset))
    found = find(source, PatientName=sought)
    assert [m.text("PatientID") for m in found] == [patient]
    assert found[0].text("PatientName") == name


def test_a_limit_ends_the_query_and_the_association_can_go_on(site: Site) -> None:
    every = [m.text("PatientID") for m in find(site.source())]
    assert [m.text("PatientID") for m in find(site.source(), limit=2, offset=3)] == every[3:5]
    assert len(find(site.source(), limit=100)) == len(NAMES)


@pytest.mark.parametrize("root", ["study", "patient"])
def test_c_get_brings_a_study_as_it_is(site: Site, tmp_path: Path, root: str) -> None:
    source = site.source(root=root)
    [match] = find(source, PatientID="JAPANESE")
    intake, seen = FolderIntake(tmp_path), list[tuple[int, int | None]]()
    done = source.retrieve(match, intake, STOP, lambda *at: seen.append(at))
    assert (done.received, done.expected, done.failed, done.words, done.whole) == (5, 5, 0, "", True)
    assert same(intake.files, site.files["JAPANESE"])
    if site.archive.url:  # dcmqrscp has converted some when it took them
        syntaxes = [{uid: one.syntax for uid, one in by_uid(files).items()} for files in (intake.files, site.files["JAPANESE"])]
        assert syntaxes[0] == syntaxes[1]
    assert intake.all_sealed
    sender = intake.batches[0].association
    assert (sender.source, sender.source_kind, sender.calling_ae, sender.source_ip) == (
        "archive", "dimse_qr", site.archive.ae_title, "127.0.0.1",
    )  # fmt: skip
    assert seen[-1] == (5, 5)


def test_patient_root_finds_the_patient_of_a_study_by_itself(site: Site, tmp_path: Path) -> None:
    """Who may not see patients chooses by UID alone."""
    source = site.source(root="patient")
    [match] = find(source, PatientID="PLAIN")
    alone = Match("study", {"0020000D": match.attributes["0020000D"]})
    intake = FolderIntake(tmp_path)
    assert source.retrieve(alone, intake, STOP, lambda *_: None).whole
    assert same(intake.files, site.files["PLAIN"])


@pytest.mark.parametrize("root", ["study", "patient"])
@pytest.mark.parametrize("level", ["series", "instance"])
def test_c_get_brings_a_series_or_one_image(site: Site, tmp_path: Path, level: str, root: str) -> None:
    source = site.source(root=root)
    [study] = find(source, PatientID="LATIN")
    match = find(source, level, StudyInstanceUID=study.study_instance_uid, PatientID="LATIN")[0]
    intake = FolderIntake(tmp_path)
    done = source.retrieve(match, intake, STOP, lambda *_: None)
    wanted = [
        path for path in site.files["LATIN"]
        if (match.sop_instance_uid or match.series_instance_uid + ".") in path.name + "."
    ]  # fmt: skip
    assert done.whole
    assert same(intake.files, wanted)


def test_c_move_brings_a_study_through_our_listener(site: Site, tmp_path: Path) -> None:
    """Images are taken by the listener, and belong to who asked for them."""
    intake = FolderIntake(tmp_path / "in")
    with running(tmp_path / "in", intake, port=site.listener_port):
        source = site.source(retrieve_by="move")
        [match] = find(source, PatientID="CYRILLIC")
        seen = list[tuple[int, int | None]]()
        done = source.retrieve(match, intake, STOP, lambda *at: seen.append(at))
        assert (done.received, done.expected, done.failed, done.words, done.whole) == (5, 5, 0, "", True)
        wait_until(lambda: intake.all_sealed, 60)
        assert same(intake.files, site.files["CYRILLIC"])
        assert {(b.association.source, b.association.source_kind) for b in intake.batches} == {("archive", "dimse_qr")}
        assert seen[-1] == (5, 5)
        assert not list((tmp_path / "in" / "moves").iterdir())


def test_a_move_to_nobody_is_told_in_words(site: Site, tmp_path: Path) -> None:
    source = site.source(retrieve_by="move", move_destination="NOBODY")
    [match] = find(source, PatientID="PLAIN")
    try:  # dcmqrscp answers A801, Orthanc a status of "unable to process"
        words = source.retrieve(match, FolderIntake(tmp_path), STOP, lambda *_: None).words
    except Permanent as e:
        words = str(e)
    assert words.startswith(f"{site.archive.ae_title} answered 0x")
    assert "Move destination unknown" in words or "Unable to process" in words


def test_a_move_to_a_listener_that_is_away_is_told_with_counts(site: Site, tmp_path: Path) -> None:
    """Nothing listens where the archive takes AXIOM to be."""
    source = site.source(retrieve_by="move", settle_seconds=0)
    [match] = find(source, PatientID="PLAIN")
    try:
        done = source.retrieve(match, FolderIntake(tmp_path), STOP, lambda *_: None)
    except (Permanent, Retry) as e:
        assert site.archive.ae_title in str(e)
    else:
        assert not done.whole
        assert done.words


def test_the_check_goes_step_by_step(site: Site) -> None:
    for fields in ({}, {"root": "patient"}, {"retrieve_by": "move"}):
        ticks = site.source(**fields).check()
        assert all(tick.ok for tick in ticks if tick.name != "TLS valid"), ticks
        assert [t.name for t in ticks][-2:] == ["query right", "retrieve right"]
    away = site.source(port=free_port()).check()
    assert [t.ok for t in away] == [True, False, None, None, None, None, None]
    assert "Nothing listens" in away[1].words
