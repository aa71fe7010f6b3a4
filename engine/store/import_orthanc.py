"""Orthanc's `DicomModalities` (a block of its configuration file) as DICOM destinations, and its own listener as a source.

Orthanc writes a modality as `["AET", "host", 104, "manufacturer"]` or as an object with `AET`, `Host`, `Port`, ...
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import Invalid, Problem
from engine.store.imported import Imported, as_name, read_json, unfamiliar

__all__ = ["import_orthanc"]

KNOWN = {
    "AET", "Host", "Port", "Manufacturer", "AllowEcho", "AllowStore", "AllowFind", "AllowFindWorklist", "AllowGet", "AllowMove",
    "AllowNEventReport", "AllowStorageCommitment", "AllowTranscoding", "LocalAet", "Timeout",
}  # fmt: skip
LIST = ("AET", "Host", "Port", "Manufacturer")


def import_orthanc(text: str) -> Imported:
    """Takes the whole configuration file, the block `{"DicomModalities": {...}}`, or what stands in it. Raises Invalid."""
    data = read_json(text)
    block = data.get("DicomModalities", data if not any(key.startswith("Dicom") for key in data) else {})
    if not isinstance(block, dict) or not block:
        raise Invalid([Problem(("DicomModalities",), "There are no DicomModalities in this file.")])
    out, names, senders = Imported(), set[str](), []
    local = str(data.get("DicomAet") or "ORTHANC")
    for name, given in block.items():
        peer = dict(zip(LIST, given, strict=False)) if isinstance(given, list) else given
        if not isinstance(peer, dict) or not {"AET", "Host", "Port"} <= peer.keys():
            out.notes.append(f"The modality {name} has no AET, host and port: left out.")
            continue
        if not str(peer["Port"]).isdecimal():
            out.notes.append(f"The modality {name} has a port that is no number ({peer['Port']}): left out.")
            continue
        out.add("destinations", _destination(str(name), peer, local, names, out))
        if peer.get("AllowStore", True):
            senders.append(str(peer["AET"]))
    if "DicomPort" in data:
        out.add("sources", _listener(data, local, senders, out))
    return out


def _destination(name: str, peer: Mapping[str, Any], local: str, names: set[str], out: Imported) -> dict[str, Any]:
    ours = as_name(name, names)
    if ours != name:
        out.notes.append(f"The modality {name} is called {ours} here.")
    item = {
        "name": ours, "kind": "dimse", "host": str(peer["Host"]), "port": int(peer["Port"]), "ae_title": str(peer["AET"]),
        "calling_ae_title": str(peer.get("LocalAet") or local),
    }  # fmt: skip
    if isinstance(peer.get("Timeout"), (int, float)) and peer["Timeout"] > 0:
        item["dimse_timeout"] = float(peer["Timeout"])
    if maker := str(peer.get("Manufacturer") or ""):
        item["description"] = f"Orthanc: {maker}"
    out.notes.extend(unfamiliar("The modality", name, peer, KNOWN))
    return item


def _listener(data: Mapping[str, Any], local: str, senders: list[str], out: Imported) -> dict[str, Any]:
    item: dict[str, Any] = {
        "name": "orthanc", "kind": "dimse_listener", "ae_title": local, "port": data["DicomPort"], "host": "0.0.0.0",  # noqa: S104
    }
    if data.get("DicomCheckCalledAet"):
        item["require_called_ae"] = True
    if not data.get("DicomAlwaysAllowStore", True):
        item["calling_ae_titles"] = sorted(set(senders))
    if data.get("DicomTlsEnabled"):
        out.notes.append("The listener: TLS is not carried over; its certificates are given here by reference.")
    out.notes.append(f"The listener takes Orthanc's port {data['DicomPort']}: end Orthanc first, or choose another.")
    return item
