"""Synthetic studies with plausible headers: CT, MR, CR and multi-frame US, of several patients, the same at each call.

`synthetic` makes one study; `sample_studies` is what a first start sends. All UIDs are below our own root.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from engine.demo import phantom
from engine.dicom.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

__all__ = ["MODALITIES", "PATIENTS", "UID_ROOT", "Patient", "pydicom_files", "sample_studies", "synthetic", "write"]

UID_ROOT = "1.2.826.0.1.3680043.10.1530.2"

_SOP_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "US": "1.2.840.10008.5.1.4.1.1.3.1",
}
MODALITIES = tuple(_SOP_CLASSES)
"""The modalities that `synthetic` can make."""


@dataclass(frozen=True, slots=True)
class Patient:
    """Whom a study is of. No real person."""

    name: str
    id: str
    born: str
    sex: str
    charset: str | list[str] = "ISO_IR 100"


PATIENTS = (
    Patient("Mueller^Hanna", "AX-1001", "19620314", "F", ""),
    Patient("Bjørnstad^Åse", "AX-1002", "19480921", "F"),
    Patient("Yamada^Tarou=山田^太郎=やまだ^たろう", "AX-1003", "19751103", "M", ["", "ISO 2022 IR 87"]),
    Patient("Соколов^Иван", "AX-1004", "19900228", "M", "ISO_IR 144"),
    Patient("Nguyễn^Thị Minh=阮^氏明", "AX-1005", "20010707", "F", "ISO_IR 192"),
    Patient("Example^Test", "TEST-1", "20000101", "O", ""),
)


def synthetic(
    modality: str = "CT",
    series: int = 1,
    instances: int = 20,
    rows: int = 128,
    *,
    columns: int | None = None,
    patient: Patient = PATIENTS[0],
    study: int = 1,
    frames: int = 12,
    transfer_syntax: str = ExplicitVRLittleEndian,
) -> Iterator[FileDataset]:
    """The instances of one study: `series` series of `instances` images of `rows` x `columns` pixels.

    `study` numbers the study: equal arguments give equal bytes, another number other UIDs. `frames` is for US.
    Raises ValueError for a modality that is not in `MODALITIES`.
    """
    if modality not in _SOP_CLASSES:
        raise ValueError(f"There is no synthetic {modality}; there are {', '.join(MODALITIES)}.")
    study_uid = f"{UID_ROOT}.{MODALITIES.index(modality) + 1}.{study}"
    for s in range(1, series + 1):
        for i in range(1, instances + 1):
            seed = study * 1_000_003 + s * 10_007 + i
            image = _Image(modality, study_uid, study, s, i, instances, rows, columns or rows, frames, seed)
            ds = _common(image, patient, transfer_syntax)
            _MAKERS[modality](ds, image)
            if transfer_syntax == RLELossless:
                ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
            yield ds


@dataclass(frozen=True, slots=True)
class _Image:
    """Which image of which series, and its shape."""

    modality: str
    study_uid: str
    study: int
    series: int
    instance: int
    instances: int
    rows: int
    columns: int
    frames: int
    seed: int

    @property
    def z(self) -> float:
        """The slice's place in its series, 0 to 1."""
        return (self.instance - 1) / max(1, self.instances - 1)


def _common(image: _Image, patient: Patient, syntax: str) -> FileDataset:
    modality, study, series, instance = image.modality, image.study, image.series, image.instance
    study_uid = image.study_uid
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = _SOP_CLASSES[modality]
    meta.MediaStorageSOPInstanceUID = f"{study_uid}.{series}.{instance}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    if patient.charset:
        ds.SpecificCharacterSet = patient.charset
    day, time = f"202609{1 + study % 28:02}", f"{8 + study % 9:02}{(study * 7) % 60:02}{series % 60:02}"
    _set(
        ds,
        SOPClassUID=_SOP_CLASSES[modality], SOPInstanceUID=meta.MediaStorageSOPInstanceUID,
        InstanceCreationDate=day, InstanceCreationTime=time,
        PatientName=patient.name, PatientID=patient.id, PatientBirthDate=patient.born, PatientSex=patient.sex,
        StudyInstanceUID=study_uid, StudyDate=day, StudyTime=time, StudyID=str(study),
        AccessionNumber=f"A{4700 + study}", ReferringPhysicianName="Referrer^Rita",
        StudyDescription=_STUDIES[modality], Modality=modality, SeriesInstanceUID=f"{study_uid}.{series}",
        SeriesNumber=series, SeriesDate=day, SeriesTime=time, InstitutionName="Example Hospital",
        Manufacturer="Axiom Flow", ManufacturerModelName=f"Phantom {modality}", StationName=f"{modality}01",
        DeviceSerialNumber="1530", SoftwareVersions="1",
        InstanceNumber=instance, ContentDate=day, ContentTime=time, AcquisitionDate=day, AcquisitionTime=time,
        AcquisitionNumber=1, ImageComments="Synthetic: of no person, for no diagnosis",
    )  # fmt: skip
    step = Dataset()
    _set(step, RequestedProcedureID=f"RP{study}", ScheduledProcedureStepID=f"SPS{study}-{series}",
         ScheduledProcedureStepDescription=_STUDIES[modality])  # fmt: skip
    ds.RequestAttributesSequence = [step]
    block = ds.private_block(0x0029, "AXIOM PHANTOM", create=True)
    block.add_new(0x10, "LO", f"seed {study}.{series}.{instance}")
    block.add_new(0x11, "DS", ["1.5", "2.5"])
    return ds


_STUDIES = {"CT": "CT thorax and abdomen", "MR": "MR brain", "CR": "Chest, two views", "US": "Echocardiography"}


def _set(ds: Dataset, **values: Any) -> None:
    for keyword, value in values.items():
        setattr(ds, keyword, value)


def _pixels(ds: Dataset, pixels: NDArray[Any], bits: int) -> None:
    """The Image Pixel module (PS3.3 C.7.6.3) of one-sample unsigned pixels."""
    dtype = np.uint8 if bits <= 8 else np.dtype("<u2")
    allocated = 8 if bits <= 8 else 16
    rows, columns = pixels.shape[-2:]
    data = np.clip(np.rint(pixels), 0, (1 << bits) - 1).astype(dtype).tobytes()
    _set(
        ds,
        SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", Rows=rows, Columns=columns,
        BitsAllocated=allocated, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=0,
    )  # fmt: skip
    ds.add_new(0x7FE00010, "OB" if bits <= 8 else "OW", data + b"\0" * (len(data) % 2))


def _plane(ds: Dataset, image: _Image, field_mm: float, thickness: float) -> None:
    """Frame of Reference and Image Plane modules (PS3.3 C.7.4.1, C.7.6.2)."""
    spacing = round(field_mm / image.rows, 4)
    z = round((image.instance - 1) * thickness, 3)
    _set(
        ds,
        FrameOfReferenceUID=f"{ds.StudyInstanceUID}.0", PositionReferenceIndicator=None, PatientPosition="HFS",
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PixelSpacing=[spacing, spacing], SliceThickness=thickness,
        ImagePositionPatient=[-field_mm / 2, -field_mm / 2, -z], SliceLocation=-z,
    )  # fmt: skip


def _ct(ds: Dataset, image: _Image) -> None:
    kernel = f"B{30 + 10 * image.series}f"
    _plane(ds, image, 360.0, 5.0)
    _set(
        ds,
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], BodyPartExamined="CHEST", SeriesDescription=f"Axial 5.0 {kernel}",
        KVP=120, XRayTubeCurrent=210, ExposureTime=500, ConvolutionKernel=kernel, RescaleIntercept=-1024,
        RescaleSlope=1, RescaleType="HU", WindowCenter=[40, -600], WindowWidth=[400, 1500],
        WindowCenterWidthExplanation=["SOFT TISSUE", "LUNG"],
    )  # fmt: skip
    _pixels(ds, phantom.abdomen(image.rows, image.columns, image.z, image.seed) + 1024, 12)


def _mr(ds: Dataset, image: _Image) -> None:
    t2 = image.series % 2 == 0
    _plane(ds, image, 240.0, 4.0)
    _set(
        ds,
        ImageType=["ORIGINAL", "PRIMARY", "OTHER"], BodyPartExamined="HEAD",
        SeriesDescription="T2 axial" if t2 else "T1 axial", ScanningSequence="SE", SequenceVariant="SK",
        ScanOptions=None, MRAcquisitionType="2D", MagneticFieldStrength=1.5,
        RepetitionTime=4500 if t2 else 550, EchoTime=100 if t2 else 12, EchoTrainLength=1, FlipAngle=90,
        ImagedNucleus="1H", NumberOfAverages=1, WindowCenter=450, WindowWidth=900,
    )  # fmt: skip
    _pixels(ds, phantom.head(image.rows, image.columns, image.z, image.seed, t2=t2), 12)


def _cr(ds: Dataset, image: _Image) -> None:
    lateral = image.instance % 2 == 0
    _set(
        ds,
        ImageType=["ORIGINAL", "PRIMARY"], BodyPartExamined="CHEST",
        SeriesDescription="Chest lateral" if lateral else "Chest PA", ViewPosition="LL" if lateral else "PA",
        PatientOrientation=["A", "F"] if lateral else ["L", "F"], KVP=125, Exposure=3, PlateType="phosphor",
        ImagerPixelSpacing=[round(350 / image.rows, 4)] * 2, WindowCenter=2048, WindowWidth=4096,
    )  # fmt: skip
    _pixels(ds, phantom.chest_radiograph(image.rows, image.columns, image.seed, lateral=lateral) * 4095, 12)


def _us(ds: Dataset, image: _Image) -> None:
    rows, columns, frames = image.rows, image.columns, image.frames
    region = Dataset()
    _set(
        region,
        RegionSpatialFormat=1, RegionDataType=1, RegionFlags=0, RegionLocationMinX0=0, RegionLocationMinY0=0,
        RegionLocationMaxX1=columns - 1, RegionLocationMaxY1=rows - 1, PhysicalUnitsXDirection=3,
        PhysicalUnitsYDirection=3, PhysicalDeltaX=15 / columns, PhysicalDeltaY=15 / rows,
    )  # fmt: skip
    _set(
        ds,
        ImageType=["ORIGINAL", "PRIMARY", "TTE"], BodyPartExamined="HEART",
        SeriesDescription="Four chambers", NumberOfFrames=frames,
        FrameIncrementPointer=0x00181063, FrameTime=40, CineRate=25, RecommendedDisplayFrameRate=25, HeartRate=75,
        LossyImageCompression="00", SequenceOfUltrasoundRegions=[region], PatientOrientation=None,
    )  # fmt: skip
    stack = [phantom.ultrasound(rows, columns, f / frames, image.seed * 64 + f) for f in range(frames)]
    _pixels(ds, np.stack(stack), 8)


_MAKERS = {"CT": _ct, "MR": _mr, "CR": _cr, "US": _us}


def write(instances: Iterable[FileDataset], folder: Path) -> list[Path]:
    """Write instances as Part 10 files `<SOP Instance UID>.dcm` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for ds in instances:
        files.append(folder / f"{ds.SOPInstanceUID}.dcm")
        ds.save_as(files[-1], enforce_file_format=True)
    return files


def sample_studies(folder: Path) -> Iterator[list[Path]]:
    """The studies of a first start, written below `folder`: one list of files for each association to send."""
    studies: list[tuple[str, Iterator[FileDataset]]] = [
        ("ct-1", synthetic("CT", 1, 36, 192, patient=PATIENTS[0], study=1)),
        ("mr-1", synthetic("MR", 2, 16, 160, patient=PATIENTS[1], study=2)),
        ("cr-1", synthetic("CR", 1, 2, 512, columns=448, patient=PATIENTS[2], study=3)),
        ("us-1", synthetic("US", 1, 2, 240, columns=320, patient=PATIENTS[3], study=4, transfer_syntax=RLELossless)),
        ("ct-2", synthetic("CT", 2, 12, 160, patient=PATIENTS[4], study=5, transfer_syntax=ImplicitVRLittleEndian)),
        ("mr-2", synthetic("MR", 1, 8, 128, patient=PATIENTS[0], study=6)),
        ("test", synthetic("CR", 1, 1, 256, patient=PATIENTS[5], study=7)),
    ]
    for name, instances in studies:
        yield write(instances, folder / name)
    yield _one_of_each(pydicom_files())


def pydicom_files() -> list[Path]:
    """The DICOM files that come with pydicom and hold a storable instance, whole and with its identifiers."""
    import pydicom.data
    from pydicom.errors import InvalidDicomError

    files = []
    for path in sorted((Path(pydicom.data.__file__).parent / "test_files").rglob("*")):
        if not path.is_file() or path.suffix in {".py", ".md", ".txt", ".json", ".zip"}:
            continue
        try:
            with warnings.catch_warnings(action="ignore"):
                ds = pydicom.dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, EOFError, OSError, ValueError, NotImplementedError, AttributeError, KeyError):
            continue  # made to be broken: they are pydicom's own test of refusing
        if ds.get("SOPClassUID") and ds.get("SOPInstanceUID") and ds.file_meta.get("TransferSyntaxUID"):
            files.append(path)
    return files


def _one_of_each(files: Iterable[Path]) -> list[Path]:
    """Several of pydicom's files are one instance in many transfer syntaxes: the first of each."""
    import pydicom

    seen: dict[str, Path] = {}
    with warnings.catch_warnings(action="ignore"):
        for path in files:
            seen.setdefault(str(pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID), path)
    return list(seen.values())
