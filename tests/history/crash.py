"""Run as a program: do one thing to a history folder and die, by SIGKILL, at its n-th change of the disk.

python -m tests.history.crash FOLDER seal|compact N        exit status 0: it was done before the n-th change
python -m tests.history.crash FOLDER write COUNT           writes COUNT rows, one call each, saying each one's number
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from engine.history import Recorder, compact, seal

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}


def die_at(number: int) -> None:
    seen = [0]

    def hook(event: str, args: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or writes:
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def main(folder: Path, what: str, number: int) -> None:
    if what == "write":
        recorder = Recorder(folder)
        for i in range(number):
            recorder.write("instances", [{"id": f"w/{i}/{k}", "patient_name": "Ä" * 400} for k in range(5)])
            print(i, flush=True)
        return
    import pyarrow.parquet  # noqa: F401  (what importing opens is none of our changes)

    die_at(number)
    if what == "seal":
        seal(folder)
    else:
        compact(folder, grace_s=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
