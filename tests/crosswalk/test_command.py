"""`axiom crosswalk`, as a person or a script calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from engine.settings import Settings
from engine.store import Store
from engine.store.migration import migrate
from tests.running import ROOT


def _axiom(home: Path, url: str, *args: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"AXIOM_HOME": str(home), "AXIOM_REDIS_URL": url}
    return subprocess.run(
        [sys.executable, "-m", "engine", "crosswalk", *args], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )


def test_look_up_sync_and_status(home: Path, clean_valkey: str) -> None:
    path = home / "patients.csv"
    path.write_text("mrn,pseudonym\nP1,A1\n")
    config = Settings(home=home, redis_url=clean_valkey)
    migrate(config)
    one = {"name": "m", "source": "mrn", "match": {"PatientID": "mrn"}, "replace": {"PatientID": "pseudonym"}}
    store = Store(config)
    store.apply({"crosswalk_sources": [{"name": "mrn", "kind": "csv", "path": str(path)}], "crosswalk_maps": [one]}, author="t")
    store.close()
    assert _axiom(home, clean_valkey, "lookup", "m", "P1").stdout == "PatientID: A1\n"
    missed = _axiom(home, clean_valkey, "lookup", "m", "P2", "--json")
    assert (missed.returncode, json.loads(missed.stdout)["found"]) == (1, False)
    done = _axiom(home, clean_valkey, "sync", "m")
    assert (done.returncode, done.stdout, "1 of 1 rows" in done.stderr) == (0, "m: 1 rows are in the cache.\n", True)
    (told,) = json.loads(_axiom(home, clean_valkey, "status", "--json").stdout)["maps"]
    assert (told["state"], told["rows"]) == ("done", 1)
    wrong = _axiom(home, clean_valkey, "lookup", "none", "P1")
    assert (wrong.returncode, "there are: m" in wrong.stderr, wrong.stdout) == (1, True, "")
