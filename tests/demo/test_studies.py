"""The sample studies: the same at each call, readable, valid, of several patients with names from everywhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

from engine.demo.studies import MODALITIES, PATIENTS, UID_ROOT, pydicom_files, sample_studies, synthetic, write
from tests.peers import dcmdump, need


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[list[Path]]:
    return list(sample_studies(tmp_path_factory.mktemp("studies")))


@pytest.mark.parametrize("modality", MODALITIES)
def test_equal_calls_give_equal_bytes(modality: str, tmp_path: Path):
    first = write(synthetic(modality, 2, 2, 48), tmp_path / "a")
    again = write(synthetic(modality, 2, 2, 48), tmp_path / "b")
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in again]
    other = [ds.SOPInstanceUID for ds in synthetic(modality, 2, 2, 48, study=2)]
    uids = [f.stem for f in first] + other
    assert len(set(uids)) == 8
    assert all(uid.startswith(UID_ROOT + ".") for uid in uids)


def test_an_unknown_modality_is_told_with_those_that_there_are():
    with pytest.raises(ValueError, match="no synthetic PT; there are CT, MR, CR, US"):
        next(synthetic("PT"))


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, RLELossless])
def test_pixels_survive_each_transfer_syntax(modality: str, syntax: str, tmp_path: Path):
    plain = next(synthetic(modality, rows=48))
    (file,) = write(synthetic(modality, 1, 1, 48, transfer_syntax=syntax), tmp_path)
    other = pydicom.dcmread(file)
    assert other.file_meta.TransferSyntaxUID == syntax
    assert (other.pixel_array == plain.pixel_array).all()
    assert plain.pixel_array.min() < plain.pixel_array.max()


def test_the_standard_holds(studies: list[list[Path]]):
    """By dciodvfy, an independent checker: no error in any first image of our studies."""
    need("dciodvfy")
    for files in studies[:-1]:
        done = subprocess.run(["dciodvfy", files[0]], capture_output=True, text=True, errors="replace", check=False)
        assert "Error" not in done.stderr + done.stdout, done.stderr


def test_dcmtk_reads_them_all(studies: list[list[Path]]):
    for files in studies[:-1]:
        assert "PatientName" in dcmdump(files[-1])


def test_patients_and_modalities_are_many(studies: list[list[Path]]):
    read = [pydicom.dcmread(files[0], stop_before_pixels=True) for files in studies[:-1]]
    assert {ds.Modality for ds in read} == set(MODALITIES)
    assert {str(ds.PatientName) for ds in read} == {p.name for p in PATIENTS}
    assert sum(not str(ds.PatientName).isascii() for ds in read) >= 4
    us = next(ds for ds in read if ds.Modality == "US")
    assert us.NumberOfFrames > 1
    uids = [f.stem for files in studies[:-1] for f in files]
    assert len(uids) == len(set(uids)) > 100


def test_pydicoms_own_files_are_sent_once_each(studies: list[list[Path]]):
    assert len(pydicom_files()) > 100
    uids = [str(pydicom.dcmread(f, specific_tags=["SOPInstanceUID"]).SOPInstanceUID) for f in studies[-1]]
    assert len(uids) == len(set(uids)) > 50
