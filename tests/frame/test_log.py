"""Log lines: for people or machines, with what they belong to, and without anything of a patient."""

from __future__ import annotations

import json
import subprocess
import sys

CODE = """
import logging, sys, warnings
import structlog
from engine.log import bind, clear, setup_logging
setup_logging({format!r}, {level!r}, process="engine")
bind(batch="b-1", association="a-7")
structlog.get_logger("flow").info("routed", patient_id="P4711", PatientName="Doe^Jane", count=3, accession_number="A1B2")
logging.getLogger("std").warning("plain %s", "words", extra={{"birth_date": "19700101"}})
clear("batch")
logging.getLogger("pynetdicom.acse").info("noise")
logging.getLogger("std").debug("too much")
import pydicom
from pydicom.dataset import Dataset
ds = Dataset()
ds.PatientID = "9" * 70
ds.add_new(0x00100020, "LO", "8" * 70)
logging.getLogger("pydicom").warning("Doe^John")
try:
    raise ValueError("oops")
except ValueError:
    logging.getLogger("std").exception("went wrong")
"""


def run(log_format: str, level: str = "info") -> str:
    code = CODE.format(format=log_format, level=level)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr


def test_lines_for_machines_are_json_with_their_correlation():
    lines = [json.loads(line) for line in run("json").splitlines()]
    assert [line["event"] for line in lines] == ["routed", "plain words", "went wrong"]
    first = lines[0]
    assert (first["batch"], first["association"], first["process"], first["count"]) == ("b-1", "a-7", "engine", 3)
    assert (first["level"], first["logger"]) == ("info", "flow")
    assert first["timestamp"].endswith("Z")
    assert "batch" not in lines[2]
    assert "ValueError: oops" in lines[2]["exception"]


def test_nothing_of_a_patient_is_logged():
    for log_format in ("json", "console"):
        text = run(log_format, "debug")
        # longer than what a moment of a line may happen to hold
        for secret in ("P4711", "Doe", "A1B2", "19700101", "9" * 12, "8" * 12):
            assert secret not in text, text
        assert "(not logged)" in text


def test_lines_for_people_have_no_colours_in_a_file():
    text = run("console")
    assert "\x1b[" not in text
    assert "routed" in text
    assert "batch=b-1" in text


def test_levels_are_kept():
    assert "too much" not in run("console")
    assert "too much" in run("console", "debug")
