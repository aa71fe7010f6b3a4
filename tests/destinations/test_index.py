"""The index of a folder: what was written, a line a file, whatever happens in between."""

from __future__ import annotations

import csv
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from engine.destinations.filesystem import Filesystem
from engine.errors import Retry
from engine.model import Outcome
from tests.destinations.support import deliver, instance


def to(folder: Path, form: str, **more: Any) -> Filesystem:
    return Filesystem.model_validate({"name": "archive", "path": str(folder / "out"), "index": form, **more})


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "_index.jsonl").read_text().splitlines()]


def test_each_folder_has_a_line_a_file(tmp_path: Path) -> None:
    some = [instance(tmp_path / "s", i, patient=f"P{i % 2}") for i in range(6)]
    destination = to(tmp_path, "json_lines", template="{PatientID}/{SOPInstanceUID}.dcm")
    for _ in range(2):  # the second time all are there already, and in the index
        assert {r.outcome for r in deliver(destination, some)} == {Outcome.CONFIRMED}
    for patient in ("P0", "P1"):
        folder = tmp_path / "out" / patient
        found = lines(folder)
        assert sorted(row["file"] for row in found) == sorted(f.name for f in folder.glob("*.dcm"))
        for row in found:
            assert (row["PatientID"], row["bytes"]) == (patient, (folder / row["file"]).stat().st_size)
            assert row["at"].endswith("+00:00")


def test_a_csv_holds_what_could_be_mistaken(tmp_path: Path) -> None:
    nasty = ['=HYPERLINK("x")', 'a "b", c\\d', "Ä;é"]
    some = [instance(tmp_path / "s", i, patient=text) for i, text in enumerate(nasty)]
    destination = to(tmp_path, "csv", template="all/{SOPInstanceUID}.dcm", index_tags=["PatientID"])
    for _ in range(2):
        deliver(destination, some)
    with (tmp_path / "out" / "all" / "_index.csv").open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == ["at", "file", "bytes", "PatientID"]
    assert [row[3] for row in rows] == ["'" + nasty[0], 'a "b", c', nasty[2]]  # a backslash parts values in DICOM


@pytest.mark.parametrize("form", ["json_lines", "csv"])
def test_a_line_that_a_crash_left_out_or_tore_comes_with_the_next_attempt(tmp_path: Path, form: str) -> None:
    some = [instance(tmp_path / "s", i) for i in range(4)]
    destination = to(tmp_path, form, template="all/{SOPInstanceUID}.dcm")
    deliver(destination, some)
    [index] = (tmp_path / "out" / "all").glob("_index.*")
    whole = index.read_text().splitlines(keepends=True)
    index.write_text("".join(whole[:-1]) + whole[-1][:20])
    deliver(destination, some)
    again = index.read_text().splitlines()
    assert [line for line in again if line == whole[-1][:20]] == [whole[-1][:20]]
    assert again[-1][25:] == whole[-1].rstrip("\n")[25:]  # the same but for when
    assert len(again) == len(whole) + 1


def test_an_index_that_cannot_be_written_confirms_nothing_and_harms_no_file(tmp_path: Path) -> None:
    some = [instance(tmp_path / "s", 0)]
    folder = tmp_path / "out" / "all"
    (folder / "_index.jsonl").mkdir(parents=True)
    destination = to(tmp_path, "json_lines", template="all/{SOPInstanceUID}.dcm")
    receipts: list[object] = []
    with pytest.raises(Retry):
        destination.deliver(some, receipts.append, threading.Event())
    assert receipts == []
    (folder / "_index.jsonl").rmdir()
    assert deliver(destination, some)[0].outcome is Outcome.CONFIRMED
    assert [row["file"] for row in lines(folder)] == ["1.2.3.0.dcm"]


def test_no_image_takes_the_name_of_the_index_and_no_link_is_followed(tmp_path: Path) -> None:
    destination = to(tmp_path, "json_lines", template="all/{PatientID}.jsonl", collision="replace")
    [receipt] = deliver(destination, [instance(tmp_path / "s", 0, patient="_index")])
    assert receipt.outcome is Outcome.REFUSED
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("")
    (tmp_path / "out" / "all").mkdir(parents=True)
    (tmp_path / "out" / "all" / "_index.jsonl").symlink_to(elsewhere)
    with pytest.raises(Retry, match="links are not followed"):
        deliver(destination, [instance(tmp_path / "s", 1, patient="other")])
    assert elsewhere.read_text() == ""


def test_many_at_once_lose_no_line(tmp_path: Path) -> None:
    destination = to(tmp_path, "json_lines", template="all/{SOPInstanceUID}.dcm")
    groups = [[instance(tmp_path / f"s{n}", n * 20 + i) for i in range(20)] for n in range(4)]
    threads = [threading.Thread(target=deliver, args=(destination, group)) for group in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({row["file"] for row in lines(tmp_path / "out" / "all")}) == 80
