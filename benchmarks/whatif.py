"""What asking history about drafted rules costs, over Parquet files through the reader that the API asks by.

    python benchmarks/whatif.py [--rows 10000000] [--headers 1000000] [--rounds 7]

1. Three leaves on typed columns, against the same question as SQL written by hand. Rounds alternate, ratios are of
   neighbours and of processor time (all threads), and their median is what counts: so it holds on a loaded machine too,
   where the clock on the wall tells of the others. It must be at most 2.
2. Twenty leaves (sequences, private elements, regular expressions, numbers, dates) over whole headers (4.6 kB of JSON each, no
   two alike) that satisfy all of them, so that none is spared.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import orjson
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks.header_edit import ct
from engine.dicom.header import Header
from engine.history import Reader
from engine.rules.model import Rule, Ruleset
from engine.rules.whatif import WhatIf, what_if

LIMIT = 2.0
FILE = 1_000_000
"""Rows of a file."""
SIMPLE = [
    {"tag": "Modality", "op": "eq", "value": "CT"},
    {"not": {"tag": "PatientID", "op": "startswith", "value": "P1"}},
    {"tag": "SeriesDescription", "op": "contains", "value": "5"},
]
BY_HAND = """SELECT modality, source, outcome, modality = 'CT' AND NOT starts_with(patient_id, 'P1')
    AND contains(series_description, '5') AS draft, modality = 'CT' AS live, count(*) FROM instances GROUP BY ALL"""
TWENTY = [
    {"tag": "RequestAttributesSequence[*].ScheduledProcedureStepID", "op": "regex", "value": "^S[0-9]"},
    {"tag": "RequestAttributesSequence[0].RequestedProcedureID", "op": "eq", "value": "R1"},
    {"tag": "OtherPatientIDsSequence[*].PatientID", "op": "contains", "value": "ABC"},
    {"tag": "OtherPatientIDsSequence[1].TypeOfPatientID", "op": "eq", "value": "TEXT"},
    {"tag": '(0009,"GEMS_IDEN_01",02)', "op": "startswith", "value": "CT"},
    {"tag": "ScanOptions", "op": "regex", "value": "HELIC.* MODE$"},
    {"tag": "ConvolutionKernel", "op": "not_regex", "value": "^(BONE|LUNG)"},
    {"tag": "ImageType", "op": "eq", "value": "ORIGINAL"},
    {"tag": "ImageType", "op": "not_in", "value": ["LOCALIZER", "SCOUT"]},
    {"tag": "SliceThickness", "op": "le", "value": 6},
    {"tag": "KVP", "op": "ge", "value": 80},
    {"tag": "KVP", "op": "le", "value": 140},
    {"tag": "Rows", "op": "ge", "value": 256},
    {"tag": "AcquisitionTime", "op": "lt", "value": "23"},
    {"tag": "AcquisitionDate", "op": "ge", "value": "1990"},
    {"not": {"tag": "PatientComments", "op": "exists"}},
    {"any": [{"tag": "FilterType", "op": "contains", "value": "BOWTIE"}, {"tag": "FilterType", "op": "not_exists"}]},
    {"tag": "PatientName", "op": "regex", "value": "^DOE"},
    {"tag": "StationName", "op": "startswith", "value": "CT"},
    {"tag": "Modality", "op": "in", "value": ["CT", "PT"]},
]


def make(history: Path, rows: int, header: str) -> None:
    """Instances as history's files hold them. `header`: SQL that makes each row's, of its number `i`."""
    with duckdb.connect(config={"memory_limit": "4GB", "threads": 2}) as connection:
        for first in range(0, rows, FILE):
            folder = history / "instances" / f"day=2026-01-{1 + first // FILE:02}"
            folder.mkdir(parents=True)
            connection.execute(
                f"""COPY (SELECT 'b/' || i AS id, '1.2.' || i AS sop_instance_uid, 'P' || (i % 5000) AS patient_id,
                'DOE^' || (i % 5000) AS patient_name, 'A' || (i // 200) AS accession_number,
                {"['CT', 'MR', 'US'][1 + i % 3]" if header == "NULL" else "'CT'"} AS modality, '20240101' AS study_date,
                'study ' || (i % 50) AS study_description, 'series ' || (i % 50) AS series_description,
                'CT0' || (i % 9) AS station_name, 'modalities' AS source, 'dimse_listener' AS source_kind,
                'CT0' || (i % 9) AS calling_ae, '10.1.2.' || (i % 255) AS source_ip,
                TIMESTAMPTZ '2026-01-01' + to_seconds(i) AS received_at, 'routed' AS outcome, {header}::VARCHAR AS header
                FROM range({first}, {min(rows, first + FILE)}) t(i)) TO '{folder}/made.parquet' (COMPRESSION zstd)"""
            )


def rule(name: str, leaves: Any) -> Rule:
    return Rule.model_validate({"name": name, "priority": 1, "when": {"all": leaves}})


def ask(reader: Reader, leaves: Any) -> WhatIf:
    """The draft against live rules that ask the first leaf alone."""
    live = [Ruleset(name="m", priority=1, rules=[rule("live", leaves[:1])])]
    return what_if(rule("draft", leaves), live, [], lambda sql: reader.query(sql, limit=None, timeout_s=600), samples=0)


class Took(NamedTuple):
    """Seconds."""

    wall: float
    processor: float


def took(work: Callable[[], object]) -> Took:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - wall, time.process_time() - processor)


def against_sql_by_hand(history: Path, rows: int, rounds: int) -> float:
    make(history, rows, "NULL")
    reader = Reader(history)
    answer, rowset = ask(reader, SIMPLE), reader.rows(BY_HAND)
    by_hand = sum(row["count_star()"] for row in rowset if row["draft"])
    assert answer.total.draft == by_hand, f"{answer.total.draft} are not the {by_hand} counted by hand"
    pairs = [(took(lambda: ask(reader, SIMPLE)), took(lambda: reader.rows(BY_HAND))) for _ in range(rounds)]
    ratio = statistics.median(a.processor / b.processor for a, b in pairs)
    ours, theirs = (statistics.median(one.wall for one in side) * 1e3 for side in zip(*pairs, strict=True))
    words = f"{ours:.0f} ms; by hand: {theirs:.0f} ms; {ratio:.2f} of its processor time (at most {LIMIT:g})"
    print(f"what-if over {rows:,} rows: {words}", flush=True)
    return ratio


def over_headers(history: Path, rows: int) -> None:
    history.mkdir(parents=True)
    image = Header.read(ct(history.parent / "ct.dcm", ExplicitVRLittleEndian))
    text = orjson.dumps(image.as_json()).decode().replace("'", "''")
    assert '"1CT1"' in text
    make(history, rows, f"""replace('{text}', '"1CT1"', '"P' || i || '"')""")
    reader = Reader(history)
    answers: list[WhatIf] = []
    spent = took(lambda: answers.append(ask(reader, TWENTY)))
    assert answers[0].total.draft == rows, "every header satisfies every leaf"
    scan = took(lambda: reader.rows("SELECT sum(length(header)) AS n FROM instances"))
    words = f"{spent.wall:.1f} s ({spent.processor:.1f} s of processor time); only reading them: {scan.wall:.1f} s"
    print(f"what-if of {len(TWENTY)} leaves over {rows:,} whole headers: {words}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--headers", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ratio = against_sql_by_hand(Path(folder) / "columns" / "history", options.rows, options.rounds)
        over_headers(Path(folder) / "headers" / "history", options.headers)
    raise SystemExit(f"what-if takes {ratio:.2f} of the time of SQL by hand" if ratio > LIMIT else 0)


if __name__ == "__main__":
    main()
