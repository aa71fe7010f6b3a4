"""Typed columns of history that say all that a rule can ask of a tag, so that what-if need not read whole headers.

A column holds the tag's values, several joined by a backslash (as DICOM writes them, and no value holds one); an empty
tag is "", a missing one NULL. The flow writes them by `columns_of`, `to_sql` reads them: this is their agreement.
"""

from __future__ import annotations

from engine.dicom.header import Header
from engine.dicom.paths import TagPath

__all__ = ["COLUMNS", "column_of", "columns_of"]

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

_PATHS = {column: TagPath.parse(keyword) for column, keyword in COLUMNS.items()}
_COLUMN_OF = {path: column for column, path in _PATHS.items()}


def columns_of(header: Header) -> dict[str, str | None]:
    """The columns of one instance. Raises Hold on broken bytes, as every look at a header does."""
    out: dict[str, str | None] = {}
    for column, path in _PATHS.items():
        found = header.find(path)
        out[column] = "\\".join(map(str, found[0].values)) if found else None
    return out


def column_of(path: TagPath) -> str | None:
    """The column that tells all of a tag; None where only the header does."""
    return _COLUMN_OF.get(path)
