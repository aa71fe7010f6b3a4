"""Logging: structlog over the standard library's, for people (console) or machines (JSON lines), to stderr.

Nothing of a patient goes into a log: instances are named by batch and index or by UID. As a second line of defence,
fields that hold patient data by their name are blanked, and pydicom's warnings, which quote values, are dropped.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator, MutableMapping
from datetime import UTC, datetime
from typing import Any

import structlog

__all__ = ["bind", "bound", "clear", "json_line", "setup_logging"]

_PATIENT = re.compile(r"patient|birth|accession|physician|person_?name|other_?names|mrn", re.IGNORECASE)

_VALKEY = re.compile(r"\d+:\w+ \d+ \w+ \d+ [\d:.]+ ([.*#-]) (.*)")
"""`4603:M 24 Nov 2026 15:19:35.690 * Ready to accept connections`: pid and role, time, level, words."""
_LEVELS = {".": "debug", "-": "debug", "*": "info", "#": "warning"}


def setup_logging(log_format: str = "console", level: str = "INFO", process: str = "") -> None:
    """Set up this process's logging, once, at its start. `process` names it in every line (`engine`, `api`, ...)."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _named(process),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _blank_patient_data,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(log_format)],
        )
    )
    handler.addFilter(_not_quoting_values)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    for noisy in ("pynetdicom", "httpx", "httpcore", "google", "rq.worker", "watchdog", "alembic"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def _renderers(log_format: str) -> list[Any]:
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


def json_line(process: str, text: str) -> str:
    """A line that a foreign program (Valkey) wrote, in the form of ours: the same keys, its own words."""
    found = _VALKEY.fullmatch(text)
    level, words = (_LEVELS[found[1]], found[2]) if found else ("info", text)
    at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({"event": words, "level": level, "logger": process, "timestamp": at, "process": process})


def bind(**fields: Any) -> None:
    """Fields for every further line of this thread or task: `bind(batch=..., delivery=..., association=...)`."""
    structlog.contextvars.bind_contextvars(**fields)


@contextlib.contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Fields for every line of this block, which the lines of one image's way are found by: `association`, `batch`,
    `delivery`. Blocks may stand in one another."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield


def clear(*names: str) -> None:
    """Forget fields given to `bind`."""
    structlog.contextvars.unbind_contextvars(*names)


def _named(process: str) -> Callable[[Any, str, MutableMapping[str, Any]], MutableMapping[str, Any]]:
    """The process's name in every line: not by `bind`, which other threads do not see."""

    def add(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if process:
            event["process"] = process
        return event

    return add


def _blank_patient_data(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in event:
        if key != "event" and _PATIENT.search(key):
            event[key] = "(not logged)"
    return event


def _not_quoting_values(record: logging.LogRecord) -> bool:
    return not (record.name == "pydicom" or (record.name == "py.warnings" and "pydicom" in record.getMessage()))
