"""What is said of a model's fields: the docstring below each, read from the source when somebody asks.

Forms, the API's schema and the reference ask; the engine's processes and most commands never do. Pydantic's own
`use_attribute_docstrings` parses the source of every model in each process that imports it: a quarter of a start.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

__all__ = ["Described", "description"]


class Described(BaseModel):
    """A model whose fields' docstrings are their descriptions, in its JSON schema as in its forms."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, field in cls.model_fields.items():
            shown = properties.get(field.alias or name)
            words = description(cls, name)
            if shown is not None and words:
                shown["description"] = words
        return schema


def description(model: type[BaseModel], name: str) -> str:
    """What is said of a field: its `Field(description=...)`, else the docstring below it; "" when nothing is.

    The docstring counts where the field was written last: a subclass that writes it anew says its own.
    """
    given = model.model_fields[name].description
    if given is not None or not issubclass(model, Described):
        return given or ""
    owner = next((c for c in model.__mro__ if name in inspect.get_annotations(c)), model)
    return _documented(owner.__module__).get(owner.__qualname__, {}).get(name, "")


@functools.cache
def _documented(module: str) -> dict[str, dict[str, str]]:
    """The docstrings below a module's attributes, by the qualified name of their class; none where there is no source."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError, KeyError):  # made at a prompt, or run without its source
        return {}
    return {name: dict(_docstrings(cls)) for name, cls in _classes(tree, "")}


def _classes(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for child in ast.iter_child_nodes(node):
        inside = prefix
        if isinstance(child, ast.ClassDef):
            yield f"{prefix}{child.name}", child
            inside = f"{prefix}{child.name}."
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside = f"{prefix}{child.name}.<locals>."
        elif isinstance(child, ast.expr):
            continue
        yield from _classes(child, inside)


def _docstrings(cls: ast.ClassDef) -> Iterator[tuple[str, str]]:
    before: Any = None
    for node in cls.body:
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name):
            match node:
                case ast.Expr(value=ast.Constant(value=str() as words)):
                    yield before.target.id, inspect.cleandoc(words)
        before = node
