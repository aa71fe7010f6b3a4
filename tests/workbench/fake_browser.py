"""The data browser's routes of the fake API: one archive with two patients, and what was chosen to be fetched."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse

__all__ = ["add_browser"]


def _match(level: str, uids: tuple[str, str, str], instances: int | None, **tags: Any) -> dict[str, Any]:
    attributes = {tag.removeprefix("t"): {"vr": "LO", "Value": [value]} for tag, value in tags.items()}
    study, series, instance = uids
    return {
        "level": level, "study_instance_uid": study, "series_instance_uid": series, "sop_instance_uid": instance,
        "instances": instances, "attributes": attributes,
    }  # fmt: skip


STUDIES = [
    _match("study", ("1.2.1", "", ""), 3, t00100010="Yamada^Tarou=山田^太郎=やまだ^たろう", t00100020="J1", t00080020="20260102",
           t00081030="<b>Thorax</b>"),
    _match("study", ("1.2.2", "", ""), 120, t00100010="Müller^Jürgen", t00100020="L1", t00080020="20260103"),
]  # fmt: skip
SERIES = [_match("series", ("1.2.1", "1.2.1.1", ""), 3, t00080060="CT", t00200011="1", t0008103E="Axial")]


def add_browser(app: FastAPI, state: Any) -> None:
    """`state.did` tells what was asked; a source called `away` does not answer."""
    made: list[dict[str, Any]] = []

    @app.get("/api/v1/data-browser/sources")
    def sources() -> Any:
        known = [
            {"name": name, "kind": "dimse_qr", "label": "DICOM archive", "enabled": True, "description": ""}
            for name in ("archive", "away")
        ]
        return [] if state.is_empty else known

    @app.post("/api/v1/data-browser/query")
    def query(body: dict[str, Any]) -> Any:
        state.did.append(("browse", body["source"], body["level"], body["filters"]))
        if body["source"] == "away":
            words = {"title": "Bad Gateway", "detail": "Nothing listens on pacs.example.org port 104.", "problems": []}
            return JSONResponse(words, 502, media_type="application/problem+json")
        found = {"study": STUDIES, "series": SERIES}.get(body["level"], [])
        sought = body["filters"].get("PatientID", "")
        matches = [m for m in found if not sought or m["attributes"]["00100020"]["Value"] == [sought]]
        return {**body, "matches": matches, "more": False, "words": "", "seconds": 0.1}

    @app.post("/api/v1/data-browser/route", status_code=202)
    def route(body: dict[str, Any]) -> Any:
        state.did.append(("route", body["source"], [m["study_instance_uid"] for m in body["items"]]))
        items = [
            {**{k: m[k] for k in ("study_instance_uid", "series_instance_uid", "sop_instance_uid")}, "state": "fetching",
             "received": 1, "expected": 3, "words": ""}
            for m in body["items"]
        ]  # fmt: skip
        made.insert(0, {
            "id": f"r{len(made)}", "source": body["source"], "at": datetime.now(UTC).isoformat(), "who": "ada",
            "state": "running", "total": len(items), "fetched": 0, "failed": 0, "received": len(items), "items": items,
        })  # fmt: skip
        return made[0]

    @app.get("/api/v1/data-browser/routes")
    def routes(limit: int = 50) -> Any:
        return [{k: v for k, v in one.items() if k != "items"} for one in made[:limit]]

    @app.get("/api/v1/data-browser/routes/{name}")
    def one(name: str) -> Any:
        return next(one for one in made if one["id"] == name)
