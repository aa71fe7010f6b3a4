"""The OpenAPI document: FastAPI's, with the configuration's own schemas, who may what, and the errors filled in."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from engine import __version__
from engine.api.access import ACCESS, Door, routes_of
from engine.api.problems import PROBLEM_CONTENT, ProblemOut
from engine.component import kinds, rebuild
from engine.configuration import FAMILIES, Configuration
from engine.security.roles import Permission

__all__ = ["ITEM", "build_openapi", "item_body"]

ITEM = {family: "".join(w.capitalize() for w in family.removesuffix("s").split("_")) for family in FAMILIES}
"""The name of each family's item in the document: `sources` -> `Source`."""

REF = "#/components/schemas/"
ERRORS = {
    "400": "The body cannot be read",
    "401": "Not signed in, or not any more", "403": "Signed in, but not allowed", "404": "Not there",
    "409": "Changed meanwhile, taken, or in use", "412": "Changed after what `If-Match` names", "413": "Too large",
    "422": "What was sent does not hold: `problems` says where", "429": "Too many attempts, or requests: `Retry-After` says when",
    "503": "A part is away: try again", "507": "No room",
}  # fmt: skip
ABOUT = """\
Axiom Flow receives DICOM images, decides by rules what should happen to them, changes their tags, delivers them, and
never loses one. This is the one way to its configuration and its state: the workbench, notebooks and the command use it.

**Sign in** with `POST /api/v1/auth/login` and send the access token as `Authorization: Bearer ...`. **Changes** are
saved as revisions of the whole configuration: each answer has the live revision as `ETag`; send it back as `If-Match`,
and a change that another one overtook is refused (412) instead of overwriting it. **Errors** are
`application/problem+json`; `problems` says what is wrong where.
"""


def item_body(family: str, *, whole: bool = True) -> dict[str, Any]:
    """`openapi_extra` of a route that takes an item of the family; not `whole`: any object, some of its fields, or one that
    may be wrong (to be told how)."""
    schema: dict[str, Any] = {"$ref": f"{REF}{ITEM[family]}"}
    if not whole:
        schema = {"anyOf": [schema, {"type": "object"}]}
    media = {"schema": schema, "examples": {}, "x-examples-of": family}
    return {"requestBody": {"required": True, "content": {"application/json": media}}}


def build_openapi(app: FastAPI) -> dict[str, Any]:
    """The document as it is now: a kind that has become known since the start is in it."""
    document = get_openapi(title="Axiom Flow", version=__version__, description=ABOUT, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(_configuration_schemas())
    problem = ProblemOut.model_json_schema(ref_template=f"{REF}{{model}}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An access token, or an API key (`axm_...`)."}
    }
    names = {(route.path, method.lower()): route.name for route in routes_of(app) for method in route.methods or ()}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            _finish(operation, names[path, method], method)
    return document


def _finish(operation: dict[str, Any], name: str, method: str) -> None:
    needed = ACCESS[name]
    words = f"Needs: {needed.value.replace('_', ' ')}."
    operation["description"] = f"{operation.get('description', '')}\n\n{words}".strip()
    operation["x-needs"] = needed.value if isinstance(needed, Permission) else needed.name.lower()
    statuses = {"422", "503"} if method != "get" or operation.get("parameters") else {"503"}
    if not name.startswith("health"):
        statuses.add("429")
    if needed is not Door.OPEN:
        operation["security"] = [{"bearer": []}]
        statuses |= {"401", "403"}
    if "{" in name or any(p["in"] == "path" for p in operation.get("parameters", [])):
        statuses.add("404")
    if method in ("post", "put", "patch", "delete"):
        statuses |= {"400", "404", "409", "413"}
    if any(p["name"] == "if-match" for p in operation.get("parameters", [])):
        statuses.add("412")
    if name in ("login", "google", "change_password"):
        statuses.add("401")
    if name == "google":
        statuses.add("403")
    if name == "refresh":
        statuses.add("401")
    for status in sorted(statuses):
        if status == "422" or status not in operation["responses"]:  # FastAPI's own 422 is none of ours
            operation["responses"][status] = {"description": ERRORS[status], "content": PROBLEM_CONTENT}
    _examples(operation)


def _examples(operation: dict[str, Any]) -> None:
    content = operation.get("requestBody", {}).get("content", {})
    for media in content.values():
        family = media.pop("x-examples-of", None)
        if family is not None:
            media["examples"] = examples_of(family)


def examples_of(family: str) -> dict[str, Any]:
    """One example a kind, made of its fields' own examples; empty where a needed field has none."""
    members: dict[str, Any] = dict(kinds(family.removesuffix("s")))
    if not members:
        members = {family: Configuration.model_fields[family].annotation.__args__[0]}  # type: ignore[union-attr]
    out = {}
    for name, model in members.items():
        value: dict[str, Any] = {"kind": name} if "kind" in model.model_fields else {}
        for key, field in model.model_fields.items():
            if field.is_required() and key != "kind":
                schema = model.model_json_schema()["properties"][key]
                if (example := next(iter(schema.get("examples", ())), schema.get("minimum"))) is None:
                    break
                value[key] = example
        else:
            out[name] = {"value": value}
    return out


def _configuration_schemas() -> dict[str, Any]:
    rebuild()
    whole = Configuration.model_json_schema(ref_template=f"{REF}{{model}}")
    schemas: dict[str, Any] = whole.pop("$defs", {})
    for family, name in ITEM.items():
        items = whole["properties"][family]["items"]
        if "$ref" in items:
            continue  # a family without kinds is a schema of that name already
        schemas[name] = items | {"title": name}
        whole["properties"][family]["items"] = {"$ref": f"{REF}{name}"}
    schemas["Configuration"] = whole
    return schemas
