"""The configuration as a whole: as JSON and YAML, applied, compared, and its revisions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field, StrictBool

from engine.api.access import GuardedRoute, Who
from engine.api.bodies import Whole, etag, expected_revision, refuse_half_characters
from engine.api.openapi import REF
from engine.api.parts import Here
from engine.errors import Invalid, Problem

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["Configuration"], route_class=GuardedRoute)

YAML = "application/yaml"
DOCUMENT: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/json": {"schema": {"$ref": f"{REF}Configuration"}},
            YAML: {"schema": {"type": "string"}},
        }
    }
}
Expected = Annotated[int | None, Depends(expected_revision)]
Id = Annotated[Whole, Field(ge=0, le=2_000_000_000)]


class Text(BaseModel):
    """A configuration: as YAML text, or as a document."""

    yaml: str | None = Field(None, max_length=4_000_000, examples=["destinations:\n  - {name: pacs, kind: nothing}\n"])
    document: dict[str, Any] | None = None

    def content(self) -> str | dict[str, Any]:
        """Raises Invalid unless exactly one of the two is given."""
        if (self.yaml is None) == (self.document is None):
            raise Invalid([Problem((), "Send either `yaml` or `document`.")])
        refuse_half_characters([self.yaml, self.document])
        return self.yaml if self.yaml is not None else self.document or {}


class Apply(Text):
    reason: str = Field("", max_length=500)
    dry_run: StrictBool = False
    """Only say what would change."""


class Difference(BaseModel):
    action: str = Field(examples=["changed"])
    family: str
    name: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    changes: list[dict[str, Any]]
    """Of a changed item: `{path, action, before, after}` for each field."""


class DiffOut(BaseModel):
    """What differs between two configurations."""

    equal: bool
    differences: list[Difference]
    words: list[str] = Field(examples=[["~ destinations/pacs", "    port: 104 -> 11112"]])


class Applied(DiffOut):
    revision: int
    """The live one now."""
    dry_run: bool
    changed: bool


class RevisionOut(BaseModel):
    id: int
    created_at: str | None
    author: str
    reason: str
    label: str
    digest: str
    live: bool


class RevisionDetail(RevisionOut):
    document: dict[str, Any]


class Revisions(BaseModel):
    items: list[RevisionOut]
    live: int


class Live(BaseModel):
    revision: int


class Because(BaseModel):
    reason: str = Field("", max_length=500)


class Label(BaseModel):
    label: str = Field(max_length=128, examples=["before the move to the new PACS"])


class Problems(BaseModel):
    problems: list[dict[str, Any]]


@router.get("/config", summary="The live configuration (Accept: application/yaml gives YAML)", responses=DOCUMENT)
def get_configuration(parts: Here, request: Request, response: Response) -> Any:
    revision, document = parts.store.document()
    if YAML in request.headers.get("accept", ""):
        return PlainTextResponse(parts.store.export_yaml(revision), media_type=YAML, headers={"ETag": etag(revision)})
    response.headers["ETag"] = etag(revision)
    return document


@router.post("/config/apply", summary="Make the families that are named equal to this; all or nothing")
def apply_configuration(parts: Here, caller: Who, body: Apply, expected: Expected, response: Response) -> Applied:
    applied = parts.store.apply(
        body.content(), author=caller.signature, dry_run=body.dry_run, reason=body.reason, expected=expected,
        address=caller.address,
    )  # fmt: skip
    response.headers["ETag"] = etag(applied.revision)
    return Applied.model_validate(applied.as_json())


@router.post("/config/diff", summary="What would applying this change?")
def diff_configuration(parts: Here, caller: Who, body: Text) -> DiffOut:
    return DiffOut.model_validate(parts.store.apply(body.content(), author=caller.signature, dry_run=True).diff.as_json())


@router.post("/config/validate", summary="Could this be applied?")
def validate_configuration(parts: Here, caller: Who, body: Text) -> Problems:
    try:
        parts.store.apply(body.content(), author=caller.signature, dry_run=True)
    except Invalid as e:
        return Problems(problems=[{"loc": list(p.loc), "words": p.words} for p in e.problems])
    return Problems(problems=[])


@router.get("/revisions", summary="Saved states of the configuration, the newest first")
def list_revisions(
    parts: Here,
    limit: Annotated[Whole, Query(ge=1, le=500)] = 50,
    before: Annotated[Id | None, Query(description="Only older ones: the last `id` of the page before.")] = None,
) -> Revisions:
    live = parts.store.live_revision()
    found = parts.store.revisions(limit, before=before)
    return Revisions(items=[RevisionOut(**r.as_json(), live=r.id == live) for r in found], live=live)


@router.get("/revisions/{number}", summary="One revision with its document")
def get_revision(parts: Here, number: Id) -> RevisionDetail:
    found = parts.store.revision(number)
    return RevisionDetail(**found.as_json(document=True), live=number == parts.store.live_revision())


@router.get("/revisions/{number}/diff", summary="What a revision changed")
def diff_revision(
    parts: Here,
    number: Id,
    other: Annotated[Id | None, Query(alias="with", description="Compared with this one, else the one before.")] = None,
) -> DiffOut:
    """`before` is the other revision, `after` is this one."""
    return DiffOut.model_validate(parts.store.diff(max(number - 1, 0) if other is None else other, number).as_json())


@router.post("/revisions/{number}/rollback", summary="Make an earlier revision live again, as a new one")
def rollback_revision(
    parts: Here, caller: Who, number: Id, expected: Expected, response: Response, body: Because | None = None
) -> Live:
    revision = parts.store.rollback(
        number, author=caller.signature, reason=body.reason if body else "", expected=expected, address=caller.address
    )
    response.headers["ETag"] = etag(revision)
    return Live(revision=revision)


@router.put("/revisions/{number}/label", summary="Give a revision a name", status_code=204)
def label_revision(parts: Here, caller: Who, number: Id, body: Label) -> Response:
    parts.store.label(number, body.label, author=caller.signature, address=caller.address)
    return Response(status_code=204)
