"""What pages, the API and commands ask of the history. Whatever a person typed is bound, never part of the SQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from engine.history.reader import Reader

__all__ = ["flow_counts", "instance_story", "instances"]

_LISTED = (
    'id, "at", batch, index, sop_instance_uid, study_instance_uid, series_instance_uid, patient_id, patient_name, '
    "accession_number, modality, study_date, study_description, series_description, source, calling_ae, received_at, "
    "bytes, outcome, held_reason"
)
_SEARCHED = (
    "patient_id", "patient_name", "accession_number", "sop_instance_uid", "study_instance_uid", "series_instance_uid",
    "study_date", "modality", "study_description", "series_description", "source", "calling_ae",
)  # fmt: skip


def flow_counts(reader: Reader, since: datetime) -> dict[str, Any]:
    """What came, what was decided and where it went since then: the numbers of the flow picture.

    `sources` [{source, received, held, unmatched, bytes}], `source_rule` [{source, rule, state, count}], `rule_destination`
    [{rule, destination, confirmed, retried, refused}] (a rule is `ruleset/rule`; an instance counts once for each
    delivery however often it was tried), `per_minute` [{at, received, delivered}] and `totals` {received, held,
    unmatched, delivered, refused}.
    """
    since = since.astimezone(UTC)
    bound = {"since": since, "day": since.date()}
    sources = reader.rows(
        """
        SELECT source, count(*) AS received, count(*) FILTER (outcome = 'held') AS held,
               count(*) FILTER (outcome = 'unmatched') AS unmatched, coalesce(sum(bytes), 0)::BIGINT AS bytes
        FROM instances WHERE day >= $day AND coalesce(received_at, "at") >= $since
        GROUP BY source ORDER BY source
        """,
        bound,
    )
    source_rule = reader.rows(
        """
        SELECT i.source, d.ruleset || '/' || d.rule AS rule, d.state, count(*) AS count
        FROM decisions d JOIN instances i ON i.batch = d.batch AND i.index = d.index
        WHERE d.matched AND d.day >= $day AND i.day >= $day
          AND coalesce(i.received_at, i."at") >= $since
        GROUP BY ALL ORDER BY ALL
        """,
        bound,
    )
    rule_destination = reader.rows(
        """
        WITH fates AS (
            SELECT branch, destination, delivery, batch, index, bool_or(outcome = 'confirmed') AS confirmed,
                   bool_or(outcome = 'retry') AS retried, bool_or(outcome IN ('refused', 'dead')) AS refused
            FROM deliveries WHERE day >= $day AND "at" >= $since AND index >= 0 GROUP BY ALL)
        SELECT branch AS rule, destination, count(*) FILTER (confirmed) AS confirmed,
               count(*) FILTER (retried) AS retried, count(*) FILTER (refused AND NOT confirmed) AS refused
        FROM fates GROUP BY ALL ORDER BY ALL
        """,
        bound,
    )
    totals = {k: sum(row[k] for row in sources) for k in ("received", "held", "unmatched")}
    totals["delivered"] = sum(row["confirmed"] for row in rule_destination)
    totals["refused"] = sum(row["refused"] for row in rule_destination)
    return {
        "sources": sources,
        "source_rule": source_rule,
        "rule_destination": rule_destination,
        "per_minute": _per_minute(reader, bound),
        "totals": totals,
    }


def _per_minute(reader: Reader, bound: dict[str, Any]) -> list[dict[str, Any]]:
    return reader.rows(
        """
        SELECT minute AS "at", sum(received)::BIGINT AS received, sum(delivered)::BIGINT AS delivered FROM (
            SELECT date_trunc('minute', coalesce(received_at, "at")) AS minute, count(*) AS received, 0 AS delivered
            FROM instances WHERE day >= $day AND coalesce(received_at, "at") >= $since GROUP BY ALL
            UNION ALL
            SELECT date_trunc('minute', "at"), 0, count(*)
            FROM (SELECT min("at") AS "at" FROM deliveries
                  WHERE day >= $day AND "at" >= $since AND index >= 0 AND outcome = 'confirmed'
                  GROUP BY delivery, batch, index)
            GROUP BY ALL)
        GROUP BY minute ORDER BY minute
        """,
        bound,
    )


def instances(reader: Reader, text: str, limit: int = 100, *, mask: bool = False) -> list[dict[str, Any]]:
    """Instances received that hold every word of the text, in any letter case, the newest first; no text: the newest.

    Looked at are the patient's name and ID, accession number, the UIDs, study date (20260105 or 2026-01-05), modality,
    descriptions, source and calling AE. With `mask` the patient's values are hidden, also from the search.
    """
    words = [_as_dicom_date(word) for word in text.lower().split()]
    tests = [
        "(" + " OR ".join(f"contains(lower({column}), $w{i})" for column in _SEARCHED) + ")" for i in range(len(words))
    ]
    sql = f'SELECT {_LISTED} FROM instances WHERE {" AND ".join(tests) or "true"} ORDER BY "at" DESC, index DESC LIMIT {int(limit)}'  # noqa: S608, E501
    return reader.rows(sql, {f"w{i}": word for i, word in enumerate(words)} or None, limit=limit, mask=mask)


def _as_dicom_date(word: str) -> str:
    found = re.fullmatch(r"(\d{4})-(\d{2})-(\d{2})", word)
    return "".join(found.groups()) if found else word


def instance_story(reader: Reader, sop_instance_uid: str, *, mask: bool = False) -> dict[str, Any]:
    """Everything that happened to an instance, by its UID as received or as sent: one item for each reception.

    {sop_instance_uid, receptions: [{...instance, header, decisions: [...], changes: [...], deliveries: [...]}]}, the
    newest reception first; `receptions` is empty when the history does not know it. `header` is JSON as an object.
    """
    sent_as = reader.rows(
        "SELECT DISTINCT batch || '/' || index AS id FROM deliveries WHERE sop_instance_uid = $uid AND index >= 0",
        {"uid": sop_instance_uid},
    )
    bound: dict[str, Any] = {"uid": sop_instance_uid}
    test = "sop_instance_uid = $uid"
    if sent_as:
        bound["ids"] = [row["id"] for row in sent_as]
        test += " OR list_contains($ids::VARCHAR[], batch || '/' || index)"
    sql = f'SELECT * FROM instances WHERE {test} ORDER BY "at" DESC LIMIT 100'  # noqa: S608  (our own text)
    found = reader.rows(sql, bound, mask=mask)
    for one in found:
        here = {"batch": one["batch"], "index": one["index"]}
        header = one.get("header")
        one["header"] = orjson.loads(header) if header and header != "***" else None
        one["decisions"] = reader.rows(
            'SELECT * FROM decisions WHERE batch = $batch AND index = $index ORDER BY "at", ruleset, rule',
            here,
            mask=mask,
        )
        one["changes"] = reader.rows(
            'SELECT * FROM changes WHERE batch = $batch AND index = $index ORDER BY "at", ruleset, rule, id',
            here,
            mask=mask,
        )
        one["deliveries"] = _attempts(reader, here, one["decisions"], mask)
    return {"sop_instance_uid": sop_instance_uid, "receptions": found}


def _attempts(
    reader: Reader, here: dict[str, Any], decisions: Sequence[dict[str, Any]], mask: bool
) -> list[dict[str, Any]]:
    """The instance's own attempts, and the whole-delivery lines (index -1) of the branches that it is part of."""
    branches = [f"{d['ruleset']}/{d['rule']}" for d in decisions if d["matched"]]
    return reader.rows(
        """
        SELECT * FROM deliveries
        WHERE batch = $batch AND (index = $index OR (index = -1 AND list_contains($branches::VARCHAR[], branch)))
        ORDER BY "at", destination, attempt
        """,
        here | {"branches": branches},
        mask=mask,
    )
