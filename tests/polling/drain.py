"""The poll job as a process of its own, to be killed: `python -m tests.polling.drain HOME`."""

from __future__ import annotations

import sys
from pathlib import Path

from engine.jobs.polling import drain_polls
from tests.polling.support import Site

if __name__ == "__main__":
    drain_polls(Site(Path(sys.argv[1])).context)
