"""What sources have in common that are asked: QIDO-RS, C-FIND. They are polled, back-filled and browsed by one engine.

A kind gives two things: `query`, whose answers are of one shape for all kinds and levels (`Match`), and `retrieve`, which
puts a match's instances into the spool. Guarantee of every kind: an instance counts when it is on disk (fsynced); a study
is marked fetched only when `retrieve` says that it is whole; one that broke off is fetched again.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from types import TracebackType
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field

from engine.component import Name
from engine.dicom.paths import TagPath, TagPathText
from engine.model import Association, Incoming, Intake, OpenBatch
from engine.sources.base import Source

__all__ = [
    "ALWAYS_WANTED", "Attributes", "Batches", "Level", "Match", "Progress", "Query", "QuerySource", "Retrieved",
    "patients_of", "resolve_filters",
]

Level = Literal["patient", "study", "series", "instance"]
Attributes = Mapping[str, Any]
"""As `Header.as_json` writes them: `{"00100010": {"vr": "PN", "Value": ["A^B"]}}`, text decoded, sequences nested."""
Progress = Callable[[int, int | None], None]
"""Told the instances that are on disk by now, and how many there will be (None: nobody knows)."""

ALWAYS_WANTED: dict[str, tuple[str, ...]] = {
    "patient": ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    "study": (
        "StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber", "StudyDate", "StudyTime", "StudyDescription",
        "ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
    ),
    "series": (
        "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription",
        "NumberOfSeriesRelatedInstances",
    ),
    "instance": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber"),
}  # fmt: skip
"""The fields that every query of a level asks for, besides those of `Query.fields`."""

_COUNTED = {"study": "00201208", "series": "00201209"}  # Number of Study or Series Related Instances


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of a source."""

    level: Level = "study"
    filters: Mapping[str, str] = field(default_factory=dict)
    """Tag path -> text as PS3.4 C.2.2.2 matches it: a value, `DOE*`, a range `20260101-20260131`; relative dates are
    resolved already (`resolve_filters`). An empty text matches all, and asks for the field."""
    fields: tuple[str, ...] = ()
    """Tag paths wanted in the answers besides `ALWAYS_WANTED`."""
    limit: int = 0
    """At most so many matches; 0: all."""
    offset: int = 0
    """Matches to be passed over first."""

    @property
    def wanted(self) -> tuple[str, ...]:
        """Every field to be asked for, each once, in order."""
        return tuple(dict.fromkeys((*ALWAYS_WANTED[self.level], *self.filters, *self.fields)))


@dataclass(frozen=True, slots=True)
class Match:
    """One answer, of any kind and level."""

    level: Level
    attributes: Attributes

    def text(self, tag: str) -> str:
        """The first value of a top-level tag ("StudyDate" or "00080020") as text, "" when it is missing or empty."""
        flat = TagPath.parse(tag).flat
        values = self.attributes.get(f"{flat:08X}", {}).get("Value", ()) if flat is not None else ()
        return str(values[0]) if values else ""

    @property
    def study_instance_uid(self) -> str:
        return self.text("0020000D")

    @property
    def series_instance_uid(self) -> str:
        """"" above the series level."""
        return self.text("0020000E") if self.level in ("series", "instance") else ""

    @property
    def sop_instance_uid(self) -> str:
        """"" above the instance level."""
        return self.text("00080018") if self.level == "instance" else ""

    @property
    def uids(self) -> tuple[str, str, str]:
        """Study, series, instance: what tells it from all others of its source ("" for what its level does not have)."""
        return self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid

    @property
    def instances(self) -> int | None:
        """How many instances it has, None where the peer does not say."""
        if self.level == "instance":
            return 1
        text = self.text(_COUNTED[self.level]) if self.level in _COUNTED else ""
        text = text.strip()
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None

    def as_json(self) -> dict[str, Any]:
        """For the API: `{level, study_instance_uid, series_instance_uid, sop_instance_uid, instances, attributes}`."""
        study, series, instance = self.uids
        return {
            "level": self.level, "study_instance_uid": study, "series_instance_uid": series, "sop_instance_uid": instance,
            "instances": self.instances, "attributes": dict(self.attributes),
        }  # fmt: skip


def patients_of(query: Query, studies: Callable[[Query], Iterator[Match]]) -> Iterator[Match]:
    """Patients as their studies show them, each once: for peers that cannot be asked for patients. Limit and offset are
    the caller's."""
    seen = set()
    wanted = tuple(dict.fromkeys((*ALWAYS_WANTED["patient"], *query.fields)))
    for study in studies(Query("study", query.filters, wanted)):
        patient = study.text("PatientID"), study.text("IssuerOfPatientID")
        if patient not in seen:
            seen.add(patient)
            yield Match("patient", {t: v for t, v in study.attributes.items() if t[:4] == "0010" or t == "00080005"})


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What a retrieve brought."""

    received: int
    """Instances that are in the spool now."""
    expected: int | None = None
    """How many there should have been, as far as anybody said so."""
    failed: int = 0
    """Instances that the peer said it could not send."""
    words: str = ""
    """What went wrong, in the peer's words; "" when it is whole."""

    @property
    def whole(self) -> bool:
        """Whether nothing is missing: only then the match counts as fetched."""
        return not self.failed and not self.words and (self.expected is None or self.received >= self.expected)


_RELATIVE = re.compile(r"\s*(?:(today|yesterday)|([-+]?)([0-9]{1,5})([dwmy]))\s*", re.IGNORECASE)
_UNITS = {"d": 1, "w": 7, "m": 30, "y": 365}


def resolve_filters(filters: Mapping[str, str], today: date) -> dict[str, str]:
    """Filters with relative dates made absolute, for elements of VR DA and DT; other texts stay as they are.

    `-1d` is that day alone, `-7d..` from that day on, `..-1d` up to it, `-7d..-1d` both; `today`, `yesterday`; units are
    d, w (7 days), m (30), y (365). Raises ValueError for a path or a date that cannot be read.
    """
    return {path: _resolve(path, text, today) for path, text in filters.items()}


def _resolve(path: str, text: str, today: date) -> str:
    if TagPath.parse(path).vr not in ("DA", "DT"):
        return text
    first, dots, last = text.partition("..")
    if not dots:
        return _day(text, today) if _RELATIVE.fullmatch(text) else text
    if not first.strip() and not last.strip():
        raise ValueError(f"{path}: a range needs a beginning or an end, such as -7d..")
    return f"{_day(first, today)}-{_day(last, today)}"


def _day(text: str, today: date) -> str:
    text = text.strip()
    if not text or re.fullmatch(r"[0-9]{8}[0-9.]*", text):
        return text
    match = _RELATIVE.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is no date: write -1d, -2w, today or 20260131')
    if match[1]:
        back = 1 if match[1].lower() == "yesterday" else 0
    else:
        back = int(match[3]) * _UNITS[match[4].lower()] * (-1 if match[2] == "+" else 1)
    try:
        return f"{today - timedelta(days=back):%Y%m%d}"
    except OverflowError as e:
        raise ValueError(f'"{text}" is too far away') from e


def _readable(filters: dict[str, str]) -> dict[str, str]:
    resolve_filters(filters, date(2026, 1, 1))
    for path in filters:
        parsed = TagPath.parse(path)
        if parsed.is_file_meta or parsed.has_wildcard:
            raise ValueError(f"{path}: a query cannot match on it; name one element of the data set")
    return filters


Filters = Annotated[dict[TagPathText, Annotated[str, Field(max_length=1024)]], AfterValidator(_readable)]


class QuerySource(Source):
    """A source that is asked what it has, and from which what matches is fetched."""

    polls: ClassVar[bool] = True
    """Whether the poll engine and the data browser may ask it."""

    poll_seconds: int = Field(default=0, ge=0, le=604_800, examples=[300])
    """How often it is asked for what is new, in seconds; 0: only when a person asks (data browser, back-fill)."""
    level: Literal["study", "series", "instance"] = "study"
    """What one answer is, and so what is fetched at once: whole studies, series, or single instances."""
    filters: Filters = Field(default={}, examples=[{"StudyDate": "-1d..", "ModalitiesInStudy": "CT"}])
    """What is asked for: tag and value. Dates may be relative: `-1d` is yesterday, `-7d..` from seven days ago on,
    `-7d..-1d` up to yesterday; `DOE*` matches beginnings; empty: everything that the peer has."""
    quiet_seconds: float = Field(default=60.0, ge=0, le=86_400)
    """A study is fetched when its number of instances has not changed for so long; 0: at once."""
    page_size: int = Field(default=100, ge=1, le=50_000)
    """Matches asked for at a time."""
    most_matches: int = Field(default=100_000, ge=1, le=10_000_000)
    """A poll with more matches than this is ended, and says so: its filters are too wide."""
    parallel: int = Field(default=1, ge=1, le=16)
    """Retrieves at the same time."""
    per_minute: int = Field(default=0, ge=0, le=60_000)
    """Retrieves begun in a minute, at most; 0: no limit."""
    retrieve_seconds: float = Field(default=3600.0, gt=0, le=604_800)
    """How long one retrieve may take before it is broken off and tried again."""
    attempts: int = Field(default=10, ge=1, le=1000)
    """How often a study that cannot be fetched is tried, with growing pauses; then it waits for a person."""
    schedule: Name | None = Field(default=None, examples=["nights"])
    """It is asked and fetched from only while this schedule is on: off-peak hours. None: always."""

    def query(self, query: Query, stop: threading.Event) -> Iterator[Match]:
        """Ask, page by page; matches come as they arrive. Ends early when `stop` is set.

        Raises Retry when the peer cannot be reached or breaks off, Permanent when it refuses, in its own words.
        """
        raise NotImplementedError

    def retrieve(self, match: Match, intake: Intake, stop: threading.Event, progress: Progress) -> Retrieved:
        """Fetch a match's instances into the spool (`Batches` cuts them into batches). Ends early when `stop` is set.

        What was committed stays, whatever happens then: the same instance fetched again does no harm.
        Raises Retry when the peer cannot be reached or breaks off, Permanent when it refuses, in its own words.
        """
        raise NotImplementedError

    @property
    def looks_first(self) -> bool:
        """Whether the rules are to see a match's headers before it is fetched (`metadata`)."""
        return False

    def metadata(self, match: Match, stop: threading.Event) -> Iterator[Mapping[str, Any]]:
        """The headers of a match's instances without pixels, as DICOM JSON (PS3.18 F). Raises Retry and Permanent."""
        raise NotImplementedError

    def association(self, match: Match | None = None, *, source_ip: str = "") -> Association:
        """What rules see of a batch that was fetched: of a study, also how many instances gathering has to wait for."""
        study = match.instances or 0 if match is not None and match.level == "study" else 0
        return Association(source=self.name, source_kind=self.kind, source_ip=source_ip, study_instances=study)


class Batches:
    """The batches of one retrieve: cut as long ones are, sealed at the end, also when it broke off. One thread uses it.

    with Batches(intake, source.association(match)) as batches:
        incoming = batches.receive(head)
        os.write(incoming.fd, ...)
        batches.commit(incoming)
    """

    def __init__(self, intake: Intake, association: Association) -> None:
        self._intake = intake
        self._association = association
        self._batch: OpenBatch | None = None
        self.received = 0
        """Instances committed so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seal()

    def receive(self, head: bytes) -> Incoming:
        """Begin an instance: `head` is its first bytes (preamble, `DICM`, file meta). Raises OutOfSpace."""
        if self._batch is None:
            self._batch = self._intake.open(self._association)
        return self._batch.receive(head)

    def commit(self, incoming: Incoming) -> None:
        """Make it durable; a batch that is full goes on its way."""
        incoming.commit()
        self.received += 1
        if self._batch is not None and self._batch.count >= self._intake.max_instances:
            self._seal()

    def _seal(self) -> None:
        if self._batch is not None:
            self._batch.seal()
            self._batch = None
