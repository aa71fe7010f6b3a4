"""What a form must ask to fill in a model: one FieldSpec a field, as plain data.

The API hands these to whoever draws forms (workbench, notebooks, a site's own page), so that a new kind of component
needs no page of its own. A model says what cannot be read off its types by `Field(json_schema_extra={"form": "secret"})`;
any type of the list below can be named so. A field called like a family (`destinations`, `sources`, `schedule`) that
holds text holds names of that family's items.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from engine.component import Member, rebuild
from engine.described import description

__all__ = ["FieldSpec", "describe"]

FAMILIES = ("channels", "crosswalk_maps", "crosswalk_sources", "destinations", "rulesets", "schedules", "sources")
"""The families that others name. (The configuration stands above this module, so that it cannot be asked.)"""

CALLED_SO = {"when": "condition", "association": "association"}
"""Trees whose editors are chosen by the field's name, the same in every model."""

UPPER = {"ae", "api", "ca", "gcs", "http", "https", "id", "ip", "json", "pdu", "sop", "sql", "tcp", "tls", "uid", "url", "vr"}


class FieldSpec(BaseModel):
    """One field of a form."""

    model_config = ConfigDict(frozen=True)

    name: str
    label: str
    """The name as a person reads it: "AE title"."""
    type: str
    """`text secret number integer switch choice tag`; `list` (of `item`), `tags` (a list of short texts), `mapping` (of
    `item`), `model` (of `fields`), `json` (anything); `condition`, `association`; `morphs` (any list of a family's
    kinds, by its plural) and `member:<family>` (one); `names:<family>` (several) and `name:<family>` (one)."""
    default: Any = None
    """As plain JSON; a secret has none."""
    required: bool = False
    optional: bool = False
    """Whether it may be left empty (null)."""
    help: str = ""
    examples: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    """Exclusive minimum: "more than 0"."""
    below: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    choices: tuple[str | int | bool, ...] = ()
    fields: tuple[FieldSpec, ...] = ()
    item: FieldSpec | None = None


def describe(model: type[BaseModel]) -> list[FieldSpec]:
    """The fields of a model in their order; constants (`kind`) are left out. Any pydantic model will do."""
    rebuild()
    return _fields(model, ())


def _fields(model: type[BaseModel], seen: tuple[type[BaseModel], ...]) -> list[FieldSpec]:
    if not model.__pydantic_complete__:
        model.model_rebuild()
    return [
        _spec(field.alias or name, field, (*seen, model), description(model, name))
        for name, field in model.model_fields.items()
        if not _is_constant(field)
    ]


def _is_constant(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


def _spec(name: str, field: FieldInfo, seen: tuple[type[BaseModel], ...], words: str = "") -> FieldSpec:
    annotation, metadata, optional = _unwrap(field.annotation, list(field.metadata))
    more = {"optional": optional} | _limits(metadata) | _shape(name, annotation, metadata, seen)
    form = _form(field, metadata)
    if form:
        more["type"] = form
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    if default is PydanticUndefined or more["type"] == "secret":
        default = None
    return FieldSpec(
        name=name,
        label=field.title or _label(name),
        default=to_jsonable_python(default),
        required=field.is_required(),
        help=_one_paragraph(words or field.description or ""),
        examples=tuple(to_jsonable_python(field.examples or [])),
        **more,
    )


def _unwrap(annotation: Any, metadata: list[Any]) -> tuple[Any, list[Any], bool]:
    """Take off `Annotated[...]` and `... | None`, keeping what they say."""
    optional = False
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            for one in more:
                metadata.extend([one, *one.metadata] if isinstance(one, FieldInfo) else [one])
        elif _is_union(annotation) and type(None) in get_args(annotation):
            optional = True
            rest = tuple(a for a in get_args(annotation) if a is not type(None))
            annotation = Union[rest]  # noqa: UP007  (made at run time of any number of members)
        else:
            return annotation, metadata, optional


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _form(field: FieldInfo, metadata: list[Any]) -> str:
    for one in (field, *(m for m in metadata if isinstance(m, FieldInfo))):
        extra = one.json_schema_extra
        if isinstance(extra, dict) and "form" in extra:
            return str(extra["form"])
        if isinstance(extra, dict) and extra.get("format") == "tag-path":
            return "tag"
    return ""


def _shape(name: str, annotation: Any, metadata: list[Any], seen: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    """The type and what belongs to it: choices, nested fields, the item of a list."""
    if any(isinstance(m, Member) for m in metadata):
        return {"type": "member:" + next(m.family for m in metadata if isinstance(m, Member))}
    origin = get_origin(annotation)
    if origin is Literal:
        return {"type": "choice", "choices": get_args(annotation)}
    if origin in (list, tuple, set, frozenset) or annotation in (list, tuple, set, frozenset):
        return _list_shape(name, annotation, seen)
    if name in CALLED_SO and annotation not in (str, int, bool):
        return {"type": CALLED_SO[name]}
    if origin in (dict, Mapping) or annotation is dict:
        return _mapping_shape(annotation, seen)
    if isinstance(annotation, type):
        return _class_shape(name, annotation, seen)
    if _is_union(annotation):
        members = [_unwrap(a, [])[0] for a in get_args(annotation)]
        simple = all(isinstance(a, type) and issubclass(a, (str, int, float)) for a in members)
        return {"type": "text" if simple else "json"}
    return {"type": "json"}


def _class_shape(name: str, annotation: type, seen: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    if issubclass(annotation, (SecretStr, SecretBytes)):
        return {"type": "secret"}
    if issubclass(annotation, Enum):
        return {"type": "choice", "choices": tuple(member.value for member in annotation)}
    if issubclass(annotation, BaseModel):
        if annotation in seen:  # a tree of itself: no form has that depth
            return {"type": "json"}
        return {"type": "model", "fields": tuple(_fields(annotation, seen))}
    if issubclass(annotation, bool):
        return {"type": "switch"}
    if issubclass(annotation, int):
        return {"type": "integer"}
    if issubclass(annotation, float):
        return {"type": "number"}
    if annotation in (Any, object):
        return {"type": "json"}
    family = next((f for f in FAMILIES if f == f"{name}s"), None)
    return {"type": f"name:{family}" if family else "text"}


def _list_shape(name: str, annotation: Any, seen: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    inner = next((a for a in get_args(annotation) if a is not Ellipsis), str)
    item = _spec(name, FieldInfo.from_annotation(inner), seen)
    if item.type.startswith("member:"):
        return {"type": item.type.removeprefix("member:") + "s"}
    if item.type == "text" and name in FAMILIES:
        return {"type": f"names:{name}"}
    if item.type == "text":
        return {"type": "tags", "item": item}
    return {"type": "list", "item": item}


def _mapping_shape(annotation: Any, seen: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    args = get_args(annotation)
    item = _spec("value", FieldInfo.from_annotation(args[1] if len(args) == 2 else str), seen)
    return {"type": "json"} if item.type == "json" else {"type": "mapping", "item": item}


def _limits(metadata: list[Any]) -> dict[str, Any]:
    """Limits as annotated_types and pydantic write them: read by their attribute, whichever class carries it."""
    out: dict[str, Any] = {}
    for key, attribute in _LIMITS.items():
        for one in metadata:
            value = getattr(one, attribute, None)
            if value is not None and not isinstance(one, FieldInfo):
                out[key] = getattr(value, "pattern", value) if key == "pattern" else value
    return out


_LIMITS = {
    "minimum": "ge",
    "maximum": "le",
    "above": "gt",
    "below": "lt",
    "min_length": "min_length",
    "max_length": "max_length",
    "pattern": "pattern",
}


def _label(name: str) -> str:
    words = [w.upper() if w in UPPER else w for w in name.split("_") if w]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def _one_paragraph(text: str) -> str:
    return " ".join(text.split())
