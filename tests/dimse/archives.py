"""Archives to ask: DCMTK's dcmqrscp, Orthanc, and studies with names in many scripts to put into them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from engine.process import Child
from tests.peers import accepts, free_port, need, orthanc, storescu, wait_until

__all__ = ["NAMES", "Archive", "Image", "archive_of", "by_uid", "dcmqrscp", "image", "same", "studies"]

NAMES = {
    "JAPANESE": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "LATIN": (["ISO_IR 100"], "Müller^Jürgen"),
    "CYRILLIC": (["ISO_IR 144"], "Люкceмбypг^Анна"),
    "CHINESE": (["GB18030"], "Wang^XiaoDong=王^小东"),
    "UNICODE": (["ISO_IR 192"], "Łukasz^Žofia=王^小東"),
    "PLAIN": ([], "DOE^JOHN"),
}
"""Patient ID -> Specific Character Set and a name in it."""

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"


@dataclass
class Archive:
    """A running archive: how it is called and where."""

    port: int
    ae_title: str
    url: str = ""


def image(
    patient: str, study: str, series: str, number: int, *, sop_class: str = CT, syntax: UID = ExplicitVRLittleEndian
) -> FileDataset:
    """A small image of a patient of `NAMES`; compressed syntaxes hold bytes that nobody decodes."""
    charset, name = NAMES[patient]
    ds = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    if charset:
        ds.SpecificCharacterSet = charset
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, f"{series}.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = name, patient, "19700101", "O"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = "20260102", "101010", f"A{patient}", "1"
    ds.Modality = "MR" if sop_class == MR else "CT"
    ds.StudyDescription, ds.SeriesDescription = "Test", f"Series {series[-1]}"
    ds.SeriesNumber, ds.InstanceNumber, ds.ReferringPhysicianName = series[-1], number, ""
    ds.Rows = ds.Columns = 16
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    pixels = np.arange(256, dtype="<u2").tobytes()
    ds.PixelData = encapsulate([pixels]) if syntax.is_encapsulated else pixels
    ds["PixelData"].VR = "OB" if syntax.is_encapsulated else "OW"
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = sop_class, ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


def studies(folder: Path, syntaxes: tuple[UID, ...] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)) -> dict[str, list[Path]]:
    """A study of each patient of `NAMES`: a CT series of three and an MR series of two images; patient ID -> files."""
    folder.mkdir(parents=True, exist_ok=True)
    out: dict[str, list[Path]] = {}
    for patient in NAMES:
        study = generate_uid(entropy_srcs=[patient])[:40]
        out[patient] = []
        for s, (sop_class, count) in enumerate(((CT, 3), (MR, 2)), 1):
            for n in range(1, count + 1):
                syntax = syntaxes[(s + n) % len(syntaxes)]
                ds = image(patient, study, f"{study}.{s}", n, sop_class=sop_class, syntax=syntax)
                path = folder / f"{ds.SOPInstanceUID}.dcm"
                ds.save_as(path, enforce_file_format=True)
                out[patient].append(path)
    return out


@contextmanager
def dcmqrscp(
    folder: Path, files: Mapping[str, list[Path]], *, destinations: Mapping[str, int], options: tuple[str, ...] = ()
) -> Iterator[Archive]:
    """DCMTK's archive with these files in it; it may send to `destinations` (AE title -> port)."""
    storage, port = folder / "storage", free_port()
    storage.mkdir(parents=True, exist_ok=True)
    hosts = "\n".join(f"{title.lower()} = ({title}, 127.0.0.1, {to})" for title, to in destinations.items())
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\n{hosts}\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMQR {storage} RW (500, 1024mb) ANY\nAETable END\n"
    )
    child = Child(
        "dcmqrscp", [need("dcmqrscp"), "-v", *options, "-c", config], env=os.environ | {"TCP_NODELAY": "1"},
        log=folder / "dcmqrscp.log", restart=False, on_parent_death=signal.SIGKILL,
    )  # fmt: skip
    child.start()
    try:
        wait_until(lambda: accepts(port), 60, "dcmqrscp")
        storescu([path for paths in files.values() for path in paths], port, called="DCMQR")
        yield Archive(port, "DCMQR")
    finally:
        child.ask_to_stop(signal.SIGTERM)
        child.stop(15)


@contextmanager
def archive_of(
    kind: str, folder: Path, files: Mapping[str, list[Path]], destinations: Mapping[str, int]
) -> Iterator[Archive]:
    """An archive of either kind, filled. (Orthanc answers queries in its default encoding, whatever it is asked in.)"""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "dcmqrscp":
        with dcmqrscp(folder, files, destinations=destinations) as archive:
            yield archive
        return
    modalities = {title.lower(): [title, "127.0.0.1", port] for title, port in destinations.items()}
    with orthanc(folder, DicomModalities=modalities, DicomAlwaysAllowFind=True, DicomAlwaysAllowGet=True,
                 DicomAlwaysAllowMove=True, DefaultEncoding="Utf8") as (port, url):  # fmt: skip
        storescu([path for paths in files.values() for path in paths], port, called="ORTHANC")
        yield Archive(port, "ORTHANC", url)


@dataclass
class Image:
    """What is compared of a file: its data set, decoded by pydicom, and the transfer syntax it came in."""

    dataset: pydicom.Dataset
    syntax: str


def by_uid(paths: list[Path]) -> dict[str, Image]:
    out = {}
    for path in paths:
        ds = pydicom.dcmread(path)
        out[str(ds.SOPInstanceUID)] = Image(pydicom.Dataset(ds), str(ds.file_meta.TransferSyntaxUID))
    return out


def same(received: list[Path], sent: list[Path]) -> bool:
    """Whether the same images, element by element, pixel bytes too, are there, each once."""
    here, there = by_uid(received), by_uid(sent)
    return len(received) == len(sent) and here.keys() == there.keys() and all(
        here[uid].dataset == there[uid].dataset for uid in there
    )  # fmt: skip


