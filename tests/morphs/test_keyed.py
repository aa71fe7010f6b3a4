"""Dates moved and UIDs remapped, the same always to the same."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydantic import ValidationError

from engine.errors import Hold
from tests.dicom.samples import UID, E, as_file, basics, text
from tests.morphs.samples import morph
from tests.morphs.test_kinds import run, said, values

KEY = "env:TEST_MORPH_KEY"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_MORPH_KEY", "a secret of this test")


def elements(patient: str = "4711") -> list[E]:
    reference = [text(0x00081155, "UI", UID)]
    return [
        *basics(), text(0x00080020, "DA", "20240301"), text(0x0008002A, "DT", "20240301101112.5+0100"),
        E(0x00081140, "SQ", items=[reference]), text(0x00100020, "LO", patient), text(0x0020000D, "UI", "1.2.3"),
    ]


def test_uids_are_remapped_alike_everywhere(tmp_path: Path) -> None:
    tags = ["SOPInstanceUID", "ReferencedImageSequence[*].ReferencedSOPInstanceUID", "StudyInstanceUID"]
    configs = [{"kind": "remap_uid", "tag": tag, "key": KEY} for tag in tags]
    changed = run(tmp_path, *configs, elements=elements())
    theirs = pydicom.dcmread(BytesIO(as_file(changed.header)))
    new = theirs.SOPInstanceUID
    assert new == theirs.file_meta.MediaStorageSOPInstanceUID == theirs.ReferencedImageSequence[0].ReferencedSOPInstanceUID
    assert new.startswith("2.25.")
    assert new.is_valid
    assert new != theirs.StudyInstanceUID != "1.2.3"
    assert run(tmp_path, *configs, elements=elements()).header.sop_instance_uid == new


def test_another_key_gives_other_uids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"kind": "remap_uid", "tag": "SOPInstanceUID", "key": KEY}
    one = run(tmp_path, config, elements=elements()).header.sop_instance_uid
    monkeypatch.setenv("TEST_MORPH_KEY", "another")
    assert run(tmp_path, config, elements=elements()).header.sop_instance_uid != one
    monkeypatch.delenv("TEST_MORPH_KEY")
    with pytest.raises(Hold, match="remap_uid SOPInstanceUID: The secret env:TEST_MORPH_KEY cannot be read"):
        run(tmp_path, config, elements=elements())


def test_dates_move_over_the_end_of_a_month_and_times_stay(tmp_path: Path) -> None:
    changed = run(
        tmp_path,
        {"kind": "shift_dates", "tag": "StudyDate", "days": -1},
        {"kind": "shift_dates", "tag": "AcquisitionDateTime", "days": 306},
        {"kind": "shift_dates", "tag": "SeriesDate", "days": 1},
        elements=elements(),
    )
    assert said(changed) == [
        ("StudyDate", "20240301", "20240229"),
        ("AcquisitionDateTime", "20240301101112.5+0100", "20250101101112.5+0100"),
    ]


def test_with_a_key_the_days_belong_to_the_patient(tmp_path: Path) -> None:
    config = {"kind": "shift_dates", "tag": "StudyDate", "days": -365, "key": KEY}
    moved = {}
    for patient in [str(n) for n in range(30)] + ["0", "1"]:
        (value,) = values(run(tmp_path, config, elements=elements(patient)).header, "StudyDate")[0]
        days = (datetime(2024, 3, 1) - datetime.strptime(value, "%Y%m%d")).days
        assert 1 <= days <= 365
        assert moved.setdefault(patient, days) == days
    assert len(set(moved.values())) > 20


@pytest.mark.parametrize(("config", "words"), [
    ({"kind": "remap_uid", "tag": "PatientID", "key": KEY}, "holds no UIDs: its VR is LO"),
    ({"kind": "remap_uid", "tag": "SOPClassUID", "key": KEY}, "it must stay"),
    ({"kind": "remap_uid", "tag": "StudyInstanceUID", "key": "hunter2"}, "the secret itself does not belong here"),
    ({"kind": "remap_uid", "tag": "StudyInstanceUID"}, "Field required"),
    ({"kind": "shift_dates", "tag": "StudyTime", "days": 1}, "holds no dates: its VR is TM"),
    ({"kind": "shift_dates", "tag": "StudyDate", "days": 0}, "nothing is moved"),
    ({"kind": "shift_dates", "tag": "StudyDate", "days": 1, "per": "{Nonsense}"}, "unknown keyword"),
])
def test_what_is_refused_at_save(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        morph(config)
    assert words in str(caught.value)


def test_what_holds(tmp_path: Path) -> None:
    partial = [*basics(), text(0x0008002A, "DT", "2024")]
    with pytest.raises(Hold, match="'2024', has no whole date to move"):
        run(tmp_path, {"kind": "shift_dates", "tag": "AcquisitionDateTime", "days": 1}, elements=partial)
    nobody = [*basics(), text(0x00080020, "DA", "20240301")]
    with pytest.raises(Hold, match="PatientID is missing or empty"):
        run(tmp_path, {"kind": "shift_dates", "tag": "StudyDate", "days": 9, "key": KEY}, elements=nobody)
