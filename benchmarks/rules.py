"""What rules cost: deciding and changing a CT image, and asking history what a draft would have done.

    python benchmarks/rules.py [--rounds 300] [--rows 1000000]

1. 20 rules of 5 leaves and 4 changes with the real rulebook and morphs, against dcmread, the same changes and save_as.
2. What-if over synthetic history (Parquet), against the same question as SQL written by hand.
Ratios within one run; medians of several.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import duckdb
import pydicom
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks.header_edit import ct
from engine.configuration import load_configuration
from engine.dicom.header import Header
from engine.model import Association, Change
from engine.morphs.apply import change
from engine.rules.decide import Rulebook
from engine.rules.model import Rule, Ruleset
from engine.rules.whatif import what_if

NOW = datetime.now(UTC)
SENDER = Association("modalities", "dimse_listener", "CT01", "AXIOM", "10.1.2.3")
MORPHS = [
    {"kind": "set", "tag": "InstitutionName", "value": "Axiom"},
    {"kind": "prepend", "tag": "PatientID", "value": "H1-"},
    {"kind": "set", "tag": "StationName", "value": "CT7"},
    {"kind": "delete", "tag": "PatientAge"},
]


def _rule(number: int, **more: Any) -> dict[str, Any]:
    """Five leaves; all hold but the last, save in the last rule."""
    last = (
        {"tag": "PatientID", "op": "not_regex", "value": "^TEST"}
        if more
        else {"tag": "PatientID", "op": "eq", "value": str(number)}
    )
    leaves = [
        {"tag": "Modality", "op": "in", "value": ["CT", "PT"]},
        {"tag": "SliceThickness", "op": "gt", "value": number / 100},
        {"tag": "StudyDate", "op": "ge", "value": f"200{number % 4}"},
        {"tag": "Rows", "op": "ge", "value": number},
        last,
    ]
    return {"name": f"r{number}", "priority": number, "destinations": ["d"], "when": {"all": leaves}, **more}


def decide_and_change(rounds: int) -> None:
    rules = [_rule(n) for n in range(19)] + [_rule(19, morphs=MORPHS)]
    document = {
        "destinations": [{"name": "d", "kind": "nothing"}],
        "rulesets": [{"name": "main", "priority": 1, "rules": rules}],
    }
    book = Rulebook(load_configuration(document).rulesets, [])

    def changer(rule: Rule, header: Header) -> tuple[Header, tuple[Change, ...], tuple[str, ...]]:
        changed = change(header, rule.morphs, original_attributes=True, system="AXIOM", at=NOW)
        return changed.header, changed.changes, changed.warnings

    with tempfile.TemporaryDirectory() as folder:
        path = ct(Path(folder) / "ct.dcm", ExplicitVRLittleEndian)

        def ours() -> None:
            (branch,) = book.decide(Header.read(path), SENDER, NOW, changer).branches
            assert len(branch.changes) == 4

        def theirs() -> None:
            ds = pydicom.dcmread(path)
            ds.InstitutionName, ds.PatientID, ds.StationName = "Axiom", f"H1-{ds.PatientID}", "CT7"
            del ds.PatientAge
            ds.save_as(BytesIO())

        a, b = _median(ours, rounds), _median(theirs, rounds)
    ours_theirs = f"{a * 1e6:.0f} us; dcmread, change, save_as: {b * 1e6:.0f} us; {b / a:.1f}x"
    print(f"decide (20 rules of 5 leaves) and change (4): {ours_theirs}")


def ask_history(rows: int) -> None:
    connection = duckdb.connect()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "instances.parquet"
        connection.execute(
            f"""COPY (SELECT 'b/' || i AS id, '1.2.' || i AS sop_instance_uid, 'P' || (i % 5000) AS patient_id,
            'Doe^' || (i % 100) AS patient_name, 'A' || i AS accession_number, ['CT', 'MR', 'US'][1 + i % 3] AS modality,
            '20240101' AS study_date, 'study ' || (i % 50) AS study_description, 'series ' || (i % 50) AS series_description,
            'modalities' AS source, 'dimse_listener' AS source_kind, 'CT0' || (i % 9) AS calling_ae,
            '10.1.2.' || (i % 255) AS source_ip,
            TIMESTAMPTZ '2026-01-01' + to_seconds(i) AS received_at, 'routed' AS outcome, NULL::VARCHAR AS header
            FROM range({rows}) t(i)) TO '{file}' (COMPRESSION zstd)"""
        )
        connection.execute(f"CREATE VIEW instances AS FROM '{file}'")
        when = [
            {"tag": "Modality", "op": "eq", "value": "CT"},
            {"not": {"tag": "PatientID", "op": "startswith", "value": "P1"}},
            {"tag": "SeriesDescription", "op": "contains", "value": "5"},
        ]
        draft = Rule.model_validate({"name": "draft", "priority": 1, "when": {"all": when}})
        live = [Ruleset(name="m", priority=1, rules=[draft.model_copy(update={"when": draft.when.all[0]})])]  # type: ignore[union-attr]
        by_hand = """SELECT modality, source, outcome, modality = 'CT' AND NOT starts_with(patient_id, 'P1')
            AND contains(series_description, '5') AS draft, modality = 'CT' AS live, count(*) FROM instances GROUP BY ALL"""
        a = _median(lambda: what_if(draft, live, [], lambda sql: connection.sql(sql).to_arrow_table(), samples=0), 5)
        b = _median(lambda: connection.execute(by_hand).fetchall(), 5)
    print(f"what-if over {rows:,} rows: {a * 1e3:.0f} ms; by hand: {b * 1e3:.0f} ms; {a / b:.2f} of its time")


def _median(work: Callable[[], object], rounds: int) -> float:
    work()
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    decide_and_change(arguments.rounds)
    ask_history(arguments.rows)
