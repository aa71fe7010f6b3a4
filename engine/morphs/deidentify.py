"""Morph `deidentify`: takes the patient's identity out of a header, as PS3.15 Annex E says. Pixels are not looked at. Not
offered: Clean Pixel Data, Clean Recognizable Visual Features, Clean Graphics, Clean Structured Content."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from engine.dicom.paths import TagPath, TagPathText
from engine.errors import Hold
from engine.morphs.base import AnyMorph
from engine.morphs.keyed import Keyed
from engine.morphs.profile import PATIENT_ID, PATIENT_NAME, Profile
from engine.morphs.profile_table import CODES, EDITION, Options, codes_of
from engine.morphs.profile_values import put_codes
from engine.morphs.set_value import TemplateText
from engine.morphs.work import Place, Work
from engine.security.secret_references import SecretReference

__all__ = ["Deidentify"]

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
IDENTITY_REMOVED, METHOD, METHOD_CODES = 0x00120062, 0x00120063, 0x00120064
BURNED_IN, TIMES_MODIFIED = 0x00280301, 0x00280303
CODE_VALUE, SCHEME = 0x00080100, 0x00080102


def _check_private(text: str) -> str:
    path = TagPath.parse(text)
    if len(path.steps) != 1 or not path.is_private or path.steps[0].all or path.steps[0].index is not None:
        raise ValueError(f'{path} is no private element: write it by its creator, such as (0029,"CREATOR",10)')
    return text


PrivateTag = Annotated[TagPathText, AfterValidator(_check_private)]


class Deidentify(AnyMorph):
    """Takes the patient's identity out of the header: the Basic Application Level Confidentiality Profile of DICOM PS3.15
    Annex E with the options chosen here, at every depth of the data set. Patient ID and name become a pseudonym, UIDs
    others, made by a secret key: the same always the same, on every node and in every rule that uses the key, so that
    studies of one patient stay together. Original Attributes are dropped and never written, and of the received file meta
    nothing stays.

    Pixels are not looked at: Clean Pixel Data, Clean Recognizable Visual Features, Clean Graphics (overlays and graphic
    annotations are removed) and Clean Structured Content (of a report nothing but its frame is left) are not offered.
    """

    label: ClassVar[str] = "De-identify"
    kind: Literal["deidentify"] = "deidentify"
    key: SecretReference
    """The secret key of pseudonyms, UIDs and days. Who has it can find out whose pseudonym one is."""
    per: TemplateText = Field(default="{PatientID}", min_length=1, examples=["{IssuerOfPatientID|}/{PatientID}"])
    """What tells patients apart: those with the same text get the same pseudonym and the same shift of dates. Missing or
    empty tags hold the instance."""
    patient_id: TemplateText = Field(default="", examples=["TRIAL7-{PatientID}"])
    """The new Patient ID, made of the old values; left empty: a pseudonym made by the key."""
    patient_name: TemplateText = ""
    """The new Patient's Name, made of the old values; left empty: the same as the new Patient ID."""
    dates: Literal["remove", "modified", "full"] = "remove"
    """Dates and times: removed (or a dummy, 1900-01-01, where an object needs one); moved by days (option Retain Longitudinal
    Temporal Information with Modified Dates); kept (with Full Dates). Dates of birth are removed always."""
    days: int = Field(default=-365, ge=-36_500, le=36_500)
    """With modified dates: the farthest that they are moved, negative into the past; the key chooses the days of each
    patient, as in `shift_dates`. Times of day stay."""
    retain_uids: bool = False
    """Keep UIDs (option Retain UIDs)."""
    retain_device_identity: bool = False
    """Keep serial numbers, station names and the like (option Retain Device Identity)."""
    retain_institution_identity: bool = False
    """Keep the institution's name and address (option Retain Institution Identity)."""
    retain_patient_characteristics: bool = False
    """Keep sex, age, size, weight and the like, but not free text (option Retain Patient Characteristics)."""
    keep_private: tuple[PrivateTag, ...] = Field(default=(), examples=[['(0019,"SIEMENS MR HEADER",0C)']])
    """Private elements that are known to be safe, by their creator; all others are removed (option Retain Safe Private)."""
    keep_descriptors: tuple[str, ...] = Field(default=(), examples=[["Head routine", "Thorax"]])
    """Descriptions, comments and labels that tell nothing of anybody: kept where the whole value is one of these, in capital
    letters or not; all others go (option Clean Descriptors)."""
    burned_in: Literal["hold", "pass"] = "hold"
    """An instance that says there is identity in its pixels (Burned In Annotation YES, an overlay in the pixel data's bits):
    hold it, or let it pass. One that does not say so passes: ask for modalities that burn in by the rule's condition."""

    @model_validator(mode="after")
    def _moves(self) -> Self:
        if self.dates == "modified" and not self.days:
            raise ValueError("by 0 days nothing is moved")
        return self

    @property
    def hides(self) -> bool:
        return True

    @property
    def options(self) -> Options:
        return Options(
            uids=self.retain_uids,
            device=self.retain_device_identity,
            institution=self.retain_institution_identity,
            patient=self.retain_patient_characteristics,
            dates=self.dates,
            descriptors=bool(self.keep_descriptors),
            private=bool(self.keep_private),
        )

    def apply(self, work: Work) -> None:
        self._check(work)
        keyed = Keyed(self.key)
        patient = work.fill(self.per)
        new_id = work.fill(self.patient_id) or keyed.pseudonym(patient)
        new_name = work.fill(self.patient_name) or new_id
        days = keyed.days(patient, self.days) if self.dates == "modified" else 0
        steps = [TagPath.parse(text).steps[0] for text in self.keep_private]
        Profile(
            work,
            self.options,
            keyed,
            timedelta(days=days),
            frozenset((step.group, step.creator, step.element) for step in steps),
            frozenset(text.strip().casefold() for text in self.keep_descriptors),
        ).apply()
        self._has_uids(work)  # one of them may be written as something that goes
        work.write(_place(work, PATIENT_ID, "PatientID"), [new_id])
        work.write(_place(work, PATIENT_NAME, "PatientName"), [new_name])
        self._say(work)

    def _has_uids(self, work: Work) -> None:
        for tag, name in ((SOP_CLASS_UID, "SOP Class UID"), (SOP_INSTANCE_UID, "SOP Instance UID")):
            if not any(work.root.values(tag)):
                raise Hold(f"The data set has no {name} to go on with: its file meta, which has one, does not stay.")

    def _check(self, work: Work) -> None:
        self._has_uids(work)
        if self.burned_in == "pass":
            return
        if "YES" in (str(value).strip().upper() for value in work.root.values(BURNED_IN)):
            raise Hold(
                "The instance says that there is identity in its pixels (Burned In Annotation YES), which are not looked "
                "at: discard it, or say `burned_in: pass` in the rule."
            )
        for group in range(0x6000, 0x6100, 2):
            if group << 16 | 0x0010 in work.root and group << 16 | 0x3000 not in work.root:
                raise Hold(
                    "An overlay of the instance stands in bits of its pixel data, which are not looked at: discard the "
                    "instance, or say `burned_in: pass` in the rule."
                )

    def _say(self, work: Work) -> None:
        """What was done, for those who receive it (PS3.15 E.1.1, E.3.6; PS3.3 C.7.1.1)."""
        root, codes = work.root, codes_of(self.options)
        times = {"remove": "REMOVED", "modified": "MODIFIED", "full": "UNMODIFIED"}[self.dates]
        if times == "UNMODIFIED" and set(root.values(TIMES_MODIFIED)) & {"REMOVED", "MODIFIED"}:
            times = str(root.values(TIMES_MODIFIED)[0])  # they were, before they came here
        words = [f"PS3.15 {EDITION} {CODES[codes[0]]}", *(CODES[code] for code in codes[1:])]
        work.write(_place(work, IDENTITY_REMOVED, "PatientIdentityRemoved"), ["YES"])
        work.write(_place(work, METHOD, "DeidentificationMethod"), words)
        work.write(_place(work, TIMES_MODIFIED, "LongitudinalTemporalInformationModified"), [times])
        place = _place(work, METHOD_CODES, "DeidentificationMethodCodeSequence")
        before = work.shown(place)
        earlier = [
            str(item.values(CODE_VALUE)[0])
            for item in root.items(METHOD_CODES)
            if item.values(CODE_VALUE) and item.values(SCHEME) == ("DCM",)
        ]
        all_codes = dict.fromkeys([code for code in earlier if code in CODES] + list(codes))
        put_codes(root, METHOD_CODES, [(code, CODES[code]) for code in all_codes])
        work.note(place, before, "SQ")


def _place(work: Work, tag: int, name: str) -> Place:
    return Place(work.root, tag, name, tag)
