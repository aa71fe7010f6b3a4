"""Typed columns of history that say all that a rule can ask of a tag, so that what-if need not read whole headers.

A column holds the tag's values, several joined by a backslash (as DICOM writes them, and no value holds one); an empty
tag is "", a missing one NULL (and so is one that a file declares to be bytes: nothing but its being there can be asked).
The flow writes them by `columns_of`, `to_sql` reads them: this is their agreement.
"""

from __future__ import annotations

from engine.dicom.header import Header
from engine.dicom.paths import TagPath
from engine.rules.kinds import KINDS

__all__ = ["COLUMNS", "column_of", "columns_of", "value_of"]

COLUMNS = {
    "study_instance_uid": "StudyInstanceUID",
    "series_instance_uid": "SeriesInstanceUID",
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "accession_number": "AccessionNumber",
    "modality": "Modality",
    "study_date": "StudyDate",
    "study_description": "StudyDescription",
    "series_description": "SeriesDescription",
    "station_name": "StationName",
    "manufacturer": "Manufacturer",
    "institution_name": "InstitutionName",
    "body_part_examined": "BodyPartExamined",
}
"""Column -> the tag that it shows."""

_READABLE = frozenset(vr for kind in KINDS if kind.text for vr in kind.vrs)
_PATHS = {column: TagPath.parse(keyword) for column, keyword in COLUMNS.items()}
_COLUMN_OF = {path: column for column, path in _PATHS.items()}


def columns_of(header: Header) -> dict[str, str | None]:
    """The columns of one instance. Raises Hold on broken bytes, as every look at a header does."""
    return {column: value_of(header, column) for column in COLUMNS}


def value_of(header: Header, column: str) -> str | None:
    """One of the columns."""
    found = header.find(_PATHS[column])
    return "\\".join(map(str, found[0].values)) if found and found[0].vr in _READABLE else None


def column_of(path: TagPath) -> str | None:
    """The column that tells all of a tag; None where only the header does."""
    return _COLUMN_OF.get(path)
