"""The views of the history and their columns: one table that writing, sealing and reading all follow.

Types are `text`, `int`, `real`, `flag`, `time` (UTC, microseconds) and `texts` (a list). Columns are only ever added:
older files answer NULL for a new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DUCKDB_TYPES", "VIEWS", "schema"]

_EVERY = {"id": "text", "at": "time", "node": "text", "replayed": "flag"}
_INSTANCE = {"batch": "text", "index": "int", "sop_instance_uid": "text"}

VIEWS: dict[str, dict[str, str]] = {
    "instances": _EVERY
    | _INSTANCE
    | {
        "sop_class_uid": "text",
        "transfer_syntax_uid": "text",
        "study_instance_uid": "text",
        "series_instance_uid": "text",
        "patient_id": "text",
        "patient_name": "text",
        "accession_number": "text",
        "modality": "text",
        "study_date": "text",
        "study_description": "text",
        "series_description": "text",
        "station_name": "text",
        "manufacturer": "text",
        "institution_name": "text",
        "body_part_examined": "text",
        "source": "text",
        "source_kind": "text",
        "calling_ae": "text",
        "called_ae": "text",
        "source_ip": "text",
        "user": "text",
        "tls_subject": "text",
        "received_at": "time",
        "routed_at": "time",
        "bytes": "int",
        "revision": "int",
        "outcome": "text",
        "duplicate": "text",
        "held_reason": "text",
        "header": "text",
    },
    "decisions": _EVERY
    | _INSTANCE
    | {
        "ruleset": "text",
        "rule": "text",
        "state": "text",
        "matched": "flag",
        "reasons": "texts",
        "destinations": "texts",
        "revision": "int",
    },
    "changes": _EVERY
    | _INSTANCE
    | {
        "ruleset": "text",
        "rule": "text",
        "state": "text",
        "path": "text",
        "tag": "text",
        "vr": "text",
        "before": "text",
        "after": "text",
        "morph": "text",
        "carries": "flag",
    },
    "deliveries": _EVERY
    | {
        "delivery": "text",
        "batch": "text",
        "branch": "text",
        "destination": "text",
        "destination_kind": "text",
        "attempt": "int",
        "index": "int",
        "sop_instance_uid": "text",
        "outcome": "text",
        "code": "text",
        "words": "text",
        "location": "text",
        "seconds": "real",
        "bytes": "int",
    },
    "queries": _EVERY
    | {
        "source": "text",
        "level": "text",
        "found": "int",
        "queued": "int",
        "processed": "int",
        "failed": "int",
        "words": "text",
    },
    "audit": _EVERY
    | {
        "who": "text",
        "action": "text",
        "family": "text",
        "name": "text",
        "detail": "text",
        "revision": "int",
        "address": "text",
    },
}
"""View -> column -> type, in the order in which people see them."""

DUCKDB_TYPES = {
    "text": "VARCHAR",
    "int": "BIGINT",
    "real": "DOUBLE",
    "flag": "BOOLEAN",
    "time": "TIMESTAMPTZ",
    "texts": "VARCHAR[]",
}


def schema(view: str) -> pa.Schema:
    """The Arrow schema of a view's Parquet files."""
    import pyarrow as pa

    types = {
        "text": pa.string(),
        "int": pa.int64(),
        "real": pa.float64(),
        "flag": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
        "texts": pa.list_(pa.string()),
    }
    return pa.schema([(name, types[kind]) for name, kind in VIEWS[view].items()])
