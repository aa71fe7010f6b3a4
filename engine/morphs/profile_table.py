"""What PS3.15 Table E.1-1 says of each attribute: the Basic Application Level Confidentiality Profile and its options.

The profile's own column comes from the library `dicom-anonymizer`, which follows the editions of the standard. The columns
of the options are here, since no library that may be used has them: dates and UIDs by their VR, as the table has them, the
others by name. What is in no option's column is treated as the profile alone says, which is the safe side.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from engine.dicom.dictionary import public, tag_of

__all__ = ["CODES", "EDITION", "Action", "Options", "Rule", "codes_of", "rule_for"]

EDITION = "2026c"
"""The edition of PS3.15 whose table is applied."""


class Action(StrEnum):
    """The action codes of PS3.15 Table E.1-1a, those with a choice decided so that the object stays valid."""

    KEEP = "K"
    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    UID = "U"
    DATE = "C (dates)"
    """Moved, where that can be; else what the profile says."""
    DESCRIPTOR = "C (descriptors)"
    """Kept when it is one of the known descriptors; else what the profile says."""


class Rule(NamedTuple):
    """What is done with an element; `otherwise` where that cannot be."""

    action: Action
    otherwise: Action


class Options(NamedTuple):
    """The options of the profile that are in force (PS3.15 E.3)."""

    uids: bool = False
    device: bool = False
    institution: bool = False
    patient: bool = False
    dates: str = "remove"
    """`remove`, `modified` or `full`."""
    descriptors: bool = False
    private: bool = False


CODES = {
    "113100": "Basic Application Confidentiality Profile",
    "113101": "Clean Pixel Data Option",
    "113102": "Clean Recognizable Visual Features Option",
    "113103": "Clean Graphics Option",
    "113104": "Clean Structured Content Option",
    "113105": "Clean Descriptors Option",
    "113106": "Retain Longitudinal Temporal Information Full Dates Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
    "113109": "Retain Device Identity Option",
    "113110": "Retain UIDs Option",
    "113111": "Retain Safe Private Option",
    "113112": "Retain Institution Identity Option",
}
"""PS3.16 CID 7050 De-identification Method, scheme DCM."""


def codes_of(options: Options) -> tuple[str, ...]:
    """The codes of the profile and of the options in force, in the order of CID 7050."""
    wanted = {
        "113100": True,
        "113105": options.descriptors,
        "113106": options.dates == "full",
        "113107": options.dates == "modified",
        "113108": options.patient,
        "113109": options.device,
        "113110": options.uids,
        "113111": options.private,
        "113112": options.institution,
    }
    return tuple(code for code, on in wanted.items() if on)


_CHOSEN = {
    "D_TAGS": Action.DUMMY, "Z_TAGS": Action.EMPTY, "X_TAGS": Action.REMOVE, "U_TAGS": Action.UID,
    "Z_D_TAGS": Action.DUMMY, "X_Z_TAGS": Action.EMPTY, "X_D_TAGS": Action.DUMMY, "X_Z_D_TAGS": Action.DUMMY,
    "X_Z_U_STAR_TAGS": Action.UID,
}
"""Of two or three actions the table leaves the choice to the object's definition: the one that fits all of them."""

_REMOVED = ("WaveformAnnotationSequence", "EncryptedAttributesSequence", "OriginalAttributesSequence")
"""X/D whose module goes with it; beyond the table: an earlier identity, encrypted; the values before changes."""

_REFERENCES = ("ReferencedPerformedProcedureStepSequence",)
"""Its items hold nothing but references: with new UIDs they are the dummies that the table asks for."""

_TIMES = ("FrameOriginTimestamp", "CertifiedTimestamp", "TimezoneOffsetFromUTC")
_NO_TIMES = ("GPSTimeStamp", "PatientBirthTime", "PatientBirthDate")
_NO_UIDS = ("DigitalSignatureUID", "UID")
_UID_SEQUENCES = (
    "ReferencedPatientSequence", "ReferencedStudySequence", "ReferencedPerformedProcedureStepSequence",
    "ReferencedImageSequence", "SourceImageSequence",
)

_DEVICE = """
    BeamHoldTransitionDateTime CalibrationDate CalibrationDateTime CalibrationTime CassetteID DateOfInstallation
    DateOfLastCalibration DateOfLastDetectorCalibration DateOfManufacture DateTimeOfLastCalibration DetectorID
    DeviceDescription DeviceLabel DeviceSerialNumber GantryID GeneratorID LensMake LensModel LensSerialNumber
    LensSpecification ManufacturerDeviceIdentifier ModifyingDeviceID ModifyingSystem
    PerformedStationGeographicLocationCodeSequence PerformedStationName PerformedStationNameCodeSequence PlateID
    ScheduledProcedureStepLocation ScheduledStationGeographicLocationCodeSequence ScheduledStationName
    ScheduledStationNameCodeSequence ScheduledStudyLocation SourceManufacturer SourceSerialNumber StationName
    TimeOfLastCalibration TimeOfLastDetectorCalibration TransducerIdentificationSequence TreatmentMachineName
    UDISequence UniqueDeviceIdentifier XRayDetectorID XRayDetectorLabel XRaySourceID
"""
"""Column Rtn. Dev. Id., what it says K of; its C (AE titles of stations) are as in the profile alone."""

_INSTITUTION = """
    ClinicalTrialCoordinatingCenterName ClinicalTrialProtocolEthicsCommitteeName ClinicalTrialSiteID
    ClinicalTrialSiteName InstitutionAddress InstitutionCodeSequence InstitutionName InstitutionalDepartmentName
    InstitutionalDepartmentTypeCodeSequence SourceOfPreviousValues
"""
"""Column Rtn. Inst. Id."""

_PATIENT = """
    EthnicGroup EthnicGroupCodeSequence PatientAge PatientSex PatientSexNeutered PatientSize PatientWeight
    PregnancyStatus SelectorASValue SmokingStatus
"""
"""Column Rtn. Pat. Chars., what it says K of; its C (free text) are as in the profile alone."""

_DESCRIPTORS = """
    AcquisitionComments AcquisitionDeviceProcessingDescription AcquisitionFieldOfViewLabel
    AcquisitionProtocolDescription AdditionalPatientHistory AdmittingDiagnosesDescription Allergies
    AnnotationGroupDescription AnnotationGroupLabel BeamDescription BolusDescription ClinicalTrialSeriesDescription
    ClinicalTrialTimePointDescription CommentsOnRadiationDose CommentsOnThePerformedProcedureStep
    CompensatorDescription ConceptualVolumeCombinationDescription ConceptualVolumeDescription ContainerDescription
    ContrastBolusAgent ContributionDescription DecompositionDescription DerivationDescription
    DischargeDiagnosisDescription DisplacementReferenceLabel DoseReferenceDescription EntityDescription EntityLabel
    EntityLongLabel EntityName EquipmentFrameOfReferenceDescription FilterLookupTableDescription
    FixationDeviceDescription FractionGroupDescription FractionationNotes FrameComments IdentifyingComments
    ImageComments ImagingServiceRequestComments Impressions InterlockDescription InterlockOriginDescription
    InterpretationDiagnosisDescription InterpretationText LabelText LongDeviceDescription MedicalAlerts
    MultienergyAcquisitionDescription Occupation PatientComments PatientSetupPhotoDescription PatientState
    PatientTreatmentPreparationMethodDescription PatientTreatmentPreparationProcedureParameterDescription
    PerformedProcedureStepDescription PositionAcquisitionTemplateDescription PositionAcquisitionTemplateName
    PrescriptionDescription PrescriptionNotes PriorTreatmentDoseDescription ProtocolName PyramidDescription
    PyramidLabel ROIDescription ROIGenerationDescription ROIName ROIObservationDescription ROIObservationLabel
    RTPhysicianIntentNarrative RTPlanDescription RTPlanLabel RTPlanName RTPrescriptionLabel RTToleranceSetLabel
    RTTreatmentApproachLabel RadiationDoseIdentificationLabel RadiationDoseInVivoMeasurementLabel
    RadiationGenerationModeDescription RadiationGenerationModeLabel ReasonForOmissionDescription ReasonForStudy
    ReasonForSuperseding ReasonForTheImagingServiceRequest ReasonForTheRequestedProcedure ReasonForVisit
    RequestedContrastAgent RequestedProcedureComments RequestedProcedureDescription RequestedSeriesDescription
    RespiratoryMotionCompensationTechniqueDescription ResultsComments ScheduledProcedureStepDescription
    SelectorLOValue SelectorLTValue SelectorSHValue SelectorSTValue SelectorUTValue SeriesDescription
    ServiceEpisodeDescription SetupTechniqueDescription ShieldingDeviceDescription SpecimenDetailedDescription
    SpecimenShortDescription StructureSetDescription StructureSetLabel StructureSetName StudyComments
    StudyDescription TreatmentPositionGroupLabel TreatmentSite TreatmentSites TreatmentTechniqueNotes
    TreatmentToleranceViolationDescription UserContentLabel UserContentLongLabel VisitComments
    WaveformFilterDescription
"""
"""Column Clean Desc., what is text."""


@lru_cache(maxsize=1)
def _profile() -> tuple[dict[int, Action], frozenset[int]]:
    """The profile's column: by tag, and the even groups whose elements are all removed (curves, overlays).

    Of an overlay the table removes data and comments: what is left of it would be no overlay, so the group goes.
    """
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

    tables = dicom_anonymization_database_selector(f"dicomfields_{EDITION}")
    single: dict[int, Action] = {}
    groups: set[int] = set()
    for name, action in _CHOSEN.items():
        for tag in tables[name]:
            if len(tag) == 2:
                single[tag[0] << 16 | tag[1]] = action
            else:
                groups.update(range(tag[0], tag[0] + 0x100, 2))
    single |= {_tag(keyword): Action.REMOVE for keyword in _REMOVED}
    single |= {_tag(keyword): Action.UID for keyword in _REFERENCES}
    return single, frozenset(groups)


def _tag(keyword: str) -> int:
    tag = tag_of(keyword)
    if tag is None:
        raise LookupError(f"{keyword} is not in the DICOM dictionary")
    return tag


@lru_cache(maxsize=64)
def _table(options: Options) -> dict[int, Rule]:
    single, _ = _profile()
    table = {tag: Rule(action, action) for tag, action in single.items()}

    def put(tags: set[int], action: Action) -> None:
        for tag in tags & single.keys():
            table[tag] = Rule(action, single[tag])

    times = {tag for tag in single if (known := public(tag)) and known.vr in ("DA", "DT", "TM")}
    times = (times | _tags(" ".join(_TIMES))) - _tags(" ".join(_NO_TIMES))
    uids = {tag for tag in single if (known := public(tag)) and known.vr == "UI"} - _tags(" ".join(_NO_UIDS))
    if options.descriptors:
        put(_tags(_DESCRIPTORS), Action.DESCRIPTOR)
    if options.device:
        put(_tags(_DEVICE) | _tags("DeviceUID ManufacturerDeviceClassUID"), Action.KEEP)
    if options.institution:
        put(_tags(_INSTITUTION), Action.KEEP)
    if options.patient:
        put(_tags(_PATIENT), Action.KEEP)
    if options.uids:
        put(uids | _tags(" ".join(_UID_SEQUENCES)), Action.KEEP)
    if options.dates != "remove":
        put(times, Action.KEEP if options.dates == "full" else Action.DATE)
    return table


def _tags(keywords: str) -> set[int]:
    return {_tag(keyword) for keyword in keywords.split()}


def rule_for(tag: int, options: Options) -> Rule | None:
    """What the table says of a standard element; None when it says nothing."""
    if tag >> 16 in _profile()[1]:
        return Rule(Action.REMOVE, Action.REMOVE)
    return _table(options).get(tag)
