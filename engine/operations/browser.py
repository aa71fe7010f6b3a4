"""The data browser: what archives and DICOMweb servers have, asked by a person; and what they choose of it, routed.

A peer that is slow or silent holds one thread of the few that may ask, never a request for longer than was allowed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from engine.dicom.identity import may_identify
from engine.dicom.paths import TagPath
from engine.errors import AxiomError, Conflict, Denied, Invalid, Missing, Permanent, Problem, Retry
from engine.jobs.poll_times import today
from engine.sources._query import Level, Match, Query, QuerySource, resolve_filters

if TYPE_CHECKING:
    from engine.operations import Operations

__all__ = ["MASK", "TIMED_OUT", "Asking", "query", "route", "sources"]

log = logging.getLogger(__name__)

MASK = "***"
TIMED_OUT = "timed-out"
"""The code of the Retry that says that a peer took too long."""
MOST_ROUTED = 5000
_AT_ONCE, _AT_ONCE_A_SOURCE = 12, 4
_PATIENTS_EXPANDED = 1000


class Asking:
    """How many questions of people run at the same time, in all and a source: a silent peer must not take all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, int] = {}

    def enter(self, source: str) -> None:
        """Raises Retry when there are too many; else `leave` has to follow."""
        with self._lock:
            here = self._running.get(source, 0)
            if here >= _AT_ONCE_A_SOURCE or sum(self._running.values()) >= _AT_ONCE:
                raise Retry(f"{here} questions to {source} have no answer yet: wait until they end, and ask again.", after=5)
            self._running[source] = here + 1

    def running(self, source: str) -> int:
        with self._lock:
            return self._running.get(source, 0)

    def leave(self, source: str) -> None:
        with self._lock:
            self._running[source] -= 1


def sources(ops: Operations) -> list[dict[str, Any]]:
    """The sources that can be asked: `{name, kind, label, enabled, description}`."""
    return [
        {"name": s.name, "kind": s.kind, "label": s.label or s.kind, "enabled": s.enabled, "description": s.description}
        for s in ops.store.live().configuration.sources
        if isinstance(s, QuerySource)
    ]


def _source(ops: Operations, name: str) -> QuerySource:
    source = ops.store.live().configuration.source(name)
    if source is None:
        known = ", ".join(s["name"] for s in sources(ops)) or "none yet"
        raise Missing(f"There is no source called {name}; those that can be asked: {known}.")
    if not isinstance(source, QuerySource):
        raise Invalid([Problem(("source",), f"{name} is a {source.kind}, which receives and cannot be asked.")])
    return source


def query(
    ops: Operations, name: str, level: str, filters: Mapping[str, str], fields: Sequence[str] = (), *, limit: int,
    offset: int = 0, seconds: float = 30.0, mask: bool = False,
) -> dict[str, Any]:
    """`{source, level, offset, limit, matches, more, words, seconds}`: `more` tells that there are more than `limit`,
    `words` why the answer is not whole.

    Raises Missing, Invalid, Denied (masked callers who ask by patient), Retry and Permanent in the peer's words; a Retry
    whose code is TIMED_OUT when nothing came in time.
    """  # fmt: skip
    source = _source(ops, name)
    asked = _query(level, filters, fields, limit + 1, offset)
    if mask:
        _allow_masked(asked)
    begun = time.monotonic()
    found, words = _ask(ops.asking, source, asked, seconds)
    matches = [one.as_json() for one in found[:limit]]
    if mask:
        matches = [{**one, "attributes": _masked(one["attributes"])} for one in matches]
    return {
        "source": name, "level": level, "offset": offset, "limit": limit, "matches": matches, "more": len(found) > limit,
        "words": words, "seconds": round(time.monotonic() - begun, 3),
    }  # fmt: skip


def _query(level: str, filters: Mapping[str, str], fields: Sequence[str], limit: int, offset: int) -> Query:
    problems = []
    if level not in get_args(Level):
        problems.append(Problem(("level",), f"A level is one of {', '.join(get_args(Level))}."))
    for place, paths in (("filters", list(filters)), ("fields", list(fields))):
        for path in paths:
            try:
                parsed = TagPath.parse(path)
                if parsed.is_file_meta or parsed.has_wildcard:
                    problems.append(Problem((place, path), "A query names one element of the data set."))
            except ValueError as e:
                problems.append(Problem((place, path), f"{e}."))
    if not problems:
        try:
            filters = resolve_filters({path: text.strip() for path, text in filters.items()}, today())
        except ValueError as e:
            problems.append(Problem(("filters",), f"{e}."))
    if problems:
        raise Invalid(problems)
    return Query(level, dict(filters), tuple(fields), limit, offset)  # type: ignore[arg-type]


def _ask(asking: Asking, source: QuerySource, asked: Query, seconds: float) -> tuple[list[Match], str]:
    """The matches that came in time, and why there may be more. In a thread that is left behind when it is late."""
    found: list[Match] = []
    failed: list[Exception] = []
    over, stop = threading.Event(), threading.Event()

    def work() -> None:
        try:
            for match in source.query(asked, stop):
                found.append(match)
                if stop.is_set() or len(found) >= asked.limit:
                    break
        except Exception as e:  # noqa: BLE001  (handed to who asked)
            failed.append(e)
        finally:
            asking.leave(source.name)
            over.set()

    asking.enter(source.name)
    threading.Thread(target=work, name=f"ask-{source.name}", daemon=True).start()
    in_time = over.wait(seconds)
    stop.set()
    if not in_time:
        words = f"{source.name} had not ended its answer after {seconds:g} seconds"
        if not found:
            raise Retry(f"{words}, and no match had come. Ask for less, or allow more time.", TIMED_OUT)
        return list(found), f"{words}: these are the matches that came."
    if failed and isinstance(failed[0], AxiomError) and found:
        return found, f"The answer broke off: {failed[0]}"
    if failed:
        raise failed[0]
    return found, ""


def _allow_masked(asked: Query) -> None:
    """Who may not see patients may not ask by them either: they would learn it from what is found."""
    for path, text in asked.filters.items():
        first = TagPath.parse(path).steps[0].tag
        if text.strip("* ") and (first is None or may_identify(first, TagPath.parse(path).vr)):
            raise Denied(f"To ask by {path} needs the permission to see patient data, which you do not have.", known=True)


def _masked(attributes: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for tag, element in attributes.items():
        values = element.get("Value", [])
        if values and may_identify(int(tag, 16), element.get("vr", "")):
            out[tag] = {**element, "Value": [MASK]}
        elif element.get("vr") == "SQ":
            out[tag] = {**element, "Value": [_masked(item) for item in values]}
        else:
            out[tag] = element
    return out


def route(ops: Operations, name: str, items: Sequence[Mapping[str, Any]], who: str) -> dict[str, Any]:
    """Have what was chosen fetched and sent through the rules. `items` are matches as `query` gave them; of each the
    level and its UIDs are needed, a patient stands for all of its studies.

    Returns the route as `BrowserRoutes.one` does. Raises Missing, Invalid, Conflict for a source that is switched off,
    and, to look up a patient's studies, what `query` raises.
    """
    source = _source(ops, name)
    if not source.enabled:
        raise Conflict(f"{name} is switched off: switch it on, and what is chosen can be fetched.")
    matches: list[Match] = []
    for i, item in enumerate(items):
        match = _match(item, i)
        matches += _studies_of(ops, source, match) if match.level == "patient" else [match]
    if not 0 < len(matches) <= MOST_ROUTED:
        raise Invalid([Problem(("items",), f"Choose at least one and at most {MOST_ROUTED} at once; these are {len(matches)}.")])
    made = ops.store.browser_routes.ask(name, matches, who)
    detail = {"route": made, "items": len(matches), "studies": sorted({m.study_instance_uid for m in matches})[:100]}
    ops.store.audit.write(who=who, action="route-selected", family="sources", name=name, detail=detail)
    if not ops.wake("poll"):
        log.warning("route %s waits for Redis", made)
    return ops.store.browser_routes.one(made)


def _match(item: Mapping[str, Any], i: int) -> Match:
    """A chosen match, its UIDs put where the sources look for them; what was masked is not known."""
    level = str(item.get("level") or "study")
    if level not in get_args(Level):
        raise Invalid([Problem(("items", i, "level"), f"A level is one of {', '.join(get_args(Level))}.")])
    attributes = {
        tag: element
        for tag, element in dict(item.get("attributes") or {}).items()
        if isinstance(element, Mapping) and list(element.get("Value", [])) != [MASK]
    }
    for tag, key in (("0020000D", "study_instance_uid"), ("0020000E", "series_instance_uid"), ("00080018", "sop_instance_uid")):
        if item.get(key):
            attributes[tag] = {"vr": "UI", "Value": [str(item[key])]}
    match = Match(level, attributes)  # type: ignore[arg-type]
    depth = {"patient": 0, "study": 1, "series": 2, "instance": 3}[level]
    if not all(match.uids[:depth]) or (level == "patient" and not match.text("PatientID")):
        needed = "its Patient ID" if level == "patient" else "its UIDs down to its level"
        raise Invalid([Problem(("items", i), f"This {level} does not say {needed}: choose it from a query's matches.")])
    return match


def _studies_of(ops: Operations, source: QuerySource, patient: Match) -> list[Match]:
    asked = Query("study", {"PatientID": patient.text("PatientID")}, limit=_PATIENTS_EXPANDED)
    found, words = _ask(ops.asking, source, asked, 60.0)
    if words:
        raise Permanent(f"Not every study of the patient could be found: {words}")
    return found
