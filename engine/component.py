"""One class per kind of source, destination and morph: its configuration, its form, its behaviour.

Defining the class registers it under its `kind`; the API schema, the forms, the YAML schema, the reference page and the
conformance tests all read the registry. Built-in kinds enter by the same door as a site's own (`AXIOM_COMPONENTS`).
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from engine.described import Described
from engine.errors import Invalid, Problem

__all__ = [
    "FORMS", "AETitle", "Component", "ConfigModel", "Date", "HostName", "Member", "Moment", "Name", "import_kinds",
    "import_site_kinds", "kinds", "rebuild", "uses_families",
]

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _day(value: Any) -> Any:
    """Pydantic would take a number, also one in a text, as seconds since 1970: the schemas say that it is a date."""
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError as e:
            raise ValueError(f"There is no such date: {e}.") from e
    if isinstance(value, date):
        return value
    raise ValueError("A day is written like 2026-01-31.")


def _moment(value: Any) -> Any:
    if isinstance(value, datetime) or (isinstance(value, str) and _DAY.match(value)):
        return value
    raise ValueError("A moment is written like 2026-01-31T06:00:00+01:00.")


Date = Annotated[date, BeforeValidator(_day)]
"""A day, as ISO 8601."""

Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
"""A moment, as ISO 8601 with its offset from UTC."""

NAME_FORM = r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
HOST_FORM = r"^[^\s.]{1,63}(\.[^\s.]{1,63})*\.?$"
AE_FORM = r"^[ -\[\]-~]*[!-\[\]-~][ -\[\]-~]*$"
FORMS = {
    NAME_FORM: "Letters, digits, `_`, `.`, `-`; begins and ends with a letter or digit; 63 at most.",
    HOST_FORM: "A machine's name or address: parts of up to 63 characters, single dots between them, no blanks.",
    AE_FORM: "Printable ASCII characters but the backslash, not blanks alone.",
}
"""What the forms of texts ask for, in words: told to whoever writes another."""

Name = Annotated[str, Field(pattern=NAME_FORM, description=FORMS[NAME_FORM], examples=["pacs"])]
"""How things are called: rules, folders of the spool and pages use it, so it is plain."""


def _host(value: str) -> str:
    try:
        value.encode("idna")
    except UnicodeError as e:
        raise ValueError("This is not a name that a machine can have.") from e
    return value


HostName = Annotated[str, Field(min_length=1, max_length=253, pattern=HOST_FORM), AfterValidator(_host)]
"""A machine's name or address. What no name can be (a part of more than 63 characters) would fail at each use of it."""

AETitle = Annotated[str, Field(min_length=1, max_length=16, pattern=AE_FORM, examples=["AXIOM"])]
"""Application Entity title: 1 to 16 printable ASCII characters without backslash (PS3.5 6.2, VR AE). It has no description
of its own, which would stand in the place of each field's."""


class ConfigModel(Described):
    """Whatever stands in the configuration: frozen, unknown keys refused, each field described for forms and docs."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Component(ConfigModel):
    """Base of the families. A family is a direct subclass made with `family="..."`; a kind is a class below it."""

    family: ClassVar[str] = ""
    label: ClassVar[str] = ""
    """A short name for people; without it, the kind."""
    kind: str

    def __init_subclass__(cls, *, family: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)  # takes the keyword that only pydantic's later hook uses

    @classmethod
    def __pydantic_init_subclass__(cls, *, family: str = "", **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if family:
            cls.family = family
            _registry.setdefault(family, {})
            return
        values = get_args(cls.model_fields["kind"].annotation)
        if len(values) == 1:  # an abstract step between family and kind names no single kind
            _registry[cls.family][values[0]] = cls
            _state["dirty"] = True


_registry: dict[str, dict[str, type[Component]]] = {}
_dependents: list[type[BaseModel]] = []
_state = {"dirty": False}

M = TypeVar("M", bound=type[BaseModel])


def kinds(family: str) -> dict[str, type[Component]]:
    """The kinds of a family ("source", "destination", "morph"), by name, sorted."""
    return dict(sorted(_registry.get(family, {}).items()))


class Member:
    """Annotation for "any kind of this family": `list[Annotated[Any, Member("morph")]]`.

    The union is made from the registry when the model is (re)built, so that models need not import the kinds.
    """

    def __init__(self, family: str) -> None:
        self.family = family

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices: dict[Any, CoreSchema] = {k: handler.generate_schema(cls) for k, cls in kinds(self.family).items()}
        if not choices:
            return core_schema.any_schema()  # rebuilt as soon as a kind is known
        return core_schema.tagged_union_schema(choices, discriminator="kind")


def uses_families(model: M) -> M:
    """Class decorator for models with `Member` fields, inner ones first: they are rebuilt when a new kind comes."""
    _dependents.append(model)
    return model


def rebuild() -> None:
    """Bring the models marked by `uses_families` up to date with the registry. Cheap when nothing is new."""
    if _state["dirty"]:
        _state["dirty"] = False
        for model in _dependents:
            model.model_rebuild(force=True)


def import_kinds(package: str, path: Iterable[str]) -> None:
    """Import every module of a family's package, so that a new file there is found without being named anywhere."""
    for module in pkgutil.iter_modules(path):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package}.{module.name}")


def import_site_kinds(names: Iterable[str]) -> None:
    """Import a site's own kinds: module names, or paths of .py files (`AXIOM_COMPONENTS`, comma-separated).

    Raises Invalid when one cannot be imported, with why.
    """
    for name in names:
        try:
            if name.endswith(".py"):
                _import_file(name)
            else:
                importlib.import_module(name)
        except Exception as error:  # a site's file may do anything at all
            words = f"{name} cannot be imported: {type(error).__name__}: {error}"
            raise Invalid([Problem(("AXIOM_COMPONENTS",), words)]) from error


def _import_file(name: str) -> None:
    file = Path(name).resolve()
    module_name = f"axiom_site_{file.stem}"
    if module_name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise ImportError("it is not a Python file that can be read")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
