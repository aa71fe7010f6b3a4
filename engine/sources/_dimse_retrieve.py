"""How a match is fetched over DIMSE: C-GET class by class, C-MOVE with its images counted as the listener takes them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from engine.dicom.network.models import COMMON_STORAGE, LEVELS, UNIQUE_KEYS
from engine.dicom.network.query_scu import QueryScu
from engine.dicom.network.retrieve_scu import MOST_CLASSES, Retrieval, RetrieveScu
from engine.dicom.network.uids import is_storage
from engine.errors import Permanent
from engine.model import AwaitedMove, Intake
from engine.sources._dimse_query import QUERY_LEVEL, keys_of, matches
from engine.sources._query import Match, Progress, Query, Retrieved

if TYPE_CHECKING:
    from engine.sources.dimse_qr import DimseQr

__all__ = ["get", "move"]

_LOOK_EVERY = 0.1
_NOTHING = "{} says that all went well, and sent no image: perhaps it does not have this one any more."


def get(source: DimseQr, match: Match, intake: Intake, stop: threading.Event, progress: Progress) -> Retrieved:
    """Fetch on the association that asks. More classes than an association holds take a second one, and so on.

    Raises Retry or Permanent, ConnectionLost, ProtocolError.
    """
    match = _whole(source, match)
    keys = keys_of(match, source.model)
    classes = _classes(source, match)
    stored: set[str] = set()
    last, expected = Retrieval(), match.instances or 0
    for at in range(0, len(classes), MOST_CLASSES):
        before = len(stored)
        with RetrieveScu(
            source.peer(), source.model.get, storage=classes[at : at + MOST_CLASSES], character_set=source.character_set
        ) as scu:
            last = scu.get(
                keys,
                source.association(match, source_ip=scu.peer_ip),
                intake,
                stop=stop.is_set,
                progress=lambda r, before=before: progress(before + len(r.stored), r.total or match.instances),  # type: ignore[misc]
            )
        stored |= last.stored
        expected = max(expected, last.total)
        if stop.is_set():
            break
    words = last.words
    if len(stored) >= expected and not stop.is_set():
        words = ""  # what one association could not take, another did
    elif not words and len(stored) < expected:
        words = f"{source.ae_title} said that it sent everything, and {len(stored)} of {expected} came."
    if not stored and not expected:
        words = words or _NOTHING.format(source.ae_title)
    return Retrieved(len(stored), expected or None, max(0, expected - len(stored)) if words else 0, words)


def _whole(source: DimseQr, match: Match) -> Match:
    """With its Patient ID, where the root needs it and whoever chose the match was not shown it (PS3.4 C.6.1.2)."""
    if "patient" not in source.model.levels or match.text("PatientID") or not match.study_instance_uid:
        return match
    keys = {QUERY_LEVEL: LEVELS["study"], UNIQUE_KEYS["study"]: match.study_instance_uid, UNIQUE_KEYS["patient"]: ""}
    with QueryScu(source.peer(), [source.model.find], character_set=source.character_set) as scu:
        found = next(iter(list(scu.find(source.model.find, keys))), {})
    return Match(match.level, {**found, **match.attributes})


def _classes(source: DimseQr, match: Match) -> list[str]:
    """The SOP classes to be taken: as configured, as the archive says of the study or its images, or the common ones."""
    if source.sop_classes:
        return list(source.sop_classes)
    said = match.attributes.get("00080062" if match.level == "study" else "00080016", {}).get("Value", ())
    found = [str(uid) for uid in said if is_storage(str(uid))] or list(_asked(source, match))
    return list(dict.fromkeys(found)) or list(COMMON_STORAGE)


def _asked(source: DimseQr, match: Match) -> dict[str, None]:
    """The classes of the images of a study or series, asked one by one: exact where the archive says them at all."""
    if match.level not in ("study", "series"):
        return {}
    filters = {"StudyInstanceUID": match.study_instance_uid, "SeriesInstanceUID": match.series_instance_uid}
    if patient := match.text("PatientID"):
        filters["PatientID"] = patient
    query = Query("instance", {tag: uid for tag, uid in filters.items() if uid})
    find = source.model.find
    with QueryScu(source.peer(), [find], character_set=source.character_set) as scu:
        try:
            found = [one.text("SOPClassUID") for one in matches(query, source.model, lambda keys: scu.find(find, keys))]
        except Permanent:  # it does not answer at this level: the common classes will have to do
            return {}
    return dict.fromkeys(uid for uid in found if uid and is_storage(uid))


def move(source: DimseQr, match: Match, intake: Intake, stop: threading.Event, progress: Progress) -> Retrieved:
    """Have it sent to our listener, and wait until what the archive counted has come.

    Raises Retry or Permanent, ConnectionLost, ProtocolError.
    """
    keys = keys_of(_whole(source, match), source.model)
    asked = intake.await_move(source.association(match), source.ae_title.strip())
    try:
        with RetrieveScu(source.peer(), source.model.move, character_set=source.character_set) as scu:
            result = scu.move(
                keys,
                source.destination,
                message_id=asked.move_id,
                arrived=lambda: len(asked.instances()),
                stop=stop.is_set,
                progress=lambda r: progress(_came(source, asked, r), r.total or match.instances),
            )
        sent = (result.counts.completed or 0) + (result.counts.warning or 0)
        if source.says_originator:
            _settle(asked, sent or match.instances or 0, source.settle_seconds, stop)
        came = _came(source, asked, result)
        progress(came, result.total or match.instances)
    finally:
        asked.done()
    expected = max(result.total, match.instances or 0) or None
    failed = result.counts.failed or len(result.failed)
    words = result.words
    if not words and sent > came:
        words = (
            f"{source.ae_title} says that it sent {sent} images to {source.destination}, and {came} came with the number of this "
            f"retrieval. Is {source.destination} a listener of this node, and is its address right in {source.ae_title}? If the "
            "images do come, it does not say their originator: switch off `says_originator`."
        )
    if not came and not expected:
        words = words or _NOTHING.format(source.ae_title)
    return Retrieved(came, expected, failed, words)


def _came(source: DimseQr, asked: AwaitedMove, result: Retrieval) -> int:
    if source.says_originator:
        return len(asked.instances())
    return (result.counts.completed or 0) + (result.counts.warning or 0)


def _settle(asked: AwaitedMove, due: int, seconds: float, stop: threading.Event) -> None:
    """Some archives end before their last image is through: wait while images come, or until all have."""
    seen = len(asked.instances())
    since = time.monotonic()
    while seen < due and time.monotonic() - since < seconds and not stop.wait(_LOOK_EVERY):
        if (now := len(asked.instances())) != seen:
            seen, since = now, time.monotonic()
