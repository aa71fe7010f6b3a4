"""The configuration, item by item: the same routes for every family, made from the families themselves."""

from __future__ import annotations

import logging
from enum import Enum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import BaseModel

from engine.api.access import GuardedRoute, Who
from engine.api.bodies import Flag, Whole, etag, expected_revision, read_object
from engine.api.openapi import ITEM, item_body
from engine.api.parts import Here, Parts
from engine.channels.base import Channel
from engine.component import kinds
from engine.configuration import FAMILIES, Configuration, load_configuration
from engine.crosswalk.map import CrosswalkMap
from engine.errors import Conflict, Invalid, Missing
from engine.fields import describe
from engine.model import Tick
from engine.security.outward import Outward

__all__ = ["router"]

_log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/v1", route_class=GuardedRoute)

Item = Annotated[dict[str, Any], Depends(read_object)]
Expected = Annotated[int | None, Depends(expected_revision)]
Reason = Annotated[str, Header(alias="X-Reason", max_length=500, description="Why: kept with the revision.")]


class Items(BaseModel):
    """Items of a family."""

    items: list[dict[str, Any]]
    total: int
    """How many there are that match, on all pages."""
    revision: int


class TickOut(BaseModel):
    """One thing that was tried."""

    name: str
    ok: bool | None
    """Null: it does not apply here."""
    words: str


class Ticks(BaseModel):
    ticks: list[TickOut]


class Problems(BaseModel):
    problems: list[dict[str, Any]]
    """Empty: it could be saved."""


class Users(BaseModel):
    used_by: list[str]
    deliveries: int = 0
    """Deliveries to a destination that are not over on this node: without it they cannot go on."""


@router.get("/families", tags=["Configuration"], summary="What a form must ask, for every family and kind")
def families() -> dict[str, Any]:
    """Per family its kinds with their fields and JSON schema, or its fields when it has no kinds; `morphs` too."""
    out: dict[str, Any] = {}
    for family in (*FAMILIES, "morphs"):
        members = kinds(family.removesuffix("s"))
        if members:
            out[family] = {"kinds": {kind: _kind(model) for kind, model in members.items()}}
        elif family in FAMILIES:
            model = _item_model(family)
            out[family] = {"fields": _fields(model), "schema": model.model_json_schema(), "doc": _doc(model)}
    return out


def _kind(model: Any) -> dict[str, Any]:
    label = model.label or model.model_fields["kind"].default
    return {"label": label, "doc": _doc(model), "fields": _fields(model), "schema": model.model_json_schema()}


def _fields(model: type[BaseModel]) -> list[dict[str, Any]]:
    return [field.model_dump(mode="json") for field in describe(model)]


def _doc(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip()


def _item_model(family: str) -> type[BaseModel]:
    model: type[BaseModel] = Configuration.model_fields[family].annotation.__args__[0]  # type: ignore[union-attr]
    return model


def _revision_header(response: Response, revision: int) -> None:
    response.headers["ETag"] = etag(revision)


def _add(family: str) -> None:
    one = family.removesuffix("s")
    tags: list[str | Enum] = [family.capitalize()]
    answer: dict[int | str, dict[str, Any]] = {
        200: {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{ITEM[family]}"}}}}
    }

    @router.get(f"/{family}", tags=tags, operation_id=f"list_{family}", summary=f"All {family}")
    def list_items(
        parts: Here,
        response: Response,
        q: Annotated[str, Query(max_length=200, description="Only those that hold this text in name or description.")] = "",
        kind: Annotated[str, Query(max_length=64, description="Only those of this kind.")] = "",
        sort: Annotated[str, Query(max_length=64, description="A field; with `-` before it: backwards.")] = "name",
        offset: Annotated[Whole, Query(ge=0, le=1_000_000)] = 0,
        limit: Annotated[Whole, Query(ge=1, le=10_000)] = 1000,
    ) -> Items:
        revision, document = parts.store.document()
        text, field = q.lower(), sort.removeprefix("-")
        found = [
            i for i in document[family]
            if (not kind or i.get("kind") == kind)
            and (text in i["name"].lower() or text in str(i.get("description", "")).lower())
        ]  # fmt: skip
        found.sort(key=lambda i: _sort_key(i.get(field)), reverse=sort.startswith("-"))
        _revision_header(response, revision)
        return Items(items=found[offset : offset + limit], total=len(found), revision=revision)

    @router.post(
        f"/{family}", tags=tags, operation_id=f"create_{one}", summary=f"Add a {one}", status_code=201,
        openapi_extra=item_body(family), responses={201: answer[200]},
    )  # fmt: skip
    def create_item(parts: Here, caller: Who, item: Item, response: Response, reason: Reason = "") -> Any:
        revision = parts.store.add_item(
            family, item, author=caller.signature, reason=reason, address=caller.address
        )
        _revision_header(response, revision)
        response.headers["Location"] = f"/api/v1/{family}/{item['name']}"
        return parts.store.item(family, str(item["name"]))

    @router.get(f"/{family}/{{name}}", tags=tags, operation_id=f"get_{one}", summary=f"One {one}", responses=answer)
    def get_item(parts: Here, name: str, response: Response) -> Any:
        revision, document = parts.store.document()
        _revision_header(response, revision)
        found = next((i for i in document[family] if i["name"] == name), None)
        if found is None:
            raise Missing(f"There is no {one} called {name}.")
        return found

    @router.put(
        f"/{family}/{{name}}", tags=tags, operation_id=f"replace_{one}", summary=f"Add or replace a {one}",
        openapi_extra=item_body(family, whole=False), responses=answer,  # its name may be left to the address
    )  # fmt: skip
    def replace_item(
        parts: Here, caller: Who, name: str, item: Item, expected: Expected, response: Response, reason: Reason = ""
    ) -> Any:
        revision = parts.store.put_item(
            family, name, item, author=caller.signature, reason=reason, expected=expected, address=caller.address
        )
        _revision_header(response, revision)
        return parts.store.item(family, name)

    @router.patch(
        f"/{family}/{{name}}", tags=tags, operation_id=f"change_{one}",
        summary=f"Change some fields of a {one} (RFC 7396: null is \"back to the default\")",
        openapi_extra=item_body(family, whole=False), responses=answer,
    )  # fmt: skip
    def change_item(
        parts: Here, caller: Who, name: str, item: Item, expected: Expected, response: Response, reason: Reason = ""
    ) -> Any:
        revision = parts.store.patch_item(
            family, name, item, author=caller.signature, reason=reason, expected=expected, address=caller.address
        )
        _revision_header(response, revision)
        return parts.store.item(family, name)

    @router.delete(
        f"/{family}/{{name}}", tags=tags, operation_id=f"delete_{one}", summary=f"Delete a {one} that nothing uses",
        status_code=204,
    )  # fmt: skip
    def delete_item(
        parts: Here, caller: Who, name: str, expected: Expected, reason: Reason = "",
        force: Annotated[Flag, Query(description="A destination: also while deliveries to it are not over.")] = False,
    ) -> Response:  # fmt: skip
        if not force and (waiting := _deliveries(parts, family, name)) and not parts.store.used_by(family, name):
            raise Conflict(
                f"{waiting} {'delivery' if waiting == 1 else 'deliveries'} to {name} {'is' if waiting == 1 else 'are'} not over: "
                "without the destination they cannot be sent. Let them finish, discard them, or delete it with force=true."
            )
        revision = parts.store.delete_item(
            family, name, author=caller.signature, reason=reason, expected=expected, address=caller.address
        )
        return Response(status_code=204, headers={"ETag": etag(revision)})

    @router.get(
        f"/{family}/{{name}}/used-by", tags=tags, operation_id=f"{one}_used_by", summary=f"What would miss this {one}?"
    )
    def used_by(parts: Here, name: str) -> Users:
        return Users(used_by=parts.store.used_by(family, name), deliveries=_deliveries(parts, family, name))

    @router.post(
        f"/{family}/validate", tags=tags, operation_id=f"validate_{one}", summary=f"Could this {one} be saved?",
        openapi_extra=item_body(family, whole=False),
    )  # fmt: skip
    def validate_item(parts: Here, item: Item) -> Problems:
        try:
            _placed(parts.store.document()[1], family, item)
        except Invalid as e:
            return Problems(problems=[{"loc": list(p.loc), "words": p.words} for p in e.problems])
        return Problems(problems=[])

    @router.post(
        f"/{family}/check", tags=tags, operation_id=f"check_{one}", summary=f"Try a {one} before saving it",
        openapi_extra=item_body(family),
    )  # fmt: skip
    def check_item(parts: Here, item: Item) -> Ticks:
        configuration = _placed(parts.store.document()[1], family, item)
        placed = next(i for i in getattr(configuration, family) if i.name == item["name"])
        guard = Outward(parts.settings.allowed_hosts)
        ticks = [Tick("fields", True, "they hold together"), *_tried(placed, configuration, guard)]
        return Ticks(ticks=[TickOut(name=t.name, ok=t.ok, words=t.words) for t in ticks])


def _deliveries(parts: Parts, family: str, name: str) -> int:
    return parts.operations.unfinished_deliveries(name) if family == "destinations" else 0


def _tried(item: Any, configuration: Configuration, guard: Outward) -> list[Tick]:
    """Its own check. One that fails by itself (a site's own kind may) is a failed check, not a failed request."""
    try:
        if isinstance(item, CrosswalkMap):
            return item.check_with(next(s for s in configuration.crosswalk_sources if s.name == item.source))
        if isinstance(item, Channel):
            return item.check_with(guard)
        return list(item.check()) if hasattr(item, "check") else []
    except Exception as e:  # noqa: BLE001
        _log.exception("the check of a %s failed by itself", type(item).__name__)
        return [Tick("check", False, f"It could not be tried: {str(e)[:200]}.")]


def _sort_key(value: Any) -> tuple[int, float, str]:
    """Any mixture of values in one order: nothing, numbers and switches, text; lists and objects are all equal."""
    if isinstance(value, (int, float)):
        return (1, float(value), "")
    return (2, 0.0, value.lower()) if isinstance(value, str) else (0, 0.0, "")


def _placed(document: dict[str, Any], family: str, item: dict[str, Any]) -> Configuration:
    """The live configuration with the item in it. Raises Invalid."""
    others = [i for i in document[family] if i["name"] != item.get("name")]
    return load_configuration({**document, family: [*others, item]})


for _family in FAMILIES:
    _add(_family)
