"""The workbench's log lines in the engine's form: JSON where AXIOM_LOG_FORMAT says so, with the same keys."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime

import streamlit.logger

__all__ = ["JsonLines", "setup_logging"]


class JsonLines(logging.Formatter):
    """A line of JSON a record: `event level logger timestamp process`, and `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "process": "workbench",
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def setup_logging() -> None:
    """Give every logger of this process, Streamlit's own and its server's among them, one handler and one form."""
    if os.environ.get("AXIOM_LOG_FORMAT") != "json":
        return
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(os.environ.get("AXIOM_LOG_LEVEL", "INFO").upper())
    logging.captureWarnings(True)

    def hand_up(logger: logging.Logger) -> None:
        logger.handlers[:] = []
        logger.propagate = True

    # Streamlit gives each of its loggers a handler of its own when it makes one: from now on it does so by this.
    streamlit.logger.setup_formatter = hand_up
    streamlit.logger.update_formatter()
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "streamlit"):
        hand_up(logging.getLogger(name))
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)  # addresses may name patients
