"""What happened, and what would: instances, SQL over the history, trying the rules on a file, tags by name."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
from fastapi import APIRouter, File, Form, Query, Response, UploadFile
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from engine.api.access import GuardedRoute, Who
from engine.api.bodies import Whole
from engine.api.notes import note, veil
from engine.api.parts import Here, Parts
from engine.api.trying import allow_draft, masked, masked_hold
from engine.configuration import Configuration, load_configuration
from engine.dicom.dictionary import complete
from engine.errors import Hold, Invalid, OutOfSpace, Problem
from engine.history.reader import is_truncated
from engine.model import Association

__all__ = ["LARGEST_FILE", "router"]

router = APIRouter(prefix="/api/v1", route_class=GuardedRoute)

LARGEST_FILE = 1 << 30
ARROW = "application/vnd.apache.arrow.stream"
CHUNK = 1 << 20


class Sql(BaseModel):
    sql: str = Field(min_length=1, max_length=100_000, examples=["SELECT modality, count(*) FROM instances GROUP BY 1"])
    limit: int = Field(10_000, ge=1, le=1_000_000, strict=True)
    format: Literal["json", "arrow"] = "json"
    timeout: float = Field(30.0, gt=0, le=60, strict=True)
    """Seconds after which the query is given up."""


class WhatIfBody(BaseModel):
    configuration: dict[str, Any] = Field(
        description="The draft: `rulesets`, and whatever else it changes; what it does not name is as it is live.",
        examples=[{"rulesets": [{"name": "main", "priority": 10, "rules": [{"name": "all", "priority": 10}]}]}],
    )
    days: float = Field(30, gt=0, le=3650, strict=True, description="How far to look back.")
    samples: int = Field(5, ge=0, le=100, strict=True)


class TagOut(BaseModel):
    tag: str = Field(examples=["00100020"])
    keyword: str
    name: str
    vr: str
    vm: str


@router.get("/instances", tags=["History"], summary="Received instances, the newest first")
def instances(
    parts: Here,
    caller: Who,
    q: Annotated[str, Query(max_length=200, description="A patient's ID or name, accession number, UID, ...")] = "",
    limit: Annotated[Whole, Query(ge=1, le=10_000)] = 100,
) -> list[dict[str, Any]]:
    note(parts, caller, "query-patients", "instances", {"sought": veil(parts, q)})
    return parts.operations.instances(q, limit, mask=caller.masked)


@router.get("/instances/{sop_instance_uid}", tags=["History"], summary="One image's whole story")
def instance(parts: Here, caller: Who, sop_instance_uid: str) -> dict[str, Any]:
    note(parts, caller, "see-instance", "instances", {}, name=sop_instance_uid)
    return parts.operations.instance(sop_instance_uid, mask=caller.masked)


@router.post(
    "/history/query", tags=["History"], summary="SQL over the history",
    responses={200: {"content": {ARROW: {"schema": {"type": "string", "format": "binary"}}}}},
)  # fmt: skip
def query_history(parts: Here, caller: Who, body: Sql) -> Response:
    """Views: `instances decisions changes deliveries queries audit`. JSON: `{"columns", "rows", "truncated"}`, a row being
    an object; Arrow: an IPC stream, with the answer's header `X-Truncated`."""
    note(parts, caller, "query-history", "history", {"sql": _without_values(body.sql), "seal": veil(parts, body.sql)})
    table = parts.operations.query(body.sql, limit=body.limit, timeout=body.timeout, mask=caller.masked)
    truncated = is_truncated(table)
    if body.format == "arrow":
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        headers = {"X-Truncated": str(truncated).lower()}
        return Response(sink.getvalue().to_pybytes(), media_type=ARROW, headers=headers)
    content = {"columns": table.column_names, "rows": table.to_pylist(), "truncated": truncated}
    return _Json(content)


class _Json(JSONResponse):
    """JSON of what a table may hold: moments as ISO 8601, other things as text, no NaN (JSON has none)."""

    def render(self, content: Any) -> bytes:
        import orjson

        return orjson.dumps(content, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z)


@router.post("/rules/test", tags=["Rules"], summary="What the rules say of a file; nothing is kept or sent")
def test_rules(
    parts: Here,
    caller: Who,
    file: Annotated[UploadFile, File(description="A DICOM file (Part 10), 1 GB at most.")],
    calling_ae: Annotated[str, Form(max_length=64)] = "",
    called_ae: Annotated[str, Form(max_length=64)] = "",
    source_ip: Annotated[str, Form(max_length=64)] = "",
    source: Annotated[str, Form(max_length=63, description="As if it came from this source.")] = "",
    configuration: Annotated[str, Form(max_length=4_000_000, description="A draft, as JSON; else the live one.")] = "",
) -> dict[str, Any]:
    """Answers `{"decisions": [{ruleset, rule, state, matched, reasons, changes, destinations}]}`."""
    draft = _draft(configuration)
    live = parts.store.live().configuration
    if draft is not None:
        allow_draft(caller, live, draft)
    known = live.source(source)
    association = Association(
        source=source, source_kind=known.kind if known else "", calling_ae=calling_ae, called_ae=called_ae,
        source_ip=source_ip, user=caller.username,
    )  # fmt: skip
    path = _keep(parts, file)
    try:
        note(parts, caller, "test-rules", "rules", {"draft": draft is not None})
        answer = parts.operations.test_rules(path, association, draft)
    except Hold as hold:
        raise (masked_hold(hold) if caller.masked else hold) from hold
    finally:
        path.unlink(missing_ok=True)
    return masked(answer) if caller.masked else answer


@router.post("/rules/whatif", tags=["Rules"], summary="What drafted rules would have done with what came; nothing is sent")
def what_if(parts: Here, caller: Who, body: WhatIfBody) -> dict[str, Any]:
    """Families that the draft does not name are the live ones. Counts by rule, modality, source and destination, with
    samples of what the draft would gain and lose against the live rules."""
    note(parts, caller, "what-if", "rules", {"days": body.days})
    draft = {**parts.store.live().configuration.document(), **body.configuration}
    return parts.operations.what_if(draft, days=body.days, samples=body.samples)


@router.get("/rules/analysis", tags=["Rules"], summary="Rules that never do anything, with the reason")
def rules_analysis(
    parts: Here, caller: Who, days: Annotated[Whole, Query(ge=1, le=3650, description="How far history is asked.")] = 30
) -> dict[str, Any]:
    """`{"findings": [{ruleset, rule, kind, words, others}]}`: proved from the rules alone, or seen in the history."""
    return parts.operations.analysis(days=days)


def _draft(text: str) -> Configuration | None:
    if not text:
        return None
    try:
        draft = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise Invalid([Problem(("configuration",), "The draft is not JSON.")]) from e
    if not isinstance(draft, dict):
        raise Invalid([Problem(("configuration",), "The draft must be a JSON object.")])
    return load_configuration(draft)


def _keep(parts: Parts, file: UploadFile) -> Path:
    """The upload in a file of our own, readable by nobody else, for the length of the request."""
    folder = parts.settings.run_dir / "uploads"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd, name = tempfile.mkstemp(suffix=".dcm", dir=folder)
    path = Path(name)
    try:
        with os.fdopen(fd, "wb") as out:
            while chunk := file.file.read(CHUNK):
                out.write(chunk)
    except OSError as e:
        path.unlink(missing_ok=True)
        raise OutOfSpace(f"There is no room for the upload: {e.strerror}.") from e
    return path


@router.get("/tags", tags=["Rules"], summary="Tags whose keyword, name or number fits: for completion")
def tags(
    q: Annotated[str, Query(min_length=1, max_length=64)], limit: Annotated[Whole, Query(ge=1, le=100)] = 20
) -> list[TagOut]:
    return [
        TagOut(tag=f"{t.tag:08x}".upper(), keyword=t.keyword, name=t.name, vr=t.vr, vm=t.vm) for t in complete(q, limit)
    ]


_VALUES = re.compile(r"'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*.*?\*/|\b\d+(?:\.\d+)?\b", re.DOTALL)


def _without_values(sql: str) -> str:
    """The SQL with every value in it replaced: what was asked, not of whom."""
    return _VALUES.sub("?", sql)[:2000]
